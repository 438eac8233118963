"""Span counts per sentence of several taggers on one split, checked to belong together.

A paired test is only as good as its pairs: all files must hold the same sentences, tokens and gold tags.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from taglm_core.errors import MismatchError
from taglm_core.evaluation.predictions import Predictions, read_predictions
from taglm_core.evaluation.significance import SentenceCounts
from taglm_core.evaluation.spans import SpanPair, encode_tags


def paired_counts(files: Mapping[str, Sequence[tuple[Path, Mapping[str, int]]]]) -> dict[str, SentenceCounts]:
    """Return gold, predicted and correct spans of each variant, seed and sentence: [seeds, B, 3] by variant.

    One file beside the first is in memory at a time.

    Args:
        files: for each variant and seed the path of ``predictions.parquet`` and its scores' ``micro`` counts.

    Raises:
        MismatchError: a file is of another split than the first, or its counts are not those of its scores.
    """
    first: Predictions | None = None
    counts: dict[str, SentenceCounts] = {}
    for variant, seeds in files.items():
        by_seed = []
        for path, micro in seeds:
            predictions = read_predictions(path)
            first = first or predictions
            _check_same_split(first, predictions, path)
            by_seed.append(SpanPair(encode_tags(predictions.gold, predictions.predicted)).sentence_counts())
            _check_scores(by_seed[-1], micro, path)
        counts[variant] = np.stack(by_seed)
    return counts


def _check_same_split(first: Predictions, other: Predictions, path: Path) -> None:
    """Compare what a paired test needs to be equal."""
    for name in ("sentence_ids", "tokens", "gold"):
        if getattr(first, name) != getattr(other, name):
            raise MismatchError(
                f"{path}: found other {name.replace('_', ' ')} than in the first predictions of the comparison; "
                "expected the same split for all; evaluate all taggers on one split"
            )


def _check_scores(counts: SentenceCounts, micro: Mapping[str, int], path: Path) -> None:
    """Check that the scores are of these predictions."""
    found = counts.sum(axis=0).tolist()
    expected = [micro["gold"], micro["predicted"], micro["correct"]]
    if found != expected:
        raise MismatchError(
            f"{path}: found {found} gold, predicted and correct spans; expected {expected}, as its scores say; "
            "they belong to different evaluations: evaluate the tagger again"
        )
