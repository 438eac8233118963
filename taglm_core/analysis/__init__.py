"""Analysis of stored objects: corpora, comparisons of runs, dev scores of taggers, perplexity of texts."""
