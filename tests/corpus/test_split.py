"""Drawing a corpus from another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from taglm_core.corpus.hashing import mix64
from taglm_core.corpus.parquet import corpus_files, read_corpus, write_corpus
from taglm_core.corpus.schemes import Scheme
from taglm_core.corpus.sentence import Sentence
from taglm_core.corpus.split import split_corpus
from taglm_core.errors import InputError


@pytest.fixture
def source(tmp_path: Path) -> Path:
    sentences = (Sentence((f"w{i}", "x"), ("B-X", "O"), i // 5, i + 1, "f") for i in range(1000))
    write_corpus(sentences, tmp_path / "source", scheme=Scheme.IOB2, sentences_per_file=300, row_group=70)
    return tmp_path / "source"


def _draw(source: Path, out: Path, seed: int = 1, count: int | None = None, fraction: float | None = None, rest=False):
    counts = split_corpus(source, out, seed=seed, count=count, fraction=fraction, complement=rest)
    stored = list(read_corpus(out))
    assert counts.sentences == len(stored)
    assert [sentence.sentence_id for sentence in stored] == list(range(len(stored)))
    return [int(sentence.tokens[0][1:]) for sentence in stored]


def test_draw_and_complement_part_the_corpus(source: Path, tmp_path: Path) -> None:
    """The draw has the asked size, keeps the order, and its complement is all the rest."""
    drawn = _draw(source, tmp_path / "a", count=137)
    rest = _draw(source, tmp_path / "b", count=137, rest=True)
    assert len(drawn) == 137
    assert drawn == sorted(drawn)
    assert sorted(drawn + rest) == list(range(1000))


def test_draws_of_one_seed_are_nested_and_seeds_differ(source: Path, tmp_path: Path) -> None:
    """A larger draw holds the smaller one; another seed draws others, with the overlap of independent draws."""
    small, large = _draw(source, tmp_path / "a", count=100), _draw(source, tmp_path / "b", fraction=0.3)
    assert len(large) == 300
    assert set(small) < set(large)
    other = _draw(source, tmp_path / "c", seed=2, count=300)
    assert 60 < len(set(other) & set(large)) < 120  # 90 expected


def test_the_draw_is_the_same_for_ever(source: Path, tmp_path: Path) -> None:
    """Golden: these sentences, on every machine and with every library version; and the same bytes twice."""
    assert _draw(source, tmp_path / "a", count=8) == [33, 34, 68, 397, 603, 674, 830, 935]
    assert [int(n) for n in mix64(np.arange(50), 3)] == [_mix_slowly(n, 3) for n in range(50)]
    _draw(source, tmp_path / "b", count=8)
    assert corpus_files(tmp_path / "a")[0].read_bytes() == corpus_files(tmp_path / "b")[0].read_bytes()


def test_counts_and_documents_of_a_draw(source: Path, tmp_path: Path) -> None:
    """Entities, tokens and documents are those of the drawn sentences; document ids are the source's."""
    counts = split_corpus(source, tmp_path / "a", seed=1, count=50, fraction=None, complement=False)
    stored = list(read_corpus(tmp_path / "a"))
    assert counts.entities == {"X": 50}
    assert counts.tokens == 100
    assert counts.documents == len({sentence.document_id for sentence in stored})
    assert all(sentence.document_id == int(sentence.tokens[0][1:]) // 5 for sentence in stored)


@pytest.mark.parametrize(
    ("count", "fraction", "rest"), [(1001, None, False), (0, None, False), (1000, None, True), (None, 0.0, False)]
)
def test_impossible_draws_are_refused(source: Path, tmp_path: Path, count, fraction, rest) -> None:
    """More than there is, or nothing at all, is an error that says how much there is."""
    with pytest.raises(InputError, match="found 1,000 sentences"):
        _draw(source, tmp_path / "a", count=count, fraction=fraction, rest=rest)


@pytest.mark.parametrize(("count", "fraction"), [(None, None), (1, 0.5), (None, 1.5), (-1, None)])
def test_unclear_draws_are_programming_errors(source: Path, tmp_path: Path, count, fraction) -> None:
    """Exactly one of count and fraction, in its range."""
    with pytest.raises(ValueError, match=r"count|fraction"):
        _draw(source, tmp_path / "a", count=count, fraction=fraction)


def _mix_slowly(number: int, seed: int) -> int:
    """Twice the finaliser of splitmix64, in Python's unbounded integers."""
    for _ in range(2):
        number = (number + seed * 0x9E3779B97F4A7C15 + 0xD1B54A32D192ED03) % 2**64
        number = (number ^ (number >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        number = (number ^ (number >> 27)) * 0x94D049BB133111EB % 2**64
        number ^= number >> 31
    return number
