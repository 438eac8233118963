"""Bootstrap intervals of the F1 of one tagger, over all spans and by type."""

from __future__ import annotations

import numpy as np

from taglm_core.evaluation.predictions import Predictions
from taglm_core.evaluation.significance import Interval, bootstrap_interval
from taglm_core.evaluation.spans import SpanPair, encode_tags


def f1_intervals(
    predictions: Predictions, *, rounds: int = 1_000, seed: int = 1
) -> tuple[Interval, dict[str, Interval]]:
    """Return the 95 % interval of micro F1, and that of the F1 of each type, over sentences drawn with replacement.

    Args:
        predictions: gold and predicted tags of all sentences.
        rounds: rounds of the bootstrap.
        seed: seed of its generator.
    """
    pair = SpanPair(encode_tags(predictions.gold, predictions.predicted))

    def interval(kind: str | None) -> Interval:
        counts = pair.sentence_counts(kind)
        return bootstrap_interval(counts, np.zeros_like(counts), rounds, seed)  # a system without spans has F1 0

    return interval(None), {kind: interval(kind) for kind in pair.types}
