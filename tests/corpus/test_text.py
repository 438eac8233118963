"""Unlabelled text: one sentence a line."""

from __future__ import annotations

from pathlib import Path

from taglm_core.corpus.sentence import ReadCounts
from taglm_core.corpus.text import read_text


def test_lines_are_sentences_and_empty_lines_end_documents(tmp_path: Path) -> None:
    """Empty lines are counted, never sentences, and part documents; so does a new file."""
    paths = [tmp_path / "a", tmp_path / "b"]
    paths[0].write_text("\n\none  two\t\u3000three\nfour\n \n\nfive\n", encoding="utf-8")
    paths[1].write_text("six")
    counts = ReadCounts()
    sentences = list(read_text(paths, counts=counts))
    assert [(sentence.tokens, sentence.document, sentence.line) for sentence in sentences] == [
        (("one", "two", "three"), 0, 3),
        (("four",), 0, 4),
        (("five",), 1, 7),
        (("six",), 2, 1),
    ]
    assert all(sentence.tags is None for sentence in sentences)
    assert (counts.files, counts.empty_lines) == (2, 4)
