"""Calibration of confidences: of the predictions with confidence 80 %, 80 % should be right.

Expected calibration error: sum over bins of (share of the bin) x |accuracy - mean confidence| (Guo et al. 2017, eq. 3).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from taglm_core.evaluation.spans import conlleval_spans

BINS = 10


@dataclass(frozen=True)
class Bin:
    """Predictions with a confidence in (low, high]; the first bin has 0 too.

    Attributes:
        low: lower edge.
        high: upper edge.
        count: predictions.
        confidence: their mean confidence; 0 without any.
        accuracy: the share of them that is right; 0 without any.
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """A reliability diagram in numbers.

    Attributes:
        error: expected calibration error, between 0 and 1; 0 without predictions.
        count: predictions.
        bins: of equal width, from 0 to 1.
    """

    error: float
    count: int
    bins: tuple[Bin, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts and numbers."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Calibration:
        """Restore what `to_dict` returned."""
        return cls(data["error"], data["count"], tuple(Bin(**found) for found in data["bins"]))


def calibrate(confidence: ArrayLike, correct: ArrayLike, bins: int = BINS) -> Calibration:
    """Compare confidences with the correctness of predictions.

    Args:
        confidence: probabilities [N], between 0 and 1.
        correct: whether each prediction is right [N].
        bins: their number.

    Raises:
        ValueError: the two differ in length, or a confidence is no probability (rounding aside).
    """
    given, right = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=bool)
    if given.shape != right.shape or given.ndim != 1:
        raise ValueError(
            f"confidences have shape {list(given.shape)}, outcomes {list(right.shape)}; expected [N] twice"
        )
    if len(given) and not -1e-6 <= given.min() <= given.max() <= 1 + 1e-4:
        raise ValueError(f"confidences lie between {given.min()} and {given.max()}; expected probabilities")
    given = given.clip(0, 1)
    index = np.clip(np.ceil(given * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(index, minlength=bins)
    whole = np.maximum(counts, 1)
    means = np.bincount(index, weights=given, minlength=bins) / whole
    shares = np.bincount(index, weights=right, minlength=bins) / whole
    error = float((counts * np.abs(shares - means)).sum() / max(1, len(given)))
    found = (
        Bin(index / bins, (index + 1) / bins, int(count), float(mean), float(share))
        for index, (count, mean, share) in enumerate(zip(counts, means, shares, strict=True))
    )
    return Calibration(error, len(given), tuple(found))


def pool(calibrations: Iterable[Calibration]) -> Calibration:
    """Pool calibrations with the same bins, for instance of all seeds of a variant."""
    found = list(calibrations)
    bins = []
    for parts in zip(*(one.bins for one in found), strict=True):
        count = sum(part.count for part in parts)
        confidence = sum(part.count * part.confidence for part in parts) / max(1, count)
        accuracy = sum(part.count * part.accuracy for part in parts) / max(1, count)
        bins.append(Bin(parts[0].low, parts[0].high, count, confidence, accuracy))
    total = sum(one.count for one in found)
    error = sum(part.count * abs(part.accuracy - part.confidence) for part in bins) / max(1, total)
    return Calibration(error, total, tuple(bins))


def calibrate_tokens(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], confidence: Sequence[Sequence[float]]
) -> Calibration:
    """Calibrate the tags: each token's confidence, and whether its tag is right."""
    pairs = zip(gold, predicted, strict=True)
    correct = [one == other for tags, found in pairs for one, other in zip(tags, found, strict=True)]
    return calibrate([value for row in confidence for value in row], correct)


def calibrate_spans(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], confidence: Sequence[Sequence[float]]
) -> Calibration:
    """Calibrate predicted spans, in the order of `conlleval_spans`: right means type and both boundaries."""
    correct: list[bool] = []
    for tags, found in zip(gold, predicted, strict=True):
        wanted = set(conlleval_spans(tags))
        correct += [span in wanted for span in conlleval_spans(found)]
    return calibrate([value for row in confidence for value in row], correct)
