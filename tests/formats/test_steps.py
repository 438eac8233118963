"""Formats in the steps of an experiment: keys, corpora and reports."""

from __future__ import annotations

import json
from pathlib import Path

from taglm_core.analysis.corpora import report_corpora
from taglm_core.config.experiment import Experiment
from taglm_core.config.load import load_experiment
from taglm_core.pipeline.context import PipelineContext
from tests.building import build_up_to
from tests.formats import samples


def spans_of(folder: Path, *settings: str) -> Experiment:
    for split in ("train", "dev", "test"):
        (folder / f"{split}.jsonl").write_text(samples.json_lines(samples.doccano()), encoding="utf-8")
    paths = [f"labelled.{split}={folder / split}.jsonl" for split in ("train", "dev", "test")]
    sources = [*paths, "unlabelled=null", "variants=[{name: baseline}]"]
    return load_experiment(None, [f"run.store={folder / 'store'}", *sources, *settings])


def test_auto_becomes_a_format_once_and_only_where_it_changes_something(tmp_path: Path) -> None:
    """JSON lines have format and text settings in their keys; the demo's CoNLL columns have neither."""
    experiment = spans_of(tmp_path, "labelled.misaligned=widen")
    context = PipelineContext.resolve(experiment)
    config = dict(context.graph["corpus/train"].config)
    assert config["format"] == "jsonl"
    assert {name: config[name] for name in ("language", "tokenizer", "spelling", "misaligned")} == {
        "language": "en", "tokenizer": "treebank", "spelling": "plain", "misaligned": "widen"}  # fmt: skip
    assert context.is_of(experiment)
    demo = (
        PipelineContext.resolve(load_experiment(None, [f"run.store={tmp_path / 'store'}"])).graph["corpus/train"].config
    )
    assert set(demo) == {"format", "columns", "demo_file"}
    assert demo["format"] == "conll"


def test_spans_become_a_corpus_with_its_tokenizer_and_counts(tmp_path: Path) -> None:
    """Ingest stores entities, counts and the tokenizer's record, and the report names format and place of a finding."""
    context = PipelineContext.resolve(spans_of(tmp_path))
    refs = build_up_to(context.experiment, "statistics")
    folder = context.store.folder(refs["corpus/train"])
    counts = json.loads((folder / "counts.json").read_text())
    assert (counts["entities_total"], counts["met"]) == (samples.ENTITIES, {"spans": samples.ENTITIES})
    assert json.loads((folder / "tokenizer.json").read_text())["tokenizer"] == "treebank"
    report = report_corpora(context, refs)
    assert [row.columns for row in report.rows] == ["jsonl"] * 3
    assert [row.scheme for row in report.rows] == ["spans"] * 3
