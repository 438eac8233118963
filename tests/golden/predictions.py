"""Evaluation and report of fixed predictions: two variants, two seeds, every kind of mistake, written by hand.

A tagger of two epochs finds no entity, and one of twenty would find others on another machine; these do not change.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from taglm_core.corpus.database import DatabaseLimits
from taglm_core.corpus.parquet import corpus_files, write_corpus
from taglm_core.corpus.schemes import Scheme
from taglm_core.corpus.sentence import Sentence
from taglm_core.evaluation.calibration import calibrate_spans, calibrate_tokens
from taglm_core.evaluation.error_analysis import analyse_errors
from taglm_core.evaluation.predictions import Predictions, read_predictions, write_predictions
from taglm_core.evaluation.report import EvaluationRow, build_comparison, to_json
from taglm_core.evaluation.scores import score, type_confusion
from taglm_core.evaluation.spans import conlleval_spans

TRAIN = """
Ann S-PER|saw O|Oslo S-LOC|in O|York S-LOC
New B-LOC|York E-LOC|saw O|Bob B-PER|Lee E-PER
Bank B-ORG|of I-ORG|Oslo E-ORG|. O
"""

TAGGERS = (("baseline", 1), ("baseline", 2), ("TagLM", 1), ("TagLM", 2))
# word, gold, then what each of TAGGERS predicts
PREDICTED = """
Ann S-PER S-PER S-PER S-PER S-PER|saw O O O O O|York S-LOC S-LOC O S-LOC S-LOC
Bank B-ORG B-ORG O B-ORG B-ORG|of I-ORG I-ORG O I-ORG I-ORG|York E-ORG E-ORG S-LOC E-ORG E-ORG|. O O O O O
Oslo S-PER S-LOC S-LOC S-LOC S-PER|saw O O O O O|Bob B-PER S-PER B-PER B-PER B-PER|Lee E-PER O E-PER E-PER E-PER
in O O O O O|New B-LOC O O B-LOC B-LOC|Delhi E-LOC S-LOC O E-LOC E-LOC|. O O O O O
The O O S-ORG O O|Bank O S-ORG O O O|saw O O O O O|Zoe S-PER O O S-PER O
Lee S-PER S-PER S-PER S-PER S-PER|in O O O O O|Lee S-LOC S-PER S-PER S-LOC S-PER
Bank B-ORG I-ORG B-ORG B-ORG B-ORG|New I-ORG E-LOC E-ORG I-ORG I-ORG|York E-ORG O S-LOC E-ORG O
saw O O O O O|. O O O O O
York S-LOC S-LOC S-LOC S-ORG S-LOC|and O O O O O|Kim B-PER S-ORG O B-PER S-PER|Roe E-PER O O E-PER S-PER
Ann S-PER S-PER S-PER S-PER S-PER|of O O O O I-LOC|Oslo S-LOC S-LOC S-LOC S-LOC E-LOC|. O O S-LOC O O
"""


def evaluation(folder: Path) -> dict[str, Any]:
    """What an evaluation says of each tagger's predictions, read back from its file."""
    found = {}
    for variant, seed in TAGGERS:
        read = read_predictions(_written(folder, variant, seed))
        assert read.confidence is not None
        assert read.span_confidence is not None
        found[f"{variant}/{seed}"] = {
            "scores": score(read.gold, read.predicted).to_dict(),
            "type_confusion": type_confusion(read.gold, read.predicted),
            "calibration": {
                "tokens": calibrate_tokens(read.gold, read.predicted, read.confidence).to_dict(),
                "spans": calibrate_spans(read.gold, read.predicted, read.span_confidence).to_dict(),
            },
        }
    return _plain(found)


def report(folder: Path) -> dict[str, Any]:
    """The comparison of the two variants (differences, intervals, p-values), and where they err."""
    rows, files = [], {variant: [] for variant, _ in TAGGERS}
    for variant, seed in TAGGERS:
        path = _written(folder, variant, seed)
        files[variant].append(path)
        read = read_predictions(path)
        scores = score(read.gold, read.predicted).to_dict()
        rows.append(EvaluationRow(variant, seed, 1_000 * len(variant), scores, 0.5 + seed / 8, path))
    sentences = [[pair.split() for pair in line.split("|")] for line in TRAIN.strip().splitlines()]
    train = (Sentence(*map(tuple, zip(*pairs, strict=True)), 0, 1, "train") for pairs in sentences)
    write_corpus(train, folder / "train", scheme=Scheme.BIOES)
    errors = analyse_errors(
        files,
        corpus_files(folder / "train"),
        DatabaseLimits(1, "500MB", folder / "duckdb"),
        mistakes=3,
    )
    return _plain(
        {
            "comparison": to_json(build_comparison(rows, reference="baseline", rounds=500, seed=1)),
            "errors": {variant: found.to_dict() for variant, found in errors.items()},
        }
    )


def _written(folder: Path, variant: str, seed: int) -> Path:
    """One tagger's ``predictions.parquet``; its confidences are ramps."""
    column = 2 + TAGGERS.index((variant, seed))
    sentences = [[token.split() for token in line.split("|")] for line in PREDICTED.strip().splitlines()]
    tokens, gold, predicted = ([[token[place] for token in rows] for rows in sentences] for place in (0, 1, column))
    steps = iter(range(10_000))
    ramp = [[(7 * next(steps) % 20 + 0.5) / 20 for _ in tags] for tags in predicted]
    spans = [[(3 * next(steps) % 20 + 0.5) / 20 for _ in conlleval_spans(tags)] for tags in predicted]
    path = folder / f"{variant}-{seed}.parquet"
    write_predictions(path, Predictions(range(len(tokens)), tokens, gold, predicted, ramp, spans))
    return path


def _plain(value: Any) -> Any:
    """As JSON gives it back, with nine digits: sums may differ in the last ones from machine to machine."""
    return json.loads(json.dumps(value), parse_float=lambda text: float(f"{float(text):.9g}"))
