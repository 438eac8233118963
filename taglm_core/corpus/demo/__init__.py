"""The built-in demo corpus: invented news, a little of it labelled, most of it plain text."""
