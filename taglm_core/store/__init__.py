"""The store: immutable objects named by content, and pointers from recipes to objects."""
