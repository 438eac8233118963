"""The report: comparison and error analysis of taggers."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence

from taglm_core.corpus.database import DatabaseLimits
from taglm_core.corpus.parquet import corpus_files
from taglm_core.corpus.schemes import split_tag
from taglm_core.evaluation.calibration import Calibration, pool
from taglm_core.evaluation.error_analysis import VariantErrors, analyse_errors
from taglm_core.evaluation.error_report import errors_to_markdown, strata_samples
from taglm_core.evaluation.report import EvaluationRow, build_comparison, to_json
from taglm_core.evaluation.tables import markdown_text, to_markdown
from taglm_core.pipeline.build import BuildContext, BuildResult
from taglm_core.pipeline.roles import DEV_CORPUS, TRAIN_CORPUS
from taglm_core.store.durable import write_json

logger = logging.getLogger("taglm")
MISTAKES = 10
"""Number of mistakes of each outcome that a report names."""


def build_report(context: BuildContext) -> BuildResult:
    """Compare the variants on test, or on dev without a test split.

    The report holds mean, standard deviation, significance against the first variant, and error analysis.
    """
    config = context.config
    split = "test" if any(role.startswith("test/") for role in context.inputs) else "dev"
    rows, unseen = [], set()
    for variant in config["variants"]:
        for seed in config["seeds"]:
            folder = context.inputs[f"{split}/{variant}/{seed}"].path
            unseen.update(json.loads((folder / "scores.json").read_bytes())["tags_unseen_in_training"])
            rows.append(EvaluationRow.read(variant, seed, folder))
    significance = config["significance"]
    comparison = build_comparison(
        rows,
        reference=config["variants"][0],
        rounds=significance["rounds"],
        seed=significance["seed"],
        split=split,
    )
    learnt_from = [role for role in (TRAIN_CORPUS, DEV_CORPUS) if role in context.inputs]
    measured, dev = _errors(context, split, learnt_from), _errors(context, "dev", [TRAIN_CORPUS], MISTAKES)
    analysed = {
        name: {variant: found.to_dict() for variant, found in errors.items()}
        for name, errors in ((split, measured), ("dev", dev))
    }
    for name, payload in (("report.json", to_json(comparison)), ("errors.json", analysed)):
        write_json(context.out / name, payload, sort_keys=True, ensure_ascii=True)
    text = f"{to_markdown(comparison)}\n{errors_to_markdown(measured, dev, split)}"
    if unseen:
        counts = [json.loads((context.inputs[role].path / "counts.json").read_bytes()) for role in learnt_from]
        known = {kind for found in counts for kind in found["entities"]}
        note = f"entities of the {split} split that training has none of, counted as errors: {_in_words(unseen, known)}"
        logger.warning("%s", note)
        text += f"\nNote: {markdown_text(note)}.\n"
    (context.out / "report.md").write_text(text, encoding="utf-8")
    # Imported here: processes that only train and evaluate import this module, too.
    from taglm_core.evaluation.figures import f1_bars, reliability_figure, strata_bars

    calibrations = {
        f"{variant}, spans": pool(
            Calibration.from_dict(row.calibration["spans"]) for row in rows if row.variant == variant
        )
        for variant in config["variants"]
    }
    figures = {
        "f1.png": f1_bars(comparison),
        "f1_by_kind_of_entity.png": strata_bars(strata_samples(measured)),
        "reliability.png": reliability_figure(calibrations),
    }
    for name, figure in figures.items():
        figure.savefig(context.out / name, dpi=120)
    return BuildResult(
        {"variants": len(config["variants"]), "seeds": len(config["seeds"])}, not_payload=("report.md", *figures)
    )


def _errors(
    context: BuildContext, split: str, learnt_from: Sequence[str], mistakes: int = 0
) -> dict[str, VariantErrors]:
    """Analyse the errors of every variant on a split, with the corpora of these roles as training data."""
    files = {
        variant: [
            context.inputs[f"{split}/{variant}/{seed}"].path / "predictions.parquet" for seed in context.config["seeds"]
        ]
        for variant in context.config["variants"]
    }
    return analyse_errors(
        files,
        [path for role in learnt_from for path in corpus_files(context.inputs[role].path)],
        DatabaseLimits(context.run.threads, context.run.memory_limit, context.work / "duckdb"),
        mistakes=mistakes,
    )


_LENGTHS = {"S": "of one word", "B": "of several words", "E": "of several words", "I": "of three words or more"}


def _in_words(unseen: set[str], known: set[str]) -> str:
    """Name BIOES tags that training lacks for people: types, or entity lengths of a known type."""
    kinds = {split_tag(tag)[1] for tag in unseen} - known
    lengths = {f"{kind} {_LENGTHS[prefix]}" for prefix, kind in map(split_tag, unseen) if kind in known}
    return ", ".join([*(f"type {kind}" for kind in sorted(kinds)), *sorted(lengths)])
