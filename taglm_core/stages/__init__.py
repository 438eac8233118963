"""Builders: what the steps of each stage do. Each takes a BuildContext and returns a BuildResult."""
