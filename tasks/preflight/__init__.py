"""What keeps a run from working, found before it starts: `taglm run` refuses, `taglm doctor` shows a row."""
