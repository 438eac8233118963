"""Tasks: names, store look-ups and tracking around functions of the core."""
