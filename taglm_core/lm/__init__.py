"""Language models: text streams, training, perplexity, break state, embeddings and their cache."""
