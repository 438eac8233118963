"""Faults of the environment, found before a run starts: `taglm run` refuses them, `taglm doctor` lists them."""
