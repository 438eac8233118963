"""Ingest as steps: what the scheme step hands to the corpora of all splits."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from taglm_core.config.load import load_experiment
from taglm_core.corpus.parquet import read_corpus
from taglm_core.errors import InputError
from taglm_core.pipeline.build import build
from taglm_core.pipeline.context import PipelineContext
from taglm_core.store.records import Ref
from taglm_core.store.store import Store


def _ingest(folder: Path, train: str, dev: str, *overrides: str) -> tuple[Store, dict[str, Ref]]:
    """Build the scheme, where there is such a step, and the corpora of train and dev."""
    paths = {name: folder / f"{name}.conll" for name in ("train", "dev")}
    for path, text in zip(paths.values(), (train, dev), strict=True):
        path.write_text(text, encoding="utf-8")
    splits = [f"labelled.{name}={path}" for name, path in paths.items()]
    sources = [*splits, f"labelled.test={paths['dev']}", "unlabelled.path=demo:text"]
    experiment = load_experiment(None, [*sources, *overrides, f"run.store={folder / 'store'}"])
    context, refs = PipelineContext.resolve(experiment), {}
    store, graph = context.store, context.graph
    for name in ("scheme", "corpus/train", "corpus/dev"):
        if name in graph:
            inputs = {role: refs[step] for role, step in graph[name].inputs.items()}
            refs[name] = build(store, context.request(graph[name], inputs))
    return store, refs


@pytest.mark.parametrize(
    ("train", "told"),
    [
        ("a O\nb B-X\nc E-X\n", {"scheme": "bioes"}),
        ("New York\tS-X\nb\tO\nc\tO\n", {"scheme": "bioes", "separator": "tab"}),
        ("a\tX-B\nb\tX-E\nc\tX-S\n", {"scheme": "bioes", "notation": "suffix"}),
    ],
)
def test_the_layout_of_all_splits_goes_to_each(tmp_path: Path, train: str, told: dict[str, str]) -> None:
    """The scheme object holds the scheme, and the separator and notation where they are not the usual ones."""
    dev = "a\tX-S\n" if "notation" in told else "a\tS-X\n"
    store, refs = _ingest(tmp_path, train, dev)
    scheme = store.open(refs["scheme"]).path / "scheme.json"
    assert json.loads(scheme.read_text()) == told
    assert [sentence.tags for sentence in read_corpus(store.open(refs["corpus/dev"]).path)] == [("S-X",)]


def test_a_named_scheme_needs_no_step_and_reads_the_same(tmp_path: Path) -> None:
    """With `labelled.scheme` each corpus finds its separator and notation by itself."""
    store, refs = _ingest(tmp_path, "New York\tX\nb\tX\nc\tO\n", "a\tX\nb\tO\n", "labelled.scheme=io")
    assert "scheme" not in refs
    (sentence,) = read_corpus(store.open(refs["corpus/train"]).path)
    assert (sentence.tokens, sentence.tags) == (("New York", "b", "c"), ("B-X", "E-X", "O"))


def test_the_doubt_about_the_scheme_is_kept(tmp_path: Path) -> None:
    """Beside the scheme stands what a person should look at, where there is such a thing."""
    told = []
    for name, dev in (("few", "a O\nb I-X\n"), ("none", "a O\nb B-X\n")):
        (tmp_path / name).mkdir()
        store, refs = _ingest(tmp_path / name, "a B-X\nb O\nc B-X\nd O\ne B-X\n", dev)
        told.append(json.loads((store.open(refs["scheme"]).path / "evidence.json").read_text()))
    assert "dev.conll:2" in told[0]["doubt"]
    assert "doubt" not in told[1]


def test_repairs_are_logged_and_counted_and_strict_refuses_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An entity cut at the end of a sentence is in the log and the manifest; strict mode stops with its line."""
    cut = "# sent_id = 1\na S-X\nb B-X\nc E-X\n\nd B-X\n"
    with caplog.at_level(logging.INFO, "taglm"):
        store, refs = _ingest(tmp_path, cut, "a O\n")
    counts = store.manifest("corpus", refs["corpus/train"].digest).counts
    assert (counts["repaired_tags"], counts["comment_lines"]) == (1, 1)
    assert "repaired_tags" not in store.manifest("corpus", refs["corpus/dev"].digest).counts
    assert "train.conll:6: found the tag 'B-X'; expected E-X or S-X at the end of an entity" in caplog.text
    with pytest.raises(InputError, match=r"train\.conll:6: .*labelled\.strict: false"):
        _ingest(tmp_path, cut, "a O\n", "labelled.strict=true")
