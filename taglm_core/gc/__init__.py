"""Garbage collection of a store: mark what is unreachable, then sweep it."""
