"""The scores of one evaluation, by conlleval's rules, confirmed by seqeval.

All shares lie between 0 and 1. ``micro`` is the headline: conlleval's F1 on the tags mapped to IOB2. ``f1_strict``
beside it counts only spans that are well-formed BIOES with the right type and boundaries (seqeval's strict mode).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypedDict

import numpy as np

from taglm_core.evaluation.spans import (
    CodedTags,
    Counts,
    SpanCounts,
    SpanPair,
    bioes_to_iob2,
    encode_tags,
)

Tags = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Prf:
    """Precision, recall and F1 with the span counts they come from."""

    precision: float
    recall: float
    f1: float
    gold: int
    predicted: int
    correct: int

    @classmethod
    def of(cls, counts: Counts) -> Prf:
        """Compute the shares of counts; a division by zero gives 0."""
        return cls(counts.precision, counts.recall, counts.f1, *counts)


@dataclass(frozen=True)
class Scores:
    """Scores of one evaluation.

    Attributes:
        micro: over the spans of all types.
        per_type: for each type that occurs in gold or predicted spans, by name.
        boundaries: over all spans, whatever their type.
        f1_strict: micro F1 over well-formed BIOES spans only.
        token_accuracy: share of tokens whose tag, mapped to IOB2, is right (as conlleval prints it).
        sentences: number of sentences.
        tokens: number of tokens.
    """

    micro: Prf
    per_type: Mapping[str, Prf]
    boundaries: Prf
    f1_strict: float
    token_accuracy: float
    sentences: int
    tokens: int

    def to_dict(self) -> dict[str, Any]:
        """Return the content of ``scores.json``: plain dicts, floats and integers."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Scores:
        """Restore what ``to_dict`` returned."""
        nested = {
            "micro": Prf(**data["micro"]),
            "per_type": {name: Prf(**prf) for name, prf in data["per_type"].items()},
            "boundaries": Prf(**data["boundaries"]),
        }
        return cls(**{**data, **nested})


class TypeConfusion(TypedDict):
    """Gold types against predicted types.

    ``matrix[i][j]`` gold spans of type i were predicted with exactly their boundaries and type j; ``missed[i]`` gold
    spans of type i have no prediction with their boundaries, ``spurious[j]`` predictions no gold span.
    """

    types: list[str]
    matrix: list[list[int]]
    missed: list[int]
    spurious: list[int]


def score(gold: Tags, predicted: Tags) -> Scores:
    """Score predicted against gold tags (BIOES or IOB2), sentence by sentence.

    Raises:
        ValueError: the two sides differ in sentences or in a sentence's length, or a tag is malformed.
        RuntimeError: seqeval computes other numbers, which would be a fault of this program.
    """
    coded = encode_tags(gold, predicted)
    pair = SpanPair(coded)
    counts = pair.counts()
    seen = {name: found for name, found in counts.per_type.items() if found.gold or found.predicted}
    _confirm(SpanCounts(counts.micro, seen), seqeval_scores(gold, predicted))
    tokens = len(coded.gold)
    return Scores(
        micro=Prf.of(counts.micro),
        per_type={name: Prf.of(found) for name, found in seen.items()},
        boundaries=Prf.of(pair.boundary_counts()),
        f1_strict=SpanPair(coded, strict=True).counts().micro.f1,
        token_accuracy=_correct_tokens(coded) / tokens if tokens else 0.0,
        sentences=len(coded.lengths),
        tokens=tokens,
    )


def type_confusion(gold: Tags, predicted: Tags) -> TypeConfusion:
    """Count gold type by predicted type for spans with equal boundaries, and spans without a counterpart.

    Raises:
        ValueError: as for ``score``.
    """
    pair = SpanPair(encode_tags(gold, predicted))
    K = len(pair.types)
    met = pair.partner >= 0
    cells = pair.gold.type[pair.partner[met]] * K + pair.predicted.type[met]
    matrix = np.bincount(cells, minlength=K * K).reshape(K, K)
    missed = np.bincount(pair.gold.type, minlength=K) - matrix.sum(axis=1)
    spurious = np.bincount(pair.predicted.type, minlength=K) - matrix.sum(axis=0)
    return TypeConfusion(
        types=list(pair.types), matrix=matrix.tolist(), missed=missed.tolist(), spurious=spurious.tolist()
    )


@dataclass(frozen=True)
class SeqevalScores:
    """seqeval's own numbers, default mode: micro, and per type in the order of the sorted type names."""

    precision: float
    recall: float
    f1: float
    type_precision: tuple[float, ...]
    type_recall: tuple[float, ...]
    type_f1: tuple[float, ...]
    type_gold: tuple[int, ...]


def seqeval_scores(gold: Tags, predicted: Tags) -> SeqevalScores:
    """Run seqeval in its default mode (conlleval's rules) on the mapped tags; nothing to divide by gives 0.

    About 150 times slower than ``SpanPair``: for the final evaluation, not for every epoch.
    """
    # Imported here because seqeval pulls in scikit-learn, which costs more than scoring does.
    from seqeval.metrics.sequence_labeling import precision_recall_fscore_support

    mapped = [[bioes_to_iob2(tags) for tags in side] for side in (gold, predicted)]
    if not mapped[0]:
        return SeqevalScores(0.0, 0.0, 0.0, (), (), (), ())
    precision, recall, f1, _ = precision_recall_fscore_support(*mapped, average="micro", zero_division=0)
    by_type = precision_recall_fscore_support(*mapped, average=None, zero_division=0)
    return SeqevalScores(
        float(precision),
        float(recall),
        float(f1),
        type_precision=tuple(by_type[0].tolist()),
        type_recall=tuple(by_type[1].tolist()),
        type_f1=tuple(by_type[2].tolist()),
        type_gold=tuple(by_type[3].tolist()),
    )


def _confirm(ours: SpanCounts, theirs: SeqevalScores) -> None:
    """Compare our counts with seqeval's shares.

    Raises:
        RuntimeError: they differ by more than rounding.
    """
    types = [ours.per_type[name] for name in sorted(ours.per_type)]
    our_shares = [ours.micro.precision, ours.micro.recall, ours.micro.f1]
    our_shares += [share for found in types for share in (found.precision, found.recall, found.f1)]
    their_shares = [theirs.precision, theirs.recall, theirs.f1]
    their_shares += [
        share for row in zip(theirs.type_precision, theirs.type_recall, theirs.type_f1, strict=True) for share in row
    ]
    same = len(our_shares) == len(their_shares) and tuple(found.gold for found in types) == theirs.type_gold
    if not same or not all(math.isclose(a, b, abs_tol=1e-9) for a, b in zip(our_shares, their_shares, strict=True)):
        raise RuntimeError(f"internal error: our span scores {ours} disagree with seqeval's {theirs}; please report it")


def _correct_tokens(coded: CodedTags) -> int:
    """Number of tokens whose tag mapped to IOB2 is right."""
    mapped = bioes_to_iob2(coded.tag_names)
    number = {tag: index for index, tag in enumerate(sorted(set(mapped)))}
    iob2_of = np.array([number[tag] for tag in mapped], dtype=np.int64)
    return int((iob2_of[coded.gold] == iob2_of[coded.predicted]).sum())
