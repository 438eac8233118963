"""What a tagger returns."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Entity:
    """An entity of a text.

    Attributes:
        text: its text, as it stands in the input.
        label: its type.
        start: position of its first character in the text, in code points (as Python counts).
        end: position after its last character.
        token_start: its first token, counted over the whole text.
        token_end: the token after its last one.
        confidence: posterior probability of the span: that exactly these tokens have this type, given the text. On new
            text it may be too high or too low; the tagger's report has its calibration error.
    """

    text: str
    label: str
    start: int
    end: int
    token_start: int
    token_end: int
    confidence: float

    def is_wanted(self, threshold: float, labels: Collection[str] | None) -> bool:
        """Return whether the entity has at least a confidence, and one of some labels; None for all labels."""
        return self.confidence >= threshold and (labels is None or self.label in labels)

    def to_dict(self) -> dict[str, Any]:
        """Return the entity as plain data, for JSON."""
        return {
            "text": self.text,
            "label": self.label,
            "start": self.start,
            "end": self.end,
            "token_start": self.token_start,
            "token_end": self.token_end,
            "confidence": round(self.confidence, 6),
        }


@dataclass(frozen=True, slots=True)
class Analysis:
    """All that a tagger says about one sentence.

    Attributes:
        tokens: the n tokens as they stand in the text.
        spans: start and end of each token in the text, in code points.
        tags: the best tags in BIOES, one per token.
        entities: the entities of these tags.
        known: for each token, whether the tagger has a vector of the word, trained or from the word vectors.
        marginals: probability of each tag at each token [n, K], columns as in `Tagger.tags`; None if not asked for.
        paths: the n best taggings with their probabilities, best first; empty if not asked for.
    """

    tokens: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]
    tags: tuple[str, ...]
    entities: tuple[Entity, ...]
    known: tuple[bool, ...]
    marginals: NDArray[np.float64] | None = None
    paths: tuple[tuple[tuple[str, ...], float], ...] = ()
