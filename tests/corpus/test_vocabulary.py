"""Word counts and the held-out part."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import duckdb
import pytest

from taglm_core.corpus.database import DatabaseLimits
from taglm_core.corpus.parquet import corpus_files, write_corpus
from taglm_core.corpus.sentence import Sentence
from taglm_core.corpus.token_bytes import BOUNDARY
from taglm_core.corpus.vocabulary import count_words, heldout_mask, heldout_sql, is_heldout, read_words
from taglm_core.errors import InputError

LETTERS = "aAbBzZéÉßΣςİıJ東'\\\"%_<>0-ǅ\u00a0😀\u0301"


def _corpus(folder: Path, sentences: list[str], **sizes: int) -> Path:
    write_corpus((Sentence(tuple(text.split(" ")), None, 0, 1) for text in sentences), folder, scheme=None, **sizes)
    return folder


def _random_sentences(number: int, seed: int = 1) -> list[str]:
    random_ = random.Random(seed)
    words = ["".join(random_.choices(LETTERS, k=random_.randint(1, 6))) for _ in range(300)]
    return [" ".join(random_.choices(words, k=random_.randint(1, 12))) for _ in range(number)]


def _count(corpus: Path, out: Path, heldout: float = 0.1, min_count: int = 1) -> dict[str, int]:
    return count_words(
        corpus,
        out / "words.parquet",
        heldout_fraction=heldout,
        min_count=min_count,
        limits=DatabaseLimits(1, "200MB", out / "tmp"),
    )


@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.3, 0.999])
def test_sql_and_python_hold_out_the_same_sentences(tmp_path: Path, fraction: float) -> None:
    """DuckDB and hashlib agree on every sentence, whatever the script; the share is as asked."""
    sentences = _random_sentences(2000)
    files = [str(path) for path in corpus_files(_corpus(tmp_path, sentences))]
    rows = duckdb.execute(
        f"SELECT {heldout_sql(fraction)} FROM read_parquet(?) ORDER BY sentence_id", [files]
    ).fetchall()
    mask = heldout_mask(sentences, fraction)
    assert [row[0] for row in rows] == mask.tolist()
    assert mask.mean() == pytest.approx(fraction, abs=0.03)


def test_case_variants_fall_on_one_side() -> None:
    """A sentence and its upper-case twin are held out together, so no duplicate crosses the line."""
    for text in ("The Dog", "new york 1996", "Zürich is big"):
        assert is_heldout(text.encode().lower(), 0.5) == heldout_mask([text.replace("e", "E")], 0.5)[0]


def test_heldout_parts_are_nested_and_fixed() -> None:
    """A larger fraction holds the smaller one; the decision for a given sentence never changes (golden)."""
    sentences = [f"sentence number {number}" for number in range(400)]
    small, large = heldout_mask(sentences, 0.05), heldout_mask(sentences, 0.2)
    assert not (small & ~large).any()
    assert small.nonzero()[0].tolist()[:3] == [37, 40, 41]


@pytest.mark.parametrize("fraction", [-0.1, 1.0])
def test_fractions_outside_the_range_are_refused(fraction: float) -> None:
    """All of the text, or less than none, cannot be held out."""
    with pytest.raises(ValueError, match="held-out fraction"):
        heldout_sql(fraction)


def test_words_are_the_training_words_by_count_and_bytes(tmp_path: Path) -> None:
    """Against a Counter: boundary first, then (count descending, UTF-8 bytes), ids are rows, held-out text left out."""
    sentences = _random_sentences(500)
    counts = _count(_corpus(tmp_path / "c", sentences), tmp_path)
    mask = heldout_mask(sentences, 0.1)
    train = [text for text, held in zip(sentences, mask, strict=True) if not held]
    counter = Counter(word for text in train for word in text.split(" "))
    expected = sorted(counter.items(), key=lambda item: (-item[1], item[0].encode()))
    table = read_words(tmp_path / "words.parquet")
    assert table["id"].to_pylist() == list(range(len(expected) + 1))
    assert list(zip(table["word"].to_pylist(), table["count"].to_pylist(), strict=True)) == [
        (BOUNDARY, len(train)),
        *expected,
    ]
    assert counts == {
        "train_sentences": len(train),
        "heldout_sentences": int(mask.sum()),
        "train_tokens": counter.total(),
        "heldout_tokens": sum(len(text.split(" ")) for text in sentences) - counter.total(),
        "distinct_words": len(counter),
        "words": len(counter),
        "covered_tokens": counter.total(),
    }


def test_the_same_text_gives_the_same_bytes(tmp_path: Path) -> None:
    """Threads, and how the corpus is cut into files, do not show in the words file."""
    sentences = _random_sentences(500)
    _count(_corpus(tmp_path / "c1", sentences), tmp_path / "a")
    _corpus(tmp_path / "c2", sentences, sentences_per_file=90, row_group=20)
    count_words(
        tmp_path / "c2",
        tmp_path / "b" / "words.parquet",
        heldout_fraction=0.1,
        min_count=1,
        limits=DatabaseLimits(2, "200MB", tmp_path / "t"),
    )
    assert (tmp_path / "a" / "words.parquet").read_bytes() == (tmp_path / "b" / "words.parquet").read_bytes()


def test_rare_words_are_left_out_and_counted(tmp_path: Path) -> None:
    """min_count drops words; the counts tell how many and what share of the text remains."""
    counts = _count(_corpus(tmp_path / "c", ["a a a b b c"]), tmp_path, heldout=0.0, min_count=2)
    assert read_words(tmp_path / "words.parquet")["word"].to_pylist() == [BOUNDARY, "a", "b"]
    assert (counts["distinct_words"], counts["words"], counts["covered_tokens"], counts["train_tokens"]) == (3, 2, 5, 6)


def test_a_literal_mark_in_the_text_is_an_ordinary_word(tmp_path: Path) -> None:
    """Text with sentence marks of its own cannot collide with the boundary."""
    _count(_corpus(tmp_path / "c", ["<S> a </S>", "<S> <s> S >"]), tmp_path, heldout=0.0)
    words = read_words(tmp_path / "words.parquet")["word"].to_pylist()
    assert words[0] == BOUNDARY
    assert "<S>" in words[1:]
    assert words.count(BOUNDARY) == 1
    assert " " in BOUNDARY  # what makes it impossible as a token


def test_all_held_out_is_refused(tmp_path: Path) -> None:
    """A text whose every sentence is held out cannot be trained on."""
    with pytest.raises(InputError, match="all held out"):
        _count(_corpus(tmp_path / "c", ["a"]), tmp_path, heldout=0.999999)
