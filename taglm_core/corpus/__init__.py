"""Corpora: from raw files of any size to Parquet, token ids, word counts and word vectors, in bounded memory."""
