"""The store: immutable objects named by content, and small pointers from recipes to objects."""
