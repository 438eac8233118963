"""Taggers: how sentences become batches, training, the files of a trained tagger, prediction."""
