"""Scores of a tagger on labelled sentences, computed as the evaluation of an experiment computes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from taglm.tagger import Tagger
from taglm_core.evaluation.evaluated import write_evaluation
from taglm_core.evaluation.predictions import Predictions
from taglm_core.formats.labelled import LabelledSentences, read_labelled

__all__ = ["LabelledSentences", "evaluate", "read_labelled"]


def evaluate(tagger: Tagger, labelled: LabelledSentences, folder: Path, name: str) -> dict[str, Any]:
    """Tag labelled sentences, all in one call, and write `predictions.parquet`, `scores.json` and `conlleval.txt`.

    Args:
        tagger: the tagger.
        labelled: the sentences.
        folder: folder to write.
        name: name of the sentences in `scores.json`.

    Returns:
        The content of `scores.json`.
    """
    code = {tag: number for number, tag in enumerate(tagger.tags)}
    found = tagger.predict_sentences(labelled.tokens, labelled.documents)
    predicted = [one.tags for one in found]
    chosen = [
        []
        if one.marginals is None
        else one.marginals[np.arange(len(one.tags)), [code[tag] for tag in one.tags]].tolist()
        for one in found
    ]
    spans = [[span.confidence for span in one.spans] for one in found]
    numbers = range(len(labelled.tokens))
    predictions = Predictions(numbers, labelled.tokens, labelled.tags, predicted, chosen, spans)
    facts = tagger.index.facts
    return write_evaluation(folder, predictions, tagger.tags, {
        "split": name, "tagger": tagger.index.digest, "parameters": facts["parameters"], "dev_f1": facts["dev_f1"],
    })  # fmt: skip
