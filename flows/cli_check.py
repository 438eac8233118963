"""Checks of `taglm doctor`, and their table."""

from __future__ import annotations

from dataclasses import dataclass

from rich.markup import escape
from rich.table import Table

INSTALL = "`make run` installs the versions in requirements.lock (rm .venv/installed first)"


@dataclass(frozen=True, slots=True)
class Check:
    """Result of one check.

    Attributes:
        what: subject of the check.
        found: state of the machine.
        bad: whether the state keeps experiments from running.
        remedy: what to do; for a good check, an optional improvement.
    """

    what: str
    found: str
    bad: bool = False
    remedy: str = ""


def table(checks: list[Check]) -> Table:
    """Return a table with one row per check."""
    rows = Table("", "what", box=None, pad_edge=False)
    rows.add_column("found", overflow="fold")
    rows.add_column("what to do", overflow="fold")
    for check in checks:
        mark = "[bold red]bad[/]" if check.bad else "[green]good[/]"
        rows.add_row(mark, escape(check.what), escape(check.found), escape(check.remedy))
    return rows
