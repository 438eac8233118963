"""Processes that compute: how they are started, followed and stopped, and how many run side by side."""
