"""Deliberate breaks of the program, each with the tests that must notice it: `python -m tests.mutations`."""
