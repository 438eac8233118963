"""Facts about stored corpora, and the findings made from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from taglm_core.config.data import FindingName
from taglm_core.corpus.sentence import StoredSentence

TEXT = "text"
TRAIN = "train"

_STOPPING = frozenset(takewhile(lambda name: name is not FindingName.FEW_WORDS, FindingName))
"""Findings with which results are meaningless: the first ones, in the order of harm."""


@dataclass(frozen=True, slots=True)
class SplitFacts:
    """Facts about one stored corpus.

    Attributes:
        split: train, dev, test or text.
        sentences: number of sentences.
        tokens: number of tokens.
        types: number of distinct words.
        longest: tokens of the longest sentence.
        duplicates: sentences beyond the first of each.
        entities: entities by type; None for text.
        shared: share of its sentences that another corpus has, by name of that corpus.
        sample: its first sentences.
        repaired: entities whose tags broke the rules of their scheme and were repaired.
    """

    split: str
    sentences: int
    tokens: int
    types: int
    longest: int
    duplicates: int
    entities: Mapping[str, int] | None
    shared: Mapping[str, float]
    sample: Sequence[StoredSentence]
    repaired: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """Something suspicious.

    Attributes:
        name: what `labelled.accept` or `unlabelled.accept` takes.
        split: the corpus.
        what: the finding and why it matters, as a sentence.
        remedy: the setting or the change that resolves it.
        sentence: id of a sentence that shows it.
        where: file and line of that sentence, if known.
    """

    name: FindingName
    split: str
    what: str
    remedy: str
    sentence: int | None = None
    where: str = ""

    @property
    def stops(self) -> bool:
        """Whether results would be meaningless."""
        return self.name in _STOPPING


@dataclass(frozen=True, slots=True)
class TagColumns:
    """Columns of the training file, looked at beside the tag column.

    Attributes:
        tag: index of the tag column, from 0.
        entities: entities by type of every column that could be a tag column, in the first sentences.
    """

    tag: int
    entities: Mapping[int, Mapping[str, int]] = field(default_factory=dict)


def words_of(sample: Sequence[StoredSentence]) -> Counter[str]:
    """Return how often each word occurs."""
    return Counter(word for sentence in sample for word in sentence.tokens)


def first_with(sample: Sequence[StoredSentence], test: Callable[[str], object]) -> int | None:
    """Return the id of the first sentence with a word that passes a test."""
    return next((s.sentence_id for s in sample if any(test(word) for word in s.tokens)), None)
