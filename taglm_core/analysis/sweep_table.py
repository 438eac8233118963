"""The result of a sweep: one row for each variant of each cell, as a table, as Parquet, and as claims decided."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from taglm_core.config.sweep import Cell, Sweep, reference_of, row_name
from taglm_core.evaluation.report import (
    Comparison,
    Difference,
    EvaluationRow,
    Sample,
    VariantSummary,
    build_comparison,
    read_report,
)
from taglm_core.evaluation.significance import holm
from taglm_core.evaluation.tables import format_difference, format_p, format_sample, markdown_table
from taglm_core.pipeline.context import PipelineContext
from taglm_core.pipeline.graph import evaluation_name, language_model_name, tagger_name
from taglm_core.pipeline.plan import refs_of
from taglm_core.store.records import Manifest, Ref

TABLE, PAGE = "table.parquet", "table.md"
LEVEL = 0.05
"""A claim holds, or fails, by a corrected p below this."""
SAME = 0.01
"""Rows are the same if the interval of their difference lies within this, as a share."""


@dataclass(frozen=True, slots=True)
class SweepRow:
    """A variant of a cell over its seeds. Shares are between 0 and 1.

    Attributes:
        cell: name of the cell.
        variant: name of the variant.
        place: name of the cell's value on each axis.
        split: split of the scores; dev where there is no test split.
        seeds: seeds.
        f1: F1 of each seed.
        dev_f1: mean of the best F1 on dev.
        parameters: parameters of a tagger.
        minutes: mean time of a training.
        train_sentences: sentences that it learnt from.
        perplexity: of its language models on held-out text, geometric mean over all of them; None without one.
        reference: row that it is compared with; empty for a reference.
        difference: F1 of all seeds together minus that of the reference.
        low: lower end of its 95 % interval.
        high: upper end.
        p: by approximate randomisation over sentences.
        p_holm: corrected for all rows of the table.
        welch_p: by Welch's test over seeds.
        paper: the paper's figure; None if it has none.
        paper_deviation: its standard deviation.
    """

    cell: str
    variant: str
    place: Mapping[str, str]
    split: str
    seeds: tuple[int, ...]
    f1: tuple[float, ...]
    dev_f1: float | None
    parameters: int
    minutes: float
    train_sentences: int
    perplexity: float | None
    reference: str = ""
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    welch_p: float | None = None
    paper: float | None = None
    paper_deviation: float | None = None

    @property
    def name(self) -> str:
        """Return its name, CELL/VARIANT."""
        return row_name(self.cell, self.variant)

    @property
    def deviation(self) -> float | None:
        """Return the sample standard deviation of F1 over seeds; None for one seed."""
        return Sample.of(self.f1).deviation


@dataclass(frozen=True, slots=True)
class Decided:
    """A claim with what was found.

    Attributes:
        claim: the claim.
        paper: what the paper found.
        found: the difference of the two rows, in words.
        verdict: holds, fails or open.
    """

    claim: str
    paper: str
    found: str
    verdict: str


@dataclass(frozen=True, slots=True)
class SweepResult:
    """The result of a sweep.

    Attributes:
        rows: the rows.
        claims: the claims.
        missing: cells without a report.
    """

    rows: tuple[SweepRow, ...]
    claims: tuple[Decided, ...]
    missing: tuple[str, ...]


def results_folder(cells: Sequence[Cell], name: str) -> Path:
    """Return where the result of a sweep is written: beside the store."""
    return cells[0].experiment.run.store.parent / "sweeps" / name


def sweep_result(sweep: Sweep, cells: Sequence[Cell]) -> SweepResult:
    """Return the result of the cells that have a report.

    Raises:
        MismatchError: rows that are compared were evaluated on different sentences.
    """
    rows: dict[str, SweepRow] = {}
    finished: dict[str, _Finished] = {}
    missing = []
    for cell in cells:
        context = PipelineContext.resolve(cell.experiment)
        refs = refs_of(context.plan())
        if "report" not in refs:
            missing.append(cell.name)
            continue
        done = finished[cell.name] = _Finished(
            cell, context, refs, read_report(context.store.open(refs["report"]).path)
        )
        for variant in done.report.variants:
            rows[row_name(cell.name, variant.variant)] = _row(done, variant)
    compared = _Compared(finished)
    pairs = {row: reference for cell in cells if cell.name not in missing for row in cell.rows
             if (reference := reference_of(sweep, cell, cells)) != row and reference in rows}  # fmt: skip
    found = {row: compared.of(row, reference) for row, reference in pairs.items()}
    corrected = dict(zip(found, holm([one.p_value for one in found.values()]), strict=True))
    for name, one in found.items():
        rows[name] = dataclasses.replace(
            rows[name], reference=pairs[name], difference=one.difference, low=one.low, high=one.high, p=one.p_value,
            p_holm=corrected[name], welch_p=one.welch_p,
        )  # fmt: skip
    for name, figure in sweep.paper.items():
        if name in rows:
            deviation = None if figure.deviation is None else figure.deviation / 100
            rows[name] = dataclasses.replace(rows[name], paper=figure.f1 / 100, paper_deviation=deviation)
    return SweepResult(tuple(rows.values()), _decided(sweep, rows, compared), tuple(missing))


@dataclass(frozen=True, slots=True)
class _Finished:
    """A cell that has its report, and its objects by step name."""

    cell: Cell
    context: PipelineContext
    refs: Mapping[str, Ref]
    report: Comparison

    def manifest(self, step: str) -> Manifest:
        """Return the manifest of the object of a step."""
        return self.context.store.manifest(self.refs[step].kind, self.refs[step].digest)

    def evaluations(self, variant: str) -> list[EvaluationRow]:
        """Return the evaluations of a variant, one for each seed, under the name of its row."""
        name, store = row_name(self.cell.name, variant), self.context.store
        steps = {seed: evaluation_name(variant, seed, self.report.split) for seed in self.cell.experiment.seeds}
        return [EvaluationRow.read(name, seed, store.open(self.refs[step]).path) for seed, step in steps.items()]


def _row(one: _Finished, found: VariantSummary) -> SweepRow:
    made = [one.manifest(tagger_name(found.variant, seed)) for seed in found.seeds]
    config = next(variant for variant in one.cell.experiment.variants if variant.name == found.variant)
    models = [one.manifest(language_model_name(lm, way)) for lm in config.lm for way in config.directions]
    perplexities = [model.metrics["heldout/perplexity"] for model in models if "heldout/perplexity" in model.metrics]
    return SweepRow(
        one.cell.name, found.variant, one.cell.place, one.report.split, found.seeds, found.f1_by_seed, found.dev_f1,
        found.parameters, statistics.fmean(tagger.seconds for tagger in made) / 60, made[0].counts["train_sentences"],
        math.exp(statistics.fmean(map(math.log, perplexities))) if perplexities else None,
    )  # fmt: skip


class _Compared:
    """Differences of pairs of rows: those of the cells' reports, and others, which are computed once each."""

    def __init__(self, finished: Mapping[str, _Finished]) -> None:
        self._known: dict[tuple[str, str], Difference] = {}
        self._rows: dict[str, tuple[_Finished, str]] = {}
        for cell, one in finished.items():
            self._rows |= {row_name(cell, each.variant): (one, each.variant) for each in one.report.variants}
            reference = row_name(cell, one.report.reference)
            self._known |= {(row_name(cell, each.variant), reference): each for each in one.report.differences}

    def of(self, row: str, reference: str) -> Difference:
        """Return the difference of a row and its reference."""
        pair = row, reference
        if pair not in self._known:
            (other, other_variant), (one, variant) = self._rows[reference], self._rows[row]
            rows = [*other.evaluations(other_variant), *one.evaluations(variant)]
            rounds, seed = one.report.rounds, one.report.seed
            self._known[pair] = build_comparison(rows, reference=reference, rounds=rounds, seed=seed).differences[0]
        return self._known[pair]


def _decided(sweep: Sweep, rows: Mapping[str, SweepRow], compared: _Compared) -> tuple[Decided, ...]:
    """Decide the claims whose rows are there; their p-values are corrected for their number."""
    there = [claim for claim in sweep.claims if claim.better in rows and claim.worse in rows]
    found = [compared.of(claim.better, claim.worse) for claim in there]
    decided = []
    for claim, one, p in zip(there, found, holm([one.p_value for one in found]), strict=True):
        if claim.same:
            verdict = "holds" if one.low >= -SAME and one.high <= SAME else "fails" if p < LEVEL else "open"
        else:
            verdict = "open" if p >= LEVEL else "holds" if one.difference > 0 else "fails"
        ours = f"{claim.better} against {claim.worse}: {format_difference(one)}"
        decided.append(Decided(claim.claim, claim.paper, ours, verdict))
    return tuple(decided)


SHORT = ("row", "F1", "difference", "Holm's p", "minutes a seed", "the paper")
"""Columns that fit a terminal."""


def table_of(result: SweepResult, columns: Sequence[str] | None = None) -> tuple[list[str], list[list[str]]]:
    """Return headers and rows of plain strings, F1 in percent; columns without a value are left out.

    Args:
        result: the result.
        columns: headers of the columns; None for all.
    """
    headers = ["row", "parameters", "F1", "dev F1", "against", "difference", "Holm's p", "Welch's p", "perplexity",
               "sentences", "minutes a seed", "the paper"]  # fmt: skip
    cells = []
    for row in result.rows:
        difference = None
        if row.difference is not None and row.low is not None and row.high is not None and row.p is not None:
            difference = Difference(row.name, row.difference, row.low, row.high, 0.95, row.p, row.welch_p)
        cells.append([
            row.name, f"{row.parameters:,}", format_sample(Sample.of(row.f1)),
            "" if row.dev_f1 is None else f"{100 * row.dev_f1:.2f}", row.reference,
            "" if difference is None else format_difference(difference),
            "" if row.p_holm is None else format_p(row.p_holm), "" if row.welch_p is None else format_p(row.welch_p),
            "" if row.perplexity is None else f"{row.perplexity:.1f}", f"{row.train_sentences:,}", f"{row.minutes:.1f}",
            "" if row.paper is None else f"{100 * row.paper:.2f}"
            + ("" if row.paper_deviation is None else f" ± {100 * row.paper_deviation:.2f}"),
        ])  # fmt: skip
    kept = [place for place, header in enumerate(headers)
            if (columns is None or header in columns) and any(cell[place] for cell in cells)]  # fmt: skip
    return [headers[place] for place in kept], [[cell[place] for place in kept] for cell in cells]


def claims_of(result: SweepResult) -> tuple[list[str], list[list[str]]]:
    """Return headers and rows of the claims."""
    return ["claim", "the paper", "ours", "verdict"], [
        [one.claim, one.paper, one.found, one.verdict] for one in result.claims
    ]


def to_markdown(sweep: Sweep, result: SweepResult) -> str:
    """Return the tables in Markdown, with the meaning of the figures."""
    split = result.rows[0].split if result.rows else "test"
    parts = [f"# {sweep.title or sweep.name}\n", markdown_table(table_of(result)),
             f"F1 in percent on {split}, mean ± sample standard deviation over seeds. Differences in points of micro "
             "F1 pooled over seeds, with 95 % interval (bootstrap) and p (approximate randomisation), both over "
             "sentences; Holm's p is corrected for all rows. Welch's test is over seeds.\n"]  # fmt: skip
    if result.claims:
        parts.append(markdown_table(claims_of(result)))
    if result.missing:
        parts.append(f"Not finished: {', '.join(result.missing)}.\n")
    return "\n".join(parts)


def write_result(sweep: Sweep, result: SweepResult, folder: Path) -> None:
    """Write `table.parquet` and `table.md`; the same result gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    columns: dict[str, pa.Array] = {}
    for field in dataclasses.fields(SweepRow):
        values = [getattr(row, field.name) for row in result.rows]
        if field.name == "place":
            columns["place"] = pa.array([list(value.items()) for value in values], pa.map_(pa.string(), pa.string()))
        else:
            columns[field.name] = pa.array(values, _TYPES.get(field.name, pa.float64()))
    table = pa.table(columns).replace_schema_metadata({"sweep": sweep.name, "title": sweep.title})
    pq.write_table(table, folder / TABLE, compression="zstd")
    (folder / PAGE).write_text(to_markdown(sweep, result), encoding="utf-8")


def read_rows(path: Path) -> list[SweepRow]:
    """Return the rows of a `table.parquet`."""
    rows = pq.read_table(path).to_pylist()
    return [SweepRow(**{**row, "place": dict(row["place"]), "seeds": tuple(row["seeds"]), "f1": tuple(row["f1"])})
            for row in rows]  # fmt: skip


_TYPES = {
    "cell": pa.string(), "variant": pa.string(), "split": pa.string(), "reference": pa.string(),
    "seeds": pa.list_(pa.int64()), "f1": pa.list_(pa.float64()), "parameters": pa.int64(),
    "train_sentences": pa.int64(),
}  # fmt: skip
