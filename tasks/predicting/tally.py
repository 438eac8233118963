"""Counts of what a prediction found, of one part or all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from taglm import Analysis, Entity

BINS = 20  # of the histogram of confidences, each 0.05 wide


@dataclass
class Tally:
    """Counts.

    Attributes:
        rows: all rows.
        bad_rows: those that could not be read.
        sentences: sentences of the others.
        tokens: tokens of these.
        unknown_tokens: tokens without a vector in the tagger.
        labels: entities by label.
        confidences: entities by confidence, in `BINS` bins from 0 to 1.
    """

    rows: int = 0
    bad_rows: int = 0
    sentences: int = 0
    tokens: int = 0
    unknown_tokens: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    confidences: list[int] = field(default_factory=lambda: [0] * BINS)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Tally:
        """Return the counts that `to_json` gave."""
        return cls(**{**data, "labels": Counter(data["labels"])})

    def to_json(self) -> dict[str, Any]:
        """Return the counts as plain data."""
        return {**asdict(self), "labels": dict(sorted(self.labels.items()))}

    @property
    def entities(self) -> int:
        """Return the number of entities."""
        return sum(self.labels.values())

    @property
    def unknown_rate(self) -> float:
        """Return the share of tokens without a vector, 0 without tokens."""
        return self.unknown_tokens / self.tokens if self.tokens else 0.0

    def per_thousand(self) -> dict[str, float]:
        """Return the entities of each label per 1,000 tokens."""
        return {label: 1000 * count / max(1, self.tokens) for label, count in sorted(self.labels.items())}

    def add_row(self, sentences: Iterable[Analysis] | None, entities: Iterable[Entity]) -> None:
        """Count one row.

        Args:
            sentences: its sentences; None if it is bad.
            entities: its entities that are written.
        """
        self.rows += 1
        self.bad_rows += sentences is None
        for sentence in sentences or ():
            self.sentences += 1
            self.tokens += len(sentence.tokens)
            self.unknown_tokens += len(sentence.tokens) - sum(sentence.known)
        for entity in entities:
            self.labels[entity.label] += 1
            self.confidences[min(int(entity.confidence * BINS), BINS - 1)] += 1

    def __add__(self, other: Tally) -> Tally:
        """Return the counts of both together."""
        return Tally(
            self.rows + other.rows, self.bad_rows + other.bad_rows, self.sentences + other.sentences,
            self.tokens + other.tokens, self.unknown_tokens + other.unknown_tokens, self.labels + other.labels,
            [one + two for one, two in zip(self.confidences, other.confidences, strict=True)],
        )  # fmt: skip
