"""Words and tags of a tagger, taken from its training split alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

UNKNOWN_ID, FIRST_WORD_ID = 0, 1  # padding is never read, so it needs no row
_DIGIT = re.compile(r"\d")


def normalise(token: str) -> str:
    """Return the form under which a word is looked up: lower case, every digit 0. Characters see the raw token."""
    return _DIGIT.sub("0", token.lower())


@dataclass(frozen=True)
class TaggerWords:
    """Trainable words, in a fixed order.

    Attributes:
        words: normalised training words, most frequent first, then by code point.
        single: number of words at the end of `words` that were seen once.
    """

    words: tuple[str, ...]
    single: int

    @classmethod
    def count(cls, sentences: Sequence[Sequence[str]], min_count: int) -> TaggerWords:
        """Return the words of the training sentences that are seen at least `min_count` times."""
        counts = Counter(normalise(token) for sentence in sentences for token in sentence)
        kept = sorted((word for word in counts if counts[word] >= min_count), key=lambda word: (-counts[word], word))
        return cls(tuple(kept), sum(counts[word] == 1 for word in kept))

    def __len__(self) -> int:
        """Return V, the rows of the trainable table, the unknown word included."""
        return FIRST_WORD_ID + len(self.words)

    @cached_property
    def ids(self) -> Mapping[str, int]:
        """Row of each normalised word."""
        return {word: FIRST_WORD_ID + rank for rank, word in enumerate(self.words)}


def tags_of(sentences: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Return the K tags of the training split: O first, the others sorted by type, then position (B, I, E, S)."""
    found = {tag for sentence in sentences for tag in sentence} - {"O"}
    return ("O", *sorted(found, key=lambda tag: (tag[2:], "BIES".index(tag[0]))))
