"""Prediction over files: rows in, rows with entities out, in parts that a killed run goes on with."""
