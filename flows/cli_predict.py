"""`taglm predict`: finds the entities in files, in rows of data sets, or in standard input."""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from flows.cli_failures import BAD_ROWS
from flows.cli_invocation import Model, Sets
from taglm_core.config.load import load_experiment
from taglm_core.errors import ConfigError
from tasks.environment import quiet_defaults

if TYPE_CHECKING:
    from tasks.predicting.progress import Lines
    from tasks.predicting.readers import Source
    from tasks.predicting.writers import Output

FORMATS, OUTPUTS, SCHEMES = ("text", "tokens", "conll", "jsonl", "parquet"), ("text", "jsonl", "conll", "parquet"), (
    "bioes", "iob2",
)  # fmt: skip
errors = Console(highlight=False, emoji=False, markup=False, soft_wrap=True, stderr=True)


def predict(
    model: Model,
    files: Annotated[
        list[str] | None, typer.Argument(metavar="[FILES...|-]", help="files, folders or globs; - is standard input")
    ] = None,
    given: Annotated[
        str | None, typer.Option("--input", help=f"{', '.join(FORMATS)}; by the names of the files if not given")
    ] = None,
    column: Annotated[str, typer.Option(help="column of JSON lines and Parquet: text, or a list of tokens")] = "text",
    word_column: Annotated[int, typer.Option(help="column of the word in CoNLL files, from 0")] = 0,
    lines: Annotated[bool, typer.Option("--lines", help="each line of raw text is a text, not each file")] = False,
    output: Annotated[
        str | None,
        typer.Option(help=f"{', '.join(OUTPUTS)}; by the name of --to, else text on a terminal and jsonl elsewhere"),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="FILE|FOLDER", help="where to write; a killed run goes on. FOLDER/: in parts"),
    ] = None,
    scheme: Annotated[str, typer.Option(help="tag scheme of --output conll: bioes or iob2")] = "bioes",
    threshold: Annotated[float, typer.Option(min=0, max=1, help="least confidence of an entity")] = 0.0,
    labels: Annotated[str | None, typer.Option(metavar="PER,LOC", help="labels to find; all if not given")] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="threads for computing; run.threads if not given, which is 1")
    ] = None,
    vectors: Annotated[
        Path | None, typer.Option(help="file of word vectors, for a tagger that was exported without them")
    ] = None,
    part_rows: Annotated[int, typer.Option(min=1, help="rows of a part: so many are lost at most by a kill")] = 5_000,
    experiment: Annotated[
        Path | None, typer.Option("--experiment", metavar="FILE", help="experiment of the store and of MLflow")
    ] = None,
    overrides: Sets = None,
) -> None:
    """Find entities in text, tokens, CoNLL, JSON lines or Parquet."""
    quiet_defaults()
    loaded = load_experiment(experiment, overrides or ())
    chosen = _one_of("--input", given, FORMATS)
    wanted = _one_of("--output", output, OUTPUTS)
    tags = _one_of("--scheme", scheme, SCHEMES)
    if not files and sys.stdin.isatty():
        raise ConfigError("found nothing to tag; give files, or - for standard input")
    import torch

    from tasks.models import open_tagger
    from tasks.predicting.formats import new_writer
    from tasks.predicting.job import Job, Wanted, summary
    from tasks.predicting.readers import Format, Source
    from tasks.predicting.rows import Limits

    source = Source.of(
        files or ["-"], Format(chosen) if chosen else None, column=column, word_column=word_column, lines=lines
    )
    kind = _output(wanted, to, source)
    logging.getLogger("taglm").addHandler(_OnErrors())
    torch.set_num_threads(threads or loaded.run.threads)
    tagger = open_tagger(model, loaded, overrides or (), vectors=None if vectors is None else str(vectors))
    colour = to is None and sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    writer = new_writer(kind, tags or "bioes", source, tagger.labels, colour=colour)
    asked = Wanted(threshold, None if labels is None else tuple(labels.split(",")), Limits(part_rows))
    progress = _progress(source, quiet=to is None and sys.stdout.isatty())
    begun = time.monotonic()
    try:
        job = Job(tagger, source, asked, errors.print, progress)
        fixed = {"scheme": tags, "vectors": None if vectors is None else str(vectors.absolute())}
        tally = job.to_stream(writer, sys.stdout.buffer) if to is None else job.to_parts(writer, to, fixed)
    finally:
        progress.stop()
    if to is not None or tally.bad_rows or not sys.stdout.isatty():
        errors.print(summary(tally, time.monotonic() - begun, progress.new))
    if tally.bad_rows:
        raise typer.Exit(BAD_ROWS)


def _one_of(option: str, value: str | None, known: tuple[str, ...]) -> str | None:
    if value is not None and value not in known:
        raise ConfigError(f"{option}: found {value!r}; expected {', '.join(known)}")
    return value


def _output(wanted: str | None, to: str | None, source: Source) -> Output:
    """Return the format of the output, chosen or by the name of the file.

    Raises:
        ConfigError: the name tells no format, or Parquet would go to standard output.
    """
    from tasks.predicting.formats import output_of
    from tasks.predicting.writers import Output

    if wanted == Output.PARQUET and to is None:
        raise ConfigError("--output parquet needs a file; give --to FILE.parquet")
    if wanted is not None:
        return Output(wanted)
    if to is None:
        return Output.TEXT if sys.stdout.isatty() else Output.JSONL
    return output_of(to, source)


def _progress(source: Source, *, quiet: bool) -> Lines:
    from tasks.predicting.progress import Bar, Lines

    if quiet:
        return Lines(None, lambda _: None)
    total = source.total()
    return Bar(total, errors) if errors.is_terminal else Lines(total, errors.print)


class _OnErrors(logging.Handler):
    """Warnings of the tagger, on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        errors.print(record.getMessage())
