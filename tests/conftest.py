"""What all tests share: quiet libraries, one thread, the place of the real corpora."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]

_LEFT_OUT = pytest.StashKey[int]()

# Before anything imports Prefect, MLflow or torch: they read these when they are imported.
os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="taglm-prefect-")
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.pop("MLFLOW_TRACKING_URI", None)
from tasks.environment import quiet_defaults  # noqa: E402

quiet_defaults()


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Count the tests that `-m "not real"` leaves out."""
    for item in items:
        if item.get_closest_marker("real") is not None:
            item.config.stash[_LEFT_OUT] = item.config.stash.get(_LEFT_OUT, 0) + 1


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tell the process that prints the summary, where this one is a worker of pytest-xdist."""
    told = getattr(session.config, "workeroutput", None)
    if told is not None:
        told["left_out"] = session.config.stash.get(_LEFT_OUT, 0)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Every worker collects, and leaves out, the same tests."""
    node.config.stash[_LEFT_OUT] = getattr(node, "workeroutput", {}).get("left_out", 0)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was left out is said, with its reason, like every skip."""
    left_out = terminalreporter.config.stash.get(_LEFT_OUT, 0)
    if left_out:
        terminalreporter.line(f"{left_out} tests left out, on real corpora or long: make test-real runs them")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real corpora: ../shared/data, or TAGLM_SHARED_DATA."""
    folder = Path(os.environ.get("TAGLM_SHARED_DATA", ROOT / ".." / "shared" / "data")).resolve()
    if not (folder / "conll2003").is_dir():
        reason = f"real corpora are not at {folder}; set TAGLM_SHARED_DATA"
        if os.environ.get("TAGLM_REAL_REQUIRED"):
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Defaults such as data/store are relative: no test writes into the checkout."""
    if "repository" not in request.fixturenames:
        monkeypatch.chdir(tmp_path)


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The checkout, as the working directory."""
    monkeypatch.chdir(ROOT)
    return ROOT


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """One in-process Prefect server for all tests that run flows."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=180):
        yield
