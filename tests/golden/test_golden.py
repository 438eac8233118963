"""Numbers stay what they are, or STAGE_VERSION is raised: otherwise the store would mix old and new ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from taglm_core.pipeline.kinds import KINDS
from tests.golden.numbers import GOLDEN, compute


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The numbers of this version."""
    folder = tmp_path_factory.mktemp("golden")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return compute(folder)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"vector-table"}))  # made for exports alone
def test_numbers_change_only_with_their_version(kind: str, computed: dict[str, Any]) -> None:
    """Exact for data and fixed predictions, 0.5 per cent for what is computed in float32 (instruction sets differ)."""
    golden = json.loads(GOLDEN.read_text())
    remedy = "raise its version in pipeline/kinds.py, then run python -m tests.golden.numbers"
    assert computed[kind]["version"] == golden[kind]["version"], "run python -m tests.golden.numbers"
    for name, expected in golden[kind]["steps"].items():
        found = computed[kind]["steps"][name]
        if isinstance(expected, str):
            assert found == expected, f"{kind} changed: {remedy}"
        else:
            assert found == pytest.approx(expected, rel=5e-3, abs=1e-3), f"{kind} changed: {remedy}"
    assert computed[kind].get("fixed") == golden[kind].get("fixed"), f"{kind} changed: {remedy}"


def test_the_same_configuration_gives_the_same_bits(computed: dict[str, Any], tmp_path: Path,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """Computed again elsewhere: every sum of weights is equal to the last bit."""
    monkeypatch.chdir(tmp_path)
    assert compute(tmp_path) == computed
