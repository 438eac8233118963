"""The comparison of variants: from one row per variant and seed to a table with significance.

All shares are kept between 0 and 1; only the strings of ``table_rows``, ``type_table_rows`` and ``to_markdown`` are
in percent, and their differences in points.
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

Table = tuple[list[str], list[list[str]]]


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
        """From the folder of an evaluation."""
        data = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
        path = folder / "predictions.parquet"
        return cls(variant, seed, data["parameters"], data["scores"], data["dev_f1"], path, data["calibration"])


@dataclass(frozen=True)
class Sample:
    """Mean over seeds and sample standard deviation (n - 1), which is None with one seed."""

    mean: float
    deviation: float | None
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Sample:
        """From one value per seed, at least one."""
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
    """

    reference: str
    variants: tuple[VariantSummary, ...]
    differences: tuple[Difference, ...]
    type_counts: Mapping[str, int]
    sentences: int
    tokens: int
    rounds: int
    seed: int


def build_comparison(
    rows: Sequence[EvaluationRow], *, reference: str, rounds: int = 10_000, seed: int = 0
) -> Comparison:
    """Summarise each variant and compare it with the reference on the same sentences.

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
    )


def to_json(comparison: Comparison) -> dict[str, Any]:
    """Plain dicts, lists, strings and numbers."""
    return asdict(comparison)


def from_json(data: Mapping[str, Any]) -> Comparison:
    """The inverse of ``to_json``, also after a trip through a JSON file."""
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


def table_rows(comparison: Comparison) -> Table:
    """The main table: headers and one row of plain strings per variant."""
    headers = [
        "variant", "parameters", "F1", "precision", "recall", "dev F1", f"F1 against {comparison.reference}", "Welch"
    ]  # fmt: skip
    found = {difference.variant: difference for difference in comparison.differences}
    rows = []
    for variant in comparison.variants:
        difference = found.get(variant.variant)
        rows.append(
            [
                variant.variant,
                f"{variant.parameters:,}",
                format_sample(variant.f1),
                _percent(variant.precision),
                _percent(variant.recall),
                "-" if variant.dev_f1 is None else _percent(variant.dev_f1),
                "-" if difference is None else format_difference(difference),
                "-" if difference is None or difference.welch_p is None else format_p(difference.welch_p),
            ]
        )
    return headers, rows


def type_table_rows(comparison: Comparison) -> Table:
    """F1 by entity type: one row per type, with its gold spans, one column per variant."""
    headers = ["type", "gold spans", *(variant.variant for variant in comparison.variants)]
    rows = [
        [name, f"{gold:,}", *(format_sample(variant.per_type[name]) for variant in comparison.variants)]
        for name, gold in comparison.type_counts.items()
    ]
    return headers, rows


def other_table_rows(comparison: Comparison) -> Table:
    """Figures beside the headline, means over seeds: one row each, one column per variant."""
    variants = comparison.variants
    rows = [
        ["strict F1 (well-formed BIOES spans only)", *(_percent(variant.f1_strict) for variant in variants)],
        ["F1 of boundaries, whatever the type", *(_percent(variant.boundary_f1) for variant in variants)],
        ["token accuracy", *(_percent(variant.token_accuracy) for variant in variants)],
    ]
    for name in variants[0].calibration_error:
        rows.append([f"calibration error of {name}", *(_percent(v.calibration_error[name]) for v in variants)])
    return ["", *(variant.variant for variant in variants)], rows


def to_markdown(comparison: Comparison) -> str:
    """The tables in Markdown, with what the figures mean."""
    level = f"{comparison.differences[0].level:.0%} interval" if comparison.differences else "interval"
    return (
        f"{markdown_table(table_rows(comparison))}\n"
        f"F1, precision and recall in per cent on {comparison.sentences:,} sentences ({comparison.tokens:,} tokens), "
        "mean ± sample standard deviation over seeds. Spans by conlleval's rules. Differences in points of micro F1 "
        f"pooled over seeds, with {level} (bootstrap) and p (approximate randomisation), both over sentences, "
        f"{comparison.rounds:,} rounds; Welch's test is over seeds.\n\n"
        f"{markdown_table(type_table_rows(comparison))}\n"
        f"{markdown_table(other_table_rows(comparison))}"
    )


def format_sample(sample: Sample) -> str:
    """``83.12 ± 0.41``, or ``83.12 (1 seed)``."""
    spread = "(1 seed)" if sample.deviation is None else f"± {_percent(sample.deviation)}"
    return f"{_percent(sample.mean)} {spread}"


def format_difference(difference: Difference) -> str:
    """``+12.30 [10.9, 13.6] p < 0.001``; an interval narrower than two points gets a second decimal."""
    low, high = 100 * difference.low, 100 * difference.high
    digits = 2 if high - low < 2 else 1
    interval = f"[{low:.{digits}f}, {high:.{digits}f}]"
    return f"{100 * difference.difference:+.2f} {interval} {format_p(difference.p_value)}"


def format_p(p: float) -> str:
    """``p = 0.021``, or ``p < 0.001``."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def markdown_table(table: Table, *, text_columns: int = 1) -> str:
    """Headers and rows in Markdown; the first columns are text, the others are numbers."""
    headers, rows = table
    lines = [headers, [*["---"] * text_columns, *["---:"] * (len(headers) - text_columns)], *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def _summarise(variant: str, rows: Sequence[EvaluationRow]) -> VariantSummary:
    """One variant's means over its seeds."""
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
    """One variant against the reference; counts are [seeds, B, 3]."""
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
