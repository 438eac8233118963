"""The files of an evaluation: predictions, their scores, and what conlleval reads."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from taglm_core.evaluation.calibration import calibrate_spans, calibrate_tokens
from taglm_core.evaluation.predictions import (
    Predictions,
    check_same_tokens,
    read_predictions,
    write_conlleval,
    write_predictions,
)
from taglm_core.evaluation.scores import score, type_confusion
from taglm_core.store.durable import write_json

PREDICTIONS, SCORES, CONLLEVAL = "predictions.parquet", "scores.json", "conlleval.txt"


def write_evaluation(
    folder: Path, predictions: Predictions, known_tags: Collection[str], facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Score predictions; write them, their scores and conlleval's file into a folder.

    Args:
        folder: folder of the evaluation.
        predictions: predictions with confidences.
        known_tags: tags that the tagger can predict, in BIOES.
        facts: further entries of `scores.json`: split, parameters, dev_f1.

    Returns:
        The content of `scores.json`.

    Raises:
        MismatchError: the written tokens are not the tokens that were tagged.
    """
    gold, predicted = predictions.gold, predictions.predicted
    tokens, spans = (
        [row or () for row in rows or ()] for rows in (predictions.confidence, predictions.span_confidence)
    )
    calibration = {
        "tokens": calibrate_tokens(gold, predicted, tokens),
        "spans": calibrate_spans(gold, predicted, spans),
    }
    write_predictions(folder / PREDICTIONS, predictions)
    check_same_tokens(predictions.tokens, read_predictions(folder / PREDICTIONS).tokens)
    write_conlleval(folder / CONLLEVAL, predictions)
    data = {
        **facts,
        "scores": score(gold, predicted).to_dict(),
        "type_confusion": type_confusion(gold, predicted),
        "calibration": {name: found.to_dict() for name, found in calibration.items()},
        "tags_unseen_in_training": sorted({tag for sentence in gold for tag in sentence} - set(known_tags)),
    }
    write_json(folder / SCORES, data, sort_keys=True, ensure_ascii=True)
    return data
