"""Taggers: batches of sentences, training, the files of a trained tagger, prediction."""
