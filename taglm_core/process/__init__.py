"""Child processes that compute: start, progress, stop, and limits on their number."""
