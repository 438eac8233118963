"""Spans of tags by conlleval's rules, in a readable and in a fast version.

BIOES tags are mapped tag by tag to IOB2 (B, S to B; I, E to I), then conlleval's lenient rules for IOB2 hold: a B tag
always opens a span; an I tag opens one after O, at the beginning of a sentence and after another type. So every
sequence has spans, also one that the scheme forbids. The type is what follows the first hyphen.

``conlleval_spans`` is the readable version. ``SpanPair`` does the same on integer codes without a Python loop over
tokens, and scores the development set after every epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from taglm_core.corpus.schemes import Span, split_tag, to_spans

Codes = NDArray[np.integer]

_TO_IOB2 = {"B": "B", "S": "B", "I": "I", "E": "I"}
_PREFIXES = "OBIES"


def checked_parts(tag: str) -> tuple[str, str]:
    """Split ``I-LOC`` into ``("I", "LOC")`` and ``O`` into ``("O", "")``.

    Raises:
        ValueError: the tag is neither ``O`` nor B, I, E or S with a hyphen and a type.
    """
    prefix, type_ = split_tag(tag)
    if tag != "O" and not (prefix in _TO_IOB2 and tag.startswith(prefix) and type_):
        raise ValueError(f"{tag!r} is not a tag: expected O, or B, I, E or S with a hyphen and a type (B-LOC)")
    return prefix, type_


def bioes_to_iob2(tags: Sequence[str]) -> list[str]:
    """Map tag by tag: B, S to B; I, E to I; O stays. IOB2 tags come back unchanged."""
    parts = (checked_parts(tag) for tag in tags)
    return [f"{_TO_IOB2[prefix]}-{type_}" if type_ else "O" for prefix, type_ in parts]


def conlleval_spans(tags: Sequence[str]) -> list[Span]:
    """Return the spans of one sentence by conlleval's rules for IOB2, after ``bioes_to_iob2``."""
    return to_spans(bioes_to_iob2(tags))


class Counts(NamedTuple):
    """Number of gold spans, predicted spans, and predicted spans that are correct (type and both boundaries)."""

    gold: int
    predicted: int
    correct: int

    @property
    def precision(self) -> float:
        """Share of the predicted spans that are correct; 0 without any."""
        return self.correct / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        """Share of the gold spans that were found; 0 without any."""
        return self.correct / self.gold if self.gold else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, between 0 and 1; 0 without any span."""
        total = self.gold + self.predicted
        return 2 * self.correct / total if total else 0.0


@dataclass(frozen=True)
class SpanCounts:
    """Counts over all sentences: ``micro`` over all types, and for each type that the tag names know."""

    micro: Counts
    per_type: Mapping[str, Counts]


class CodedTags(NamedTuple):
    """Gold and predicted tags of all sentences end to end, [T], with sentence ``lengths``, [B]."""

    gold: Codes
    predicted: Codes
    tag_names: tuple[str, ...]
    lengths: NDArray[np.int64]


def encode_tags(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> CodedTags:
    """Number the tags in order of first appearance, so that tags unknown to training need no special case.

    Raises:
        ValueError: the two sides differ in sentences or in a sentence's length, or a tag is malformed.
    """
    if len(gold) != len(predicted):
        raise ValueError(f"{len(gold)} sentences with gold tags but {len(predicted)} with predicted tags")
    for number, (one, other) in enumerate(zip(gold, predicted, strict=True)):
        if len(one) != len(other):
            raise ValueError(f"sentence {number} has {len(one)} gold tags but {len(other)} predicted tags")
    numbers: dict[str, int] = {}
    coded = [
        np.array([numbers.setdefault(tag, len(numbers)) for tags in side for tag in tags], dtype=np.int32)
        for side in (gold, predicted)
    ]
    lengths = np.array([len(tags) for tags in gold], dtype=np.int64)
    return CodedTags(coded[0], coded[1], tuple(numbers), lengths)


class SpanArrays(NamedTuple):
    """Spans over concatenated tokens, each field [N]: first token, last token (inclusive), index of the type."""

    first: NDArray[np.int64]
    last: NDArray[np.int64]
    type: NDArray[np.int64]


class SpanPair:
    """The spans of both sides over the same tokens, and their agreement.

    Args:
        coded: tags of both sides; BIOES or IOB2.
        strict: only well-formed BIOES spans count, instead of conlleval's rules.

    Raises:
        ValueError: lengths do not fit, or a number (padding, for instance) has no name.
    """

    def __init__(self, coded: CodedTags, *, strict: bool = False) -> None:
        self.lengths = coded.lengths
        if not len(coded.gold) == len(coded.predicted) == coded.lengths.sum():
            raise ValueError(
                f"lengths sum to {coded.lengths.sum()}, but there are {len(coded.gold)} gold and "
                f"{len(coded.predicted)} predicted tags"
            )
        parts = [checked_parts(tag) for tag in coded.tag_names]
        self.types = tuple(sorted({type_ for _, type_ in parts if type_}))
        number = {type_: index for index, type_ in enumerate(self.types)}
        # One small number a token: its type, counted from 1 (O is 0), and its prefix in the lowest three bits.
        packed = [8 * (number.get(type_, -1) + 1) + _PREFIXES.index(prefix) for prefix, type_ in parts]
        packed_of: Codes = np.array(packed, dtype=np.int16 if len(number) < 4_000 else np.int32)
        opens = _sentence_openings(self.lengths)
        find = _strict_arrays if strict else _conlleval_arrays
        for codes in (coded.gold, coded.predicted):
            if len(codes) and not 0 <= codes.min() <= codes.max() < len(parts):
                raise ValueError(f"tag numbers {codes.min()} to {codes.max()}, but there are {len(parts)} tag names")
        # The bounds are checked above: "clip" saves the check of every single one.
        self.gold, self.predicted = (
            find(packed_of.take(codes, mode="clip"), opens) for codes in (coded.gold, coded.predicted)
        )
        # At most one gold span starts at a token: its row is looked up instead of searched for.
        row_at: Codes = np.full(len(opens), -1, dtype=np.int32 if len(opens) < 2**31 else np.int64)
        row_at[self.gold.first] = np.arange(len(self.gold.first))
        row = row_at[self.predicted.first]
        same = row >= 0
        same &= self.gold.last.take(row, mode="clip") == self.predicted.last if len(self.gold.last) else False
        #: for each predicted span the row of the gold span with the same boundaries, or -1, [N predicted]
        self.partner = np.where(same, row, -1)
        #: whether a predicted span is correct, [N predicted]
        self.hit = same.copy()
        if len(self.gold.type):
            self.hit &= self.gold.type.take(row, mode="clip") == self.predicted.type

    def counts(self) -> SpanCounts:
        """Count spans per type and over all."""
        K = len(self.types)
        columns = (self.gold.type, self.predicted.type, self.predicted.type[self.hit])
        table = np.stack([np.bincount(column, minlength=K) for column in columns])  # [3, K]
        per_type = {type_: Counts(*table[:, index].tolist()) for index, type_ in enumerate(self.types)}
        return SpanCounts(Counts(*table.sum(axis=1).tolist()), per_type)

    def boundary_counts(self) -> Counts:
        """Count spans whatever their type: a predicted span is correct when both boundaries are."""
        return Counts(len(self.gold.first), len(self.predicted.first), int((self.partner >= 0).sum()))

    def sentence_counts(self, kind: str | None = None) -> NDArray[np.int64]:
        """Count gold, predicted and correct spans of every sentence, [B, 3]: the unit of the significance test.

        Args:
            kind: one of `types`, to count spans of this type alone.
        """
        B = len(self.lengths)
        sentence_of = np.repeat(np.arange(B), self.lengths)
        gold, predicted = (
            np.ones(len(spans.type), bool) if kind is None else spans.type == self.types.index(kind)
            for spans in (self.gold, self.predicted)
        )
        firsts = (self.gold.first[gold], self.predicted.first[predicted], self.predicted.first[predicted & self.hit])
        return np.stack([np.bincount(sentence_of[first], minlength=B) for first in firsts], axis=1)


def _sentence_openings(lengths: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return whether a token is the first of its sentence, [T]; empty sentences open nothing."""
    opens = np.zeros(int(lengths.sum()), dtype=bool)
    opens[(np.cumsum(lengths) - lengths)[lengths > 0]] = True
    return opens


def _runs(opens: NDArray[np.bool_], inside: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return first and last token of each run that begins where ``opens`` and goes on while ``inside`` holds."""
    ends = inside.copy()
    ends[:-1] &= ~inside[1:] | opens[1:]
    return np.flatnonzero(opens & inside), np.flatnonzero(ends)


def _conlleval_arrays(packed: NDArray[np.integer], opens: NDArray[np.bool_]) -> SpanArrays:
    """Find spans by conlleval's rules; both arguments [T]."""
    inside = packed > 0
    prefix, type_ = packed & 7, packed >> 3
    is_begin = (prefix == _PREFIXES.index("B")) | (prefix == _PREFIXES.index("S"))
    # O has type 0, so "the token before has another type" covers "the token before is O".
    is_begin |= opens
    is_begin[1:] |= type_[1:] != type_[:-1]
    first, last = _runs(is_begin & inside, inside)
    return SpanArrays(first, last, _type_indices(type_[first]))


def _type_indices(types: NDArray[np.integer]) -> NDArray[np.int64]:
    """Count types from 0 instead of 1, [N], in a type wide enough for K times K: the packed numbers are narrow."""
    return types.astype(np.int64) - 1


def _strict_arrays(packed: NDArray[np.integer], opens: NDArray[np.bool_]) -> SpanArrays:
    """Find well-formed BIOES spans; both arguments [T].

    A run goes on from B or I to I or E of the same type; it is a span when it is a single S or goes from B to E.
    """
    prefix, type_ = packed & 7, packed >> 3
    B, I, E, S = (_PREFIXES.index(letter) for letter in "BIES")  # noqa: E741
    can_follow = np.append(False, ((prefix == B) | (prefix == I))[:-1] & (type_[1:] == type_[:-1]))[: len(prefix)]
    follows = can_follow & ((prefix == I) | (prefix == E)) & ~opens
    first, last = _runs(~follows, np.ones(len(prefix), dtype=bool))
    whole = (prefix[first] == S) | ((prefix[first] == B) & (prefix[last] == E))
    return SpanArrays(first[whole], last[whole], _type_indices(type_[first[whole]]))
