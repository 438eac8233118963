"""Flows: one file per stage, the pipeline of all four, and the command line. No work is done here."""
