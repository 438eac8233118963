"""Questions about objects that are in the store: corpora, runs compared, taggers and texts measured."""
