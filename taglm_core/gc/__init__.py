"""Garbage collection: what in a store is needed, and removing the rest."""
