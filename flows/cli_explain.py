"""`taglm explain`: shows how sure a tagger is of each token of a text, beside its baseline."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from flows.cli_invocation import Model, Sets, console
from taglm_core.config.load import load_experiment
from taglm_core.errors import InputError, MissingObject
from tasks.environment import quiet_defaults

if TYPE_CHECKING:
    from taglm.entities import Entity
    from taglm.explaining import ExplainedSentence, ExplainedToken  # imports torch


def explain(
    model: Model,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="raw text, or - for standard input")],
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline",
            metavar="MODEL",
            help="tagger beside it; by default the baseline in the export, or that of the same experiment and seed",
        ),
    ] = None,
    n_best: Annotated[int, typer.Option(min=0, help="most probable taggings of each sentence to list")] = 0,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="write one HTML file as well")] = None,
    experiment: Annotated[
        Path | None, typer.Option("--experiment", metavar="FILE", help="experiment of the store")
    ] = None,
    overrides: Sets = None,
) -> None:
    """Show tags and probabilities of each token of a text, unknown words, and what the baseline says."""
    quiet_defaults()
    from taglm.explained_html import to_html
    from taglm.explaining import explain as explain_text
    from tasks.baselines import open_baseline
    from tasks.models import open_tagger

    given, sets = load_experiment(experiment, overrides or ()), overrides or ()
    text = _standard_input() if text == "-" else text
    tagger = open_tagger(model, given, sets)
    note = ""
    try:
        other = open_tagger(baseline, given, sets) if baseline else open_baseline(model, tagger, given, sets)
    except MissingObject as error:
        if baseline:
            raise
        other, note = None, f"no baseline: {error}"
    found = explain_text(tagger, text, other, n_best=n_best)
    for part in _parts(found):
        console.print(part, soft_wrap=isinstance(part, str))
    if note:
        console.print(note, style="yellow", markup=False, soft_wrap=True)
    if html is not None:
        names = [None if one is None else str(one.index.facts.get("label", model)) for one in (tagger, other)]
        html.write_text(to_html(found, names[0] or model, names[1], tagger.labels), encoding="utf-8", errors="replace")
        console.print(str(html), markup=False, soft_wrap=True)


def _standard_input() -> str:
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise InputError(
            "standard input",
            None,
            f"bytes that are no UTF-8 ({error.reason})",
            "text in UTF-8",
            "convert it with iconv",
        ) from error


def _parts(sentences: Sequence[ExplainedSentence]) -> Iterator[Table | str]:
    """Yield the table of each sentence, with its entities below."""
    if not sentences:
        yield "The text is empty."
    for number, one in enumerate(sentences, 1):
        yield _table(f"sentence {number}", one)
        yield f"entities: {_listed(one, one.entities)}"
        if one.baseline is not None:
            yield f"baseline: {_listed(one, one.baseline)}"
        yield from (f"{chance:.3f}  {escape(text)}" for text, chance in one.paths)


def _table(title: str, one: ExplainedSentence) -> Table:
    table = Table(title=f"\n{title}", title_justify="left", title_style="bold", header_style="bold")
    headers = ["token", "tag", "probability", "next tag", "probability", "word"]
    headers += [] if one.baseline is None else ["", "baseline", "probability"]
    for header in headers:
        table.add_column(header, justify="right" if header == "probability" else "left", overflow="fold")
    for token in one.tokens:
        table.add_row(*_cells(token), style="bold" if token.differs else None)
    return table


def _cells(token: ExplainedToken) -> list[str]:
    cells = [
        escape(token.token),
        escape(token.tag),
        f"{token.probability:.3f}",
        escape(token.next_tag),
        f"{token.next_probability:.3f}",
        "known" if token.known else "unknown",
    ]
    if token.baseline is None:
        return cells
    return [*cells, "≠" if token.differs else "", escape(token.baseline), f"{token.baseline_probability:.3f}"]


def _listed(one: ExplainedSentence, entities: Sequence[Entity]) -> str:
    """Return entities with their confidences; ≠ marks those that the other tagger does not have."""
    return (
        ", ".join(
            f"{'' if one.is_shared(entity) else '≠ '}{escape(f'{entity.text} {entity.label} {entity.confidence:.3f}')}"
            for entity in entities
        )
        or "none"
    )
