"""Scores, predictions, significance and the comparison of variants."""
