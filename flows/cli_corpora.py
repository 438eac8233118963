"""Display of corpora: how each was read, and findings about them."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from taglm_core.analysis.corpora import CorpusReport, finding_text
from taglm_core.errors import TagLMError
from taglm_core.pipeline.steps import Graph

MOST_TOKENS = 40  # of a sentence that is shown
MOST_TYPES = 12  # entity types listed in the table


def show_corpora(console: Console, report: CorpusReport, *, rows: bool = True, findings: bool = True) -> None:
    """Print one row per split, and the findings below.

    Args:
        console: console to print on.
        report: report on the corpora.
        rows: whether to print the rows.
        findings: whether to print the findings; not if an error lists them.
    """
    if rows:
        console.print(corpora_table(report))
    for finding in finding_lines(report) if findings else ():
        console.print(finding, soft_wrap=True)


def show_samples(console: Console, graph: Graph) -> bool:
    """Print the first sentences of each source, as tokens; return whether all sources could be read."""
    from taglm_core.analysis.source_samples import first_sentences  # imports sentencex and pyarrow

    sound = True
    for name, step in graph.items():
        if step.kind != "corpus" or "file" not in step.files:
            continue
        kind, path = step.config.get("text_format", step.config["format"]), step.files["file"]
        title = f"\n[bold]{escape(name.removeprefix('corpus/'))}[/]: {escape(path)} ({escape(kind)})"
        console.print(title, soft_wrap=True, highlight=False)
        try:
            for tokens in first_sentences(step):
                more = " ..." if len(tokens) > MOST_TOKENS else ""
                console.print(f"  {escape(' '.join(tokens[:MOST_TOKENS]))}{more}", soft_wrap=True, highlight=False)
        except TagLMError as error:
            sound = False
            console.print(f"  [red]{escape(str(error))}[/]", soft_wrap=True, highlight=False)
    return sound


def corpora_table(report: CorpusReport) -> Table:
    """Return a table with one row per split."""
    table = Table(title="\ncorpora as they were read", title_justify="left", title_style="bold", header_style="bold")
    for header in ("split", "sentences", "tokens", "entities", "scheme", "columns", "first sentence"):
        table.add_column(header, justify="right" if header in ("sentences", "tokens") else "left", overflow="fold")
    for row in report.rows:
        if row.sentences is None:
            table.add_row(row.split, "", "", "", "", "", f"[yellow]not read yet:[/] {escape(row.source)}")
            continue
        entities = entities_text(row.entities or {})
        cells = (row.split, f"{row.sentences:,}", f"{row.tokens:,}", entities, row.scheme, row.columns, row.first)
        table.add_row(*map(escape, cells))
    return table


def entities_text(entities: Mapping[str, int]) -> str:
    """Return the counts of entities by type, in the order given."""
    kinds = list(entities.items())
    listed = [f"{kind} {number:,}" for kind, number in kinds[:MOST_TYPES]]
    return ", ".join([*listed, *([f"{len(kinds) - MOST_TYPES} more types"] if len(kinds) > MOST_TYPES else [])])


def finding_lines(report: CorpusReport) -> list[str]:
    """Return one line per finding, most harmful first."""
    return [
        f"[{'bold red' if finding.stops else 'yellow'}]{finding.name}{' (stops the run)' if finding.stops else ''}[/]: "
        f"{escape(finding_text(finding))}"
        for finding in report.findings
    ]
