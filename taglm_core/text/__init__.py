"""Raw text to sentences of tokens with their places in the text; the same for training and for prediction."""
