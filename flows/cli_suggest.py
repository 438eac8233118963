"""`taglm suggest`: the sentences that a tagger is least sure of, for people to label next."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flows.cli_failures import BAD_ROWS
from flows.cli_invocation import Model, Sets
from taglm_core.config.load import load_experiment
from taglm_core.errors import ConfigError
from tasks.environment import quiet_defaults

TOOLS = ("doccano", "label-studio", "prodigy")
FORMATS = ("text", "tokens", "conll", "jsonl", "parquet")
SHOWN_EVERY = 100
errors = Console(stderr=True)


def suggest(
    model: Model,
    files: Annotated[list[str], typer.Argument(metavar="TEXT...", help="files, folders or globs, as for predict")],
    count: Annotated[int, typer.Option(min=1, help="sentences to suggest")] = 200,
    tool: Annotated[str, typer.Option("--for", help=f"tool that imports them: {', '.join(TOOLS)}")] = "doccano",
    to: Annotated[Path | None, typer.Option(metavar="FILE", help="where to write; standard output if none")] = None,
    labelled: Annotated[
        list[str] | None, typer.Option("--not", metavar="FILE", help="labelled file with sentences to leave out")
    ] = None,
    shortest: Annotated[int, typer.Option(min=1, help="fewest tokens of a sentence")] = 3,
    longest: Annotated[int, typer.Option(min=1, help="most tokens of a sentence")] = 100,
    given: Annotated[
        str | None, typer.Option("--input", help=f"{', '.join(FORMATS)}; by the names of the files if not given")
    ] = None,
    column: Annotated[str, typer.Option(help="column of JSON lines and Parquet: text, or a list of tokens")] = "text",
    word_column: Annotated[int, typer.Option(help="column of the word in CoNLL files, from 0")] = 0,
    lines: Annotated[bool, typer.Option("--lines", help="each line of raw text is a text, not each file")] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="threads for computing; run.threads if not given")] = None,
    experiment: Annotated[
        Path | None, typer.Option("--experiment", metavar="FILE", help="experiment of the store and of MLflow")
    ] = None,
    overrides: Sets = None,
) -> None:
    """Find the sentences that a tagger is least sure of, and write them with its entities for an annotation tool."""
    quiet_defaults()
    for option, value, choices in (("--for", tool, TOOLS), ("--input", given, FORMATS)):
        if value is not None and value not in choices:
            raise ConfigError(f"{option}: found {value!r}; expected {', '.join(choices)}")
    if to is not None and to.exists():
        raise ConfigError(f"--to {to}: the file exists, and may hold somebody's labels; give another name")
    if shortest > longest:
        raise ConfigError(f"--shortest {shortest} is more than --longest {longest}")
    loaded = load_experiment(experiment, overrides or ())
    import torch

    from taglm_core.config.data import LabelledFormat
    from taglm_core.corpus.paths import resolve_files
    from taglm_core.formats.labelled import LabelledReading, read_labelled
    from tasks import suggesting
    from tasks.models import open_tagger
    from tasks.predicting.readers import Format, Source
    from tasks.predicting.rows import Row

    source = Source.of(files, Format(given) if given else None, column=column, word_column=word_column, lines=lines)
    torch.set_num_threads(threads or loaded.run.threads)
    tagger = open_tagger(model, loaded, overrides or ())
    reading = LabelledReading(format=LabelledFormat.AUTO, tokenizer=tagger.index.text)
    known = [tokens for name in labelled or () for tokens in read_labelled(resolve_files(name), reading).tokens]
    bad: list[Row] = []

    def report(row: Row) -> None:
        bad.append(row)
        errors.print(f"{row.path}:{row.number}: {row.error}", style="red", markup=False, soft_wrap=True)

    with errors.status("tagging") as status:

        def seen(number: int) -> None:
            if number % SHOWN_EVERY == 0:
                status.update(f"tagging: {number:,} sentences")

        found = suggesting.suggest(
            tagger, source.rows(), count, shortest=shortest, longest=longest, known=known, bad_row=report, seen=seen
        )
    text = suggesting.written(found, suggesting.Tool(tool), str(tagger.index.facts.get("label", model)))
    if to is None:
        typer.echo(text, nl=False)
    else:
        to.write_text(text, encoding="utf-8")
    fewer = (
        ""
        if len(found) == count
        else f" ({count:,} were asked for; the others are like these or others, known, too short or too long)"
    )
    errors.print(f"{len(found):,} sentences{fewer}", markup=False, soft_wrap=True)
    if bad:
        raise typer.Exit(BAD_ROWS)
