"""Tasks of the ingest stage."""

from __future__ import annotations

from tasks.building import step_task

generate_demo_corpus = step_task("generate-demo-corpus")
detect_tag_scheme = step_task("detect-tag-scheme")
read_corpus = step_task("read-corpus")
describe_corpora = step_task("describe-corpora")
