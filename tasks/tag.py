"""Tasks of the tag stage."""

from __future__ import annotations

from tasks.building import step_task

train_tagger = step_task("train-tagger")
evaluate_tagger = step_task("evaluate-tagger")
write_report = step_task("write-report")
