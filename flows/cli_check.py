"""What `taglm doctor` says of one thing it looked at."""

from __future__ import annotations

from dataclasses import dataclass

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
        shown.add_row(mark, one.what, _plain(one.found), _plain(one.remedy))
    return shown


def _plain(text: str) -> str:
    """Text that rich must not read as markup."""
    return text.replace("[", r"\[")
