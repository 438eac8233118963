"""Writes docs/licences.md: the licence of every package in requirements.lock, as the installed package states it."""

from __future__ import annotations

import re
from collections import defaultdict
from importlib.metadata import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEAD = """# Licences of the dependencies

The table shows the licences that the packages of `requirements.lock` state. `python docs/licences.py` writes this
page. The metadata of huey and skops state no licence; their licence files say MIT. A program under Apache-2.0 may use
all these packages.

Some packages are copyleft, and TagLM uses them unchanged. The terms of MPL-2.0 cover a package's own files.
text-unidecode (GPL-2.0-or-later or the Artistic License, at one's choice) is a dependency of python-slugify, and
Prefect requires python-slugify.

| licence | packages |
|---|---|
"""


def licence_of(name: str) -> str:
    """Return the SPDX expression, the classifiers, or the first line of the licence field."""
    found = metadata(name)
    classifiers = [one.rpartition("::")[2].strip() for one in found.get_all("Classifier", []) if "License ::" in one]
    named = [one for one in classifiers if one not in ("OSI Approved", "DFSG approved")]
    return found.get("License-Expression") or "; ".join(named) or (found.get("License") or "not stated").splitlines()[0]


def main() -> None:
    """Write the page."""
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    packages = defaultdict(list)
    for name in re.findall(r"^([\w.-]+)==", lock, re.MULTILINE):
        packages[licence_of(name)].append(name)
    rows = sorted(packages.items(), key=lambda row: (-len(row[1]), row[0]))
    table = "".join(f"| {licence} | {', '.join(names)} |\n" for licence, names in rows)
    (ROOT / "docs" / "licences.md").write_text(HEAD + table, encoding="utf-8")


if __name__ == "__main__":
    main()
