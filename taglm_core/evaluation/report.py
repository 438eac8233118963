"""The comparison of variants: from one row per variant and seed to a table with significance.

All shares are kept between 0 and 1; only the strings of ``taglm_core.evaluation.tables`` are in percent.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from taglm_core.errors import ConfigError, MismatchError
from taglm_core.evaluation.paired import paired_counts
from taglm_core.evaluation.scores import Scores
from taglm_core.evaluation.significance import SentenceCounts, approximate_randomisation, bootstrap_interval, welch


@dataclass(frozen=True)
class EvaluationRow:
    """One tagger evaluated on one split.

    Attributes:
        variant: name of the variant (``baseline``, ``taglm``).
        seed: of the training.
        parameters: trained parameters of the tagger.
        scores: as written to ``scores.json``.
        dev_f1: best F1 on the development set, between 0 and 1; None where there was none.
        predictions: path of ``predictions.parquet``.
        calibration: as written to ``scores.json``, or nothing.
    """

    variant: str
    seed: int
    parameters: int
    scores: Mapping[str, Any]
    dev_f1: float | None
    predictions: Path
    calibration: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, variant: str, seed: int, folder: Path) -> EvaluationRow:
        """Read the folder of an evaluation."""
        data = json.loads((folder / "scores.json").read_bytes())
        path = folder / "predictions.parquet"
        return cls(variant, seed, data["parameters"], data["scores"], data["dev_f1"], path, data.get("calibration", {}))


@dataclass(frozen=True)
class Sample:
    """Mean over seeds and sample standard deviation (n - 1), which is None with one seed."""

    mean: float
    deviation: float | None
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Sample:
        """Summarise one value per seed, at least one."""
        deviation = statistics.stdev(values) if len(values) > 1 else None
        return cls(statistics.fmean(values), deviation, len(values))


@dataclass(frozen=True)
class VariantSummary:
    """One variant over its seeds; scores are of the evaluated split unless ``dev`` is in the name.

    ``calibration_error`` is the mean expected calibration error of tokens and spans, where it was measured.
    """

    variant: str
    parameters: int
    seeds: tuple[int, ...]
    f1: Sample
    f1_by_seed: tuple[float, ...]
    f1_strict: float
    boundary_f1: float
    token_accuracy: float
    calibration_error: Mapping[str, float]
    precision: float
    recall: float
    dev_f1: float | None
    per_type: Mapping[str, Sample]


@dataclass(frozen=True)
class Difference:
    """A variant minus the reference, in micro F1 pooled over seeds, with interval and p-values.

    ``p_value`` is of approximate randomisation over sentences, ``welch_p`` of Welch's test over seeds.
    """

    variant: str
    difference: float
    low: float
    high: float
    level: float
    p_value: float
    welch_p: float | None


@dataclass(frozen=True)
class Comparison:
    """All variants of an experiment on one split, the reference among them.

    Attributes:
        reference: name of the variant that the others are compared with.
        variants: in the order of the rows.
        differences: one for each variant but the reference.
        type_counts: gold spans of each entity type.
        sentences: of the split.
        tokens: of the split.
        rounds: of randomisation and bootstrap.
        seed: of their generators.
        split: the split that they were evaluated on; dev where there is no test split.
    """

    reference: str
    variants: tuple[VariantSummary, ...]
    differences: tuple[Difference, ...]
    type_counts: Mapping[str, int]
    sentences: int
    tokens: int
    rounds: int
    seed: int
    split: str = "test"


def build_comparison(
    rows: Sequence[EvaluationRow], *, reference: str, rounds: int = 10_000, seed: int = 0, split: str = "test"
) -> Comparison:
    """Summarise each variant and compare it with the reference on the same sentences.

    Args:
        rows: evaluations on one split.
        reference: the variant that the others are compared with.
        rounds: of randomisation and bootstrap.
        seed: of their generators.
        split: the split.

    Raises:
        ConfigError: no row is of the reference.
        MismatchError: the rows are not of the same split, or one variant has several parameter counts.
        ValueError: a variant has the same seed twice.
    """
    groups: dict[str, list[EvaluationRow]] = {}
    for row in rows:
        groups.setdefault(row.variant, []).append(row)
    if reference not in groups:
        known = ", ".join(groups) or "none"
        raise ConfigError(f"reference variant {reference!r} was not evaluated; expected one of: {known}")
    groups = {name: sorted(group, key=lambda row: row.seed) for name, group in groups.items()}
    counts = paired_counts({name: [(row.predictions, row.scores["micro"]) for row in groups[name]] for name in groups})
    summaries = tuple(_summarise(name, group) for name, group in groups.items())
    by_name = {summary.variant: summary for summary in summaries}
    first = Scores.from_dict(groups[reference][0].scores)
    return Comparison(
        reference=reference,
        variants=summaries,
        differences=tuple(
            _compare(by_name[name], by_name[reference], counts[name], counts[reference], rounds, seed)
            for name in groups
            if name != reference
        ),
        type_counts={name: prf.gold for name, prf in sorted(first.per_type.items()) if prf.gold},
        sentences=first.sentences,
        tokens=first.tokens,
        rounds=rounds,
        seed=seed,
        split=split,
    )


def to_json(comparison: Comparison) -> dict[str, Any]:
    """Return plain dicts, lists, strings and numbers; the test split is not named, as in earlier releases."""
    plain = asdict(comparison)
    if comparison.split == "test":
        del plain["split"]
    return plain


def read_report(folder: Path) -> Comparison:
    """Read the comparison in the folder of a report object."""
    return from_json(json.loads((folder / "report.json").read_bytes()))


def from_json(data: Mapping[str, Any]) -> Comparison:
    """Restore what ``to_json`` returned, also after a trip through a JSON file."""
    variants = tuple(
        VariantSummary(
            **{
                **variant,
                "seeds": tuple(variant["seeds"]),
                "f1": Sample(**variant["f1"]),
                "f1_by_seed": tuple(variant["f1_by_seed"]),
                "per_type": {name: Sample(**sample) for name, sample in variant["per_type"].items()},
            }
        )
        for variant in data["variants"]
    )
    differences = tuple(Difference(**difference) for difference in data["differences"])
    return Comparison(**{**data, "variants": variants, "differences": differences})


def _summarise(variant: str, rows: Sequence[EvaluationRow]) -> VariantSummary:
    """Summarise one variant over its seeds."""
    seeds = tuple(row.seed for row in rows)
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"variant {variant!r} has the seeds {seeds}; expected each once")
    sizes = sorted({row.parameters for row in rows})
    if len(sizes) > 1:
        raise MismatchError(
            f"variant {variant!r} has taggers of {', '.join(f'{size:,}' for size in sizes)} parameters; expected one "
            "size for all seeds; evaluate seeds of one configuration together"
        )
    scores = [Scores.from_dict(row.scores) for row in rows]
    f1s = tuple(score.micro.f1 for score in scores)
    dev = [row.dev_f1 for row in rows if row.dev_f1 is not None]
    return VariantSummary(
        variant=variant,
        parameters=sizes[0],
        seeds=seeds,
        f1=Sample.of(f1s),
        f1_by_seed=f1s,
        f1_strict=statistics.fmean(score.f1_strict for score in scores),
        boundary_f1=statistics.fmean(score.boundaries.f1 for score in scores),
        token_accuracy=statistics.fmean(score.token_accuracy for score in scores),
        calibration_error={
            name: statistics.fmean(row.calibration[name]["error"] for row in rows) for name in rows[0].calibration
        },
        precision=statistics.fmean(score.micro.precision for score in scores),
        recall=statistics.fmean(score.micro.recall for score in scores),
        dev_f1=statistics.fmean(dev) if dev else None,
        # A type without gold spans has no F1; what was wrongly predicted of it is in precision.
        per_type={
            name: Sample.of([score.per_type[name].f1 for score in scores])
            for name, prf in sorted(scores[0].per_type.items())
            if prf.gold
        },
    )


def _compare(
    variant: VariantSummary,
    reference: VariantSummary,
    counts: SentenceCounts,
    reference_counts: SentenceCounts,
    rounds: int,
    seed: int,
) -> Difference:
    """Compare one variant with the reference; counts are [seeds, B, 3]."""
    found = approximate_randomisation(counts, reference_counts, rounds=rounds, seed=seed)
    interval = bootstrap_interval(counts, reference_counts, rounds=rounds, seed=seed)
    return Difference(
        variant=variant.variant,
        difference=found.difference,
        low=interval.low,
        high=interval.high,
        level=interval.level,
        p_value=found.p_value,
        welch_p=welch(variant.f1_by_seed, reference.f1_by_seed),
    )
