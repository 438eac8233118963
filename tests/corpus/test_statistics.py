"""Statistics and overlap, against counting by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from taglm_core.corpus.database import DatabaseLimits
from taglm_core.corpus.parquet import write_corpus
from taglm_core.corpus.schemes import Scheme
from taglm_core.corpus.sentence import Sentence
from taglm_core.corpus.statistics import corpus_statistics, overlap

A = [
    ("Rome fell", "B-LOC O"),
    ("New York and New York City", "B-LOC I-LOC O B-LOC I-LOC I-LOC"),
    ("Rome fell", "B-LOC O"),
    ("Bob Ann", "B-x-y B-x-y"),
    ("nothing here", "O O"),
]
B = [("Rome fell", "O O"), ("in New York", "O B-LOC I-LOC"), ("Ann sang", "B-LOC O")]


def _write(folder: Path, sentences: list[tuple[str, str]], labelled: bool = True) -> Path:
    rows = (
        Sentence(tuple(tokens.split()), tuple(tags.split()) if labelled else None, number // 2, number + 1)
        for number, (tokens, tags) in enumerate(sentences)
    )
    write_corpus(rows, folder, scheme=Scheme.IOB2 if labelled else None, row_group=2, sentences_per_file=3)
    return folder


def test_statistics_by_hand(tmp_path: Path) -> None:
    """Sizes, lengths, duplicates and entities of a corpus small enough to count."""
    found = corpus_statistics(_write(tmp_path / "a", A), DatabaseLimits(1, "200MB", tmp_path / "t"))
    assert found == {
        "sentences": 5,
        "documents": 3,
        "tokens": 14,
        "types": 10,
        "length": {"mean": pytest.approx(2.8), "p50": 2, "p90": 6, "p99": 6, "longest": 6},
        "duplicate_sentences": 1,
        "entities": {"LOC": 4, "x-y": 2},
        "entity_lengths": {"1": 4, "2": 1, "3": 1},
    }


def test_unlabelled_text_has_no_entities(tmp_path: Path) -> None:
    """Text without tags gives the same sizes and no entity."""
    found = corpus_statistics(_write(tmp_path / "a", A, labelled=False), DatabaseLimits(1, "200MB", tmp_path / "t"))
    assert (found["tokens"], found["entities"], found["entity_lengths"]) == (14, {}, {})


def test_overlap_by_hand(tmp_path: Path) -> None:
    """For each ordered pair: sentences of the one in the other, and mentions (words and type); text has no mentions."""
    dirs = {
        "a": _write(tmp_path / "a", A),
        "b": _write(tmp_path / "b", B),
        "text": _write(tmp_path / "text", A[:2], labelled=False),
    }
    found = overlap(dirs, DatabaseLimits(1, "200MB", tmp_path / "t"))
    assert found["a"]["b"] == {
        "sentences": 2,
        "sentence_share": pytest.approx(2 / 5),
        "mentions": 1,
        "mention_share": pytest.approx(1 / 6),
    }
    assert found["b"]["a"] == {
        "sentences": 1,
        "sentence_share": pytest.approx(1 / 3),
        "mentions": 1,
        "mention_share": pytest.approx(1 / 2),
    }
    assert found["a"]["text"] == {"sentences": 3, "sentence_share": 0.6, "mentions": None, "mention_share": None}
    assert found["text"]["b"]["mention_share"] is None
    assert set(found) == set(dirs)
    assert set(found["a"]) == {"b", "text"}
