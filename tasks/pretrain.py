"""Tasks of the pretrain stage."""

from __future__ import annotations

from tasks.building import step_task

count_words = step_task("count-words")
write_token_ids = step_task("write-token-ids")
train_language_model = step_task("train-language-model")
