"""Tasks of the embed stage."""

from __future__ import annotations

from tasks.building import step_task

embed_corpus = step_task("embed-corpus")
look_up_word_vectors = step_task("look-up-word-vectors")
