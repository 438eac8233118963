"""What `taglm doctor` says of one thing it looked at."""

from __future__ import annotations

from dataclasses import dataclass

from rich.markup import escape
from rich.table import Table

INSTALL = "`make run` installs what requirements.lock says (rm .venv/installed first)"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at.

    Attributes:
        what: it is about.
        found: what is there.
        bad: whether it keeps experiments from running.
        remedy: what to do; for things that are not bad, what else could be done.
    """

    what: str
    found: str
    bad: bool = False
    remedy: str = ""


def table(checks: list[Check]) -> Table:
    """One row a check."""
    shown = Table("", "what", box=None, pad_edge=False)
    shown.add_column("found", overflow="fold")
    shown.add_column("what to do", overflow="fold")
    for one in checks:
        mark = "[bold red]bad[/]" if one.bad else "[green]good[/]"
        shown.add_row(mark, escape(one.what), escape(one.found), escape(one.remedy))
    return shown
