"""Lines that cannot be read: collected and counted; one error names the first of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from taglm_core.errors import InputError

MAX_NAMED = 20
"""Number of lines that one error names; further ones are counted."""


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that breaks a rule.

    Attributes:
        path: the file.
        line: 1-based line number.
        found: what is there.
        expected: what should be there.
        remedy: what the user can do.
    """

    path: Path | str
    line: int
    found: str
    expected: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: found {self.found}; expected {self.expected}"


def error_of(lines: Iterable[BadLine], count: int, kind: type[InputError] = InputError) -> InputError:
    """Return the error that names bad lines, each remedy once.

    Args:
        lines: at least one, in the order of files and lines; the first `MAX_NAMED` are named.
        count: number of all bad lines.
        kind: class of the error.
    """
    first, *others = list(lines)[:MAX_NAMED]
    said, named = {first.remedy}, []
    for line in others:
        named.append(str(line) if line.remedy in said else f"{line}; {line.remedy}")
        said.add(line.remedy)
    if count > len(named) + 1:
        named.append(f"and {count - len(named) - 1:,} more")
    return kind(first.path, first.line, first.found, first.expected, first.remedy, named)
