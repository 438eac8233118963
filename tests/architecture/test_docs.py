"""Documents: links lead somewhere, commands exist, no path of one machine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "data" / "README.md"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link is a file of the project."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_targets_and_commands_exist(page: Path) -> None:
    """What a page tells the reader to type is there."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    cli = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "flows").glob("cli*.py"))
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"`make ([a-z-]+)`", text):
        assert re.search(rf"^([a-z -]+ )?{target}( [a-z -]+)?:", makefile, re.MULTILINE), f"{page.name}: make {target}"
    for command in re.findall(
        r"taglm (run|ingest|pretrain|embed|tag|plan|status|gc|compare|lineage|links|doctor)\b", text
    ):
        assert re.search(rf"def {command}\(|name=\"{command}\"", cli)


def test_no_path_of_one_machine() -> None:
    """Absolute paths do not belong into the project."""
    for page in PAGES:
        assert not re.search(r"(?<![\w.])/(work|root|home|opt)/", page.read_text(encoding="utf-8")), page.name
