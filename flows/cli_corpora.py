"""What the command line shows of corpora: how each was read, and what is suspicious about them."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from taglm_core.analysis.corpora import CorpusReport, finding_text

MOST_TYPES = 12  # entity types that the table names


def show_corpora(console: Console, report: CorpusReport, *, rows: bool = True, findings: bool = True) -> None:
    """Print one row a split, and below it what is suspicious.

    Args:
        console: where.
        report: of the corpora.
        rows: False prints the findings alone.
        findings: False prints the rows alone, where an error names the findings.
    """
    if rows:
        console.print(corpora_table(report))
    for finding in finding_lines(report) if findings else ():
        console.print(finding, soft_wrap=True)


def corpora_table(report: CorpusReport) -> Table:
    """One row a split: how it was read."""
    table = Table(title="\ncorpora as they were read", title_justify="left", title_style="bold", header_style="bold")
    for header in ("split", "sentences", "tokens", "entities", "scheme", "columns", "first sentence"):
        table.add_column(header, justify="right" if header in ("sentences", "tokens") else "left", overflow="fold")
    for row in report.rows:
        if row.sentences is None:
            table.add_row(row.split, "", "", "", "", "", f"[yellow]not read yet:[/] {escape(row.source)}")
            continue
        kinds = list((row.entities or {}).items())
        shown = [f"{kind} {number:,}" for kind, number in kinds[:MOST_TYPES]]
        more = [f"{len(kinds) - MOST_TYPES} more types"] if len(kinds) > MOST_TYPES else []
        entities = ", ".join([*shown, *more])
        cells = (row.split, f"{row.sentences:,}", f"{row.tokens:,}", entities, row.scheme, row.columns, row.first)
        table.add_row(*map(escape, cells))
    return table


def finding_lines(report: CorpusReport) -> list[str]:
    """What is suspicious about the corpora, worst first."""
    return [
        f"[{'bold red' if finding.stops else 'yellow'}]{finding.name}{' (stops the run)' if finding.stops else ''}[/]: "
        f"{escape(finding_text(finding))}"
        for finding in report.findings
    ]
