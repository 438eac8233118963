"""`taglm evaluate`: scores a tagger on any labelled file."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from flows import cli_views
from flows.cli_invocation import Model, Sets, console
from taglm_core.config.data import ColumnSeparator, LabelledFormat, Misaligned, OffsetUnit, TagScheme
from taglm_core.config.experiment import Experiment
from taglm_core.config.load import load_experiment
from taglm_core.errors import ConfigError
from tasks.environment import quiet_defaults

if TYPE_CHECKING:
    from taglm import Tagger  # imports torch
    from taglm_core.formats.labelled import LabelledSentences


def evaluate(
    model: Model,
    file: Annotated[str, typer.Argument(metavar="FILE", help="labelled file of any format, folder or glob")],
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="MODEL", help="another tagger, with significance of the difference"),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="FOLDER", help="write predictions.parquet, scores.json and conlleval.txt"),
    ] = None,
    scheme: Annotated[str, typer.Option(help="tag scheme of the file, or auto")] = "auto",
    separator: Annotated[str, typer.Option(help="separator of columns: tab, space or auto")] = "auto",
    word_column: Annotated[
        str, typer.Option(help="column of the word, from 0, or negative from the end; or its name")
    ] = "0",
    tag_column: Annotated[str, typer.Option(help="column of the tag, likewise")] = "-1",
    form: Annotated[str, typer.Option("--format", help="format of the file, as labelled.format")] = "auto",
    offsets: Annotated[str, typer.Option(help="unit of the offsets of spans, as labelled.offsets")] = "characters",
    misaligned: Annotated[str, typer.Option(help="spans that tags cannot express, as labelled.misaligned")] = "refuse",
    rounds: Annotated[int, typer.Option(min=100, help="rounds of the significance test")] = 10_000,
    mistakes: Annotated[int, typer.Option(min=0, help="most frequent mistakes of each kind to name")] = 0,
    experiment: Annotated[
        Path | None, typer.Option("--experiment", metavar="FILE", help="experiment of the store")
    ] = None,
    overrides: Sets = None,
) -> None:
    """Score a tagger on a labelled file, with intervals, errors and, if asked, significance against another tagger."""
    quiet_defaults()
    columns: dict[str, Any] = {"word": _column(word_column), "tag": _column(tag_column)}
    reading = _reading(scheme=scheme, separator=separator, format=form, offsets=offsets, misaligned=misaligned)
    if to is not None and (to.is_file() or (to.is_dir() and any(to.iterdir()))):
        raise ConfigError(f"--to {to}: found files; give a folder that is new or empty")
    import torch

    from taglm.evaluating import evaluate as evaluate_tagger
    from taglm_core.corpus.paths import resolve_files
    from taglm_core.evaluation.intervals import f1_intervals
    from taglm_core.evaluation.predictions import read_predictions
    from taglm_core.evaluation.report import EvaluationRow, build_comparison
    from taglm_core.evaluation.tables import other_table_rows
    from taglm_core.formats.labelled import LabelledReading, read_labelled
    from tasks.models import experiment_of, open_tagger

    given, sets = load_experiment(experiment, overrides or ()), overrides or ()
    torch.set_num_threads(given.run.threads)  # as in evaluations, so that bits agree
    paths = resolve_files(file)
    names = [name for name in (against, model) if name is not None]
    taggers = [open_tagger(name, given, sets) for name in names]
    labelled = read_labelled(paths, LabelledReading(**columns, **reading, tokenizer=taggers[-1].index.text))
    for note in labelled.notes:
        console.print(note, style="yellow", markup=False, soft_wrap=True)
    labels = [_label(tagger, name) for name, tagger in zip(names, taggers, strict=True)]
    labels = labels if len(set(labels)) == len(labels) else names
    if len(set(labels)) < len(labels):
        raise ConfigError(f"MODEL and --against are both {model}; give two taggers, or leave out --against")
    with tempfile.TemporaryDirectory() as temporary:
        rows = []
        for number, (label, tagger) in enumerate(zip(labels, taggers, strict=True)):
            chosen = tagger is taggers[-1]
            folder = to if chosen and to is not None else Path(temporary) / str(number)
            folder.mkdir(parents=True, exist_ok=True)
            with console.status("tagging"):
                data = evaluate_tagger(tagger, labelled, folder, file)
            rows.append(EvaluationRow.read(label, tagger.index.facts.get("seed") or 0, folder))
            title = f"{label} on {file}: {len(labelled.tokens):,} sentences, {data['scores']['tokens']:,} tokens"
            intervals = f1_intervals(read_predictions(rows[-1].predictions))
            console.print(_scores_table(title, data["scores"], *intervals))
            _say_unknown_labels(label, tagger, labelled)
        comparison = build_comparison(rows, reference=labels[0], rounds=rounds, seed=given.significance.seed)
        console.print(cli_views.plain_table("other figures, in percent", *other_table_rows(comparison)))
        own = experiment_of(model, given, sets)
        for part in _errors(rows, taggers[-1], own, Path(temporary), mistakes):
            console.print(part)
        if against is not None:
            console.print(cli_views.comparison(comparison, f"F1 in percent on {file}")[0])  # types are above
    if to is not None:
        console.print(f"{to}: predictions.parquet, scores.json, conlleval.txt", markup=False, soft_wrap=True)


def _label(tagger: Tagger, name: str) -> str:
    """Return a short name of a tagger, such as `demo:TagLM/seed-3`; the user's own if its export has no label."""
    return str(tagger.index.facts.get("label", name)).replace("/tagger/", ":")


def _reading(**given: str) -> dict[str, Any]:
    """Return the settings of reading that were given; None for a scheme and a separator that are `auto`."""
    from taglm_core.corpus.conll_faults import Separator
    from taglm_core.corpus.schemes import Scheme

    kinds = {"scheme": TagScheme, "separator": ColumnSeparator, "format": LabelledFormat, "offsets": OffsetUnit,
             "misaligned": Misaligned}  # fmt: skip
    found: dict[str, Any] = {}
    for name, kind in kinds.items():
        try:
            found[name] = kind(given[name])
        except ValueError:
            raise ConfigError(f"--{name}: found {given[name]!r}; expected {', '.join(kind)}") from None
    scheme, separator = found["scheme"], found["separator"]
    found["scheme"] = None if scheme is TagScheme.AUTO else Scheme(str(scheme))
    found["separator"] = None if separator is ColumnSeparator.AUTO else Separator(str(separator))
    return found


def _column(given: str) -> int | str:
    """Return a column: its number, or its name."""
    return int(given) if re.fullmatch(r"-?\d{1,9}", given) else given


def _scores_table(title: str, scores: dict[str, Any], micro: Any, by_type: dict[str, Any]) -> Table:
    rows = []
    for name, found, interval in [
        ("all", scores["micro"], micro),
        *((name, scores["per_type"][name], by_type[name]) for name in sorted(scores["per_type"])),
    ]:
        shares = (f"{100 * found[share]:.2f}" for share in ("precision", "recall", "f1"))
        between = f"[{100 * interval.low:.2f}, {100 * interval.high:.2f}]"
        rows.append([name, *(f"{found[count]:,}" for count in ("gold", "predicted", "correct")), *shares, between])
    headers = ["type", "gold", "predicted", "correct", "precision", "recall", "F1", "95 % interval"]
    return cli_views.plain_table(title, headers, rows)


def _say_unknown_labels(label: str, tagger: Tagger, labelled: LabelledSentences) -> None:
    """Name the types of the file that a tagger can never predict."""
    from taglm_core.evaluation.spans import conlleval_spans

    counts = Counter(span.type for tags in labelled.tags for span in conlleval_spans(tags))
    unknown = [f"{name} ({counts[name]:,} entities)" for name in sorted(counts.keys() - set(tagger.labels))]
    if unknown:
        line = f"labels of the file that {label} does not know, counted as errors: {', '.join(unknown)}"
        console.print(line, style="yellow", markup=False, soft_wrap=True)


def _errors(rows: list[Any], tagger: Tagger, experiment: Experiment, folder: Path, mistakes: int) -> list[Table | str]:
    """Return tables of the errors; by seen and new entities where the store has the tagger's training sentences."""
    from taglm_core.analysis.stored import training_files
    from taglm_core.corpus.database import DatabaseLimits
    from taglm_core.evaluation import error_report
    from taglm_core.evaluation.error_analysis import analyse_errors
    from taglm_core.store.store import Store

    train = training_files(Store(experiment.run.store), tagger.index.digest)
    limits = DatabaseLimits(experiment.run.threads, experiment.run.memory_limit, folder / "duckdb")
    found = analyse_errors({row.variant: [row.predictions] for row in rows}, train, limits, mistakes=mistakes)
    parts: list[Table | str] = [
        cli_views.plain_table("spans of the file by what was predicted", *error_report.outcome_table_rows(found))
    ]
    confused = error_report.confusion_table_rows(found)
    if confused[1]:
        parts.append(cli_views.plain_table("types taken for another", *confused))
    if train:
        seen = f", by the training sentences of {rows[-1].variant}"
        parts += [
            cli_views.plain_table(f"F1 by kind of entity{seen}", *error_report.strata_table_rows(found)),
            cli_views.plain_table(f"right tags by kind of word{seen}", *error_report.word_table_rows(found)),
        ]
    else:
        parts.append(
            f"The store {experiment.run.store} has no training sentences of this tagger, so seen and new entities are "
            "not told apart."
        )
    for name, errors in found.items() if mistakes else ():
        parts.append(cli_views.plain_table(f"mistakes of {name}", *error_report.mistake_table_rows(errors)))
    return parts
