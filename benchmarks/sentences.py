"""Sentences with the lengths of a real corpus: CoNLL-2003 train beside the project, or generated ones like it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

TRAIN = Path(__file__).parents[2] / "shared" / "data" / "conll2003" / "eng.train"
COUNT, MEDIAN, SPREAD, LONGEST = 14_041, 10, 0.9, 113  # of its sentences; lengths are about log-normal
Labelled = tuple[tuple[str, ...], tuple[str, ...]]  # tokens, IOB1 tags


def labelled() -> list[Labelled]:
    """Sentences with tags."""
    if TRAIN.exists():
        blocks = (block.split("\n") for block in TRAIN.read_text().split("\n\n"))
        rows = [[line.split() for line in block if line and not line.startswith("-DOCSTART-")] for block in blocks]
        return [(tuple(row[0] for row in lines), tuple(row[-1] for row in lines)) for lines in rows if lines]
    generator = np.random.default_rng(1)
    lengths = np.exp(np.log(MEDIAN) + SPREAD * generator.standard_normal(COUNT)).astype(int).clip(1, LONGEST)
    words = np.exp(generator.random(lengths.sum()) * np.log(25_000)).astype(int)  # Zipf's law
    tags = np.array(["O", "I-LOC", "I-ORG", "I-PER"])[np.maximum(0, generator.integers(-12, 4, lengths.sum()))]
    borders = np.cumsum(lengths)[:-1]
    return [(tuple(f"w{word}" for word in sentence), tuple(map(str, its)))
            for sentence, its in zip(np.split(words, borders), np.split(tags, borders), strict=True)]  # fmt: skip


def lengths_of(tokens: int) -> NDArray[np.int64]:
    """Lengths drawn from those of the corpus, of at least so many tokens together."""
    known = np.array([len(sentence) for sentence, _ in labelled()], np.int64)
    drawn = np.random.default_rng(1).choice(known, tokens)
    return drawn[: int(np.searchsorted(np.cumsum(drawn), tokens)) + 1]
