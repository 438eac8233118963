"""Experiment configuration: what may be said in a YAML file, its defaults, and how it is read."""
