"""Writes docs/benchmarks.md from the JSON files of the last runs."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

from record import OUT

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
HEAD = """# Benchmarks

`make bench` and `make bench-long` measure anew and write this page. Every measurement uses one thread. Milliseconds are
medians, and the compared candidates take turns in one process. Other libraries are installed in environments of their
own (`benchmarks/requirements.txt`, `requirements-flair.txt`). On a shared machine ratios are more reliable than
milliseconds.
"""


def table(rows: list[dict[str, Any]]) -> str:
    """Rows in Markdown; nested figures become columns."""
    flat = [_flat(row) for row in rows]
    names = list(dict.fromkeys(name for row in flat for name in row))
    lines = [names, ["---"] * len(names), *([_shown(row.get(name, "-")) for name in names] for row in flat)]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in row.items():
        flat |= {f"{key} ({name})": part for key, part in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1_000 else f"{value:,.0f}"
    if isinstance(value, list):
        return " x ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


def section(path: Path) -> str:
    """The section of one file."""
    data = json.loads(path.read_text())
    machine = data["machine"]
    note = data.get("note", "")
    note = "\n".join(textwrap.wrap(note, 120, break_on_hyphens=False)) + "\n\n" if note else ""
    where = f"{machine['cores']} cores, load {machine['load']:.1f}, Python {machine['python']}"
    made = f"`{path.stem}.py` at commit {data['commit']}, {where}."
    return f"\n## {data['title']}\n\n{note}{table(data['rows'])}\n{made}\n"


def main() -> None:
    """One section a file."""
    PAGE.write_text("".join([HEAD, *(section(path) for path in sorted(OUT.glob("*.json")))]))


if __name__ == "__main__":
    main()
