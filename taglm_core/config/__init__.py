"""Experiment configuration: the settings of a YAML file, their defaults, and reading them."""
