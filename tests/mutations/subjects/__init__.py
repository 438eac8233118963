"""One module a subject; each holds `MUTATIONS`: (what is wrong, file, old text, new text, tests that must fail)."""
