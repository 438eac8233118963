"""What all tests share: quiet libraries, one thread, the place of the real corpora."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("taglm", deadline=None)  # on a busy machine a slow example is no fault
settings.load_profile("taglm")
ROOT = Path(__file__).parents[1]

# These files take longest. They come first, so that at the end no process of pytest-xdist waits for another.
LONGEST = (
    "flows/test_deployments.py",
    "flows/test_pipeline.py",
    "stages/test_child_process.py",
    "stages/test_rank_processes.py",
    "tasks/test_tracking_registry.py",
    "tasks/test_own_server.py",
    "tasks/test_tracking.py",
    "lm/test_continuing.py",
    "lm/test_embedding_stage.py",
    "flows/test_services.py",
)

_LEFT_OUT = pytest.StashKey[int]()

# Before anything imports Prefect, MLflow or torch: they read these when they are imported.
os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="taglm-prefect-")
atexit.register(shutil.rmtree, os.environ["PREFECT_HOME"], ignore_errors=True)
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.pop("MLFLOW_TRACKING_URI", None)
from tasks.environment import quiet_defaults  # noqa: E402

quiet_defaults()
from taglm_core.store.durable import locked  # noqa: E402

MAKE_TABLES = """
import asyncio
from prefect.server.database import provide_database_interface
async def main():
    database = provide_database_interface()
    await database.create_db()
    await (await database.engine()).dispose()
asyncio.run(main())
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; all else stays as it is."""
    ranks = {ROOT / "tests" / name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))


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


@pytest.fixture(autouse=True)
def _prefect_home_with_a_database(request: pytest.FixtureRequest) -> None:
    """Programs of a test marked `server` start their server on a database that has its tables."""
    if request.node.get_closest_marker("server") is not None:
        request.getfixturevalue("prefect_home")


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The checkout, as the working directory."""
    monkeypatch.chdir(ROOT)
    return ROOT


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave figures empty, half a second of a processor each, where a test trains much and looks at none."""
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda _, path, **__: Path(path).touch())


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """A file that one process of the session makes, for all processes of pytest-xdist."""
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder

    def make(name: str, write: Callable[[Path], object]) -> Path:
        path = folder / name
        with locked(folder / f"{name}.lock"):
            if not path.exists():
                unfinished = folder / f"unfinished-{name}"
                write(unfinished)
                unfinished.rename(path)
        return path

    return make


@pytest.fixture(scope="session")
def prefect_database(made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """A Prefect server's database without content: its tables take 6 s of a processor to make, and none to copy."""

    def write(path: Path) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        places = {"PREFECT_HOME": str(path.with_name("prefect-home")),
                  "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{path}"}  # fmt: skip
        subprocess.run([sys.executable, "-c", MAKE_TABLES], env=kept | places, check=True)

    return made_once("prefect.db", write)


@pytest.fixture(scope="session")
def prefect_home(prefect_database: Path) -> Path:
    """The home of the servers that programs start for themselves, with a database."""
    home = Path(os.environ["PREFECT_HOME"])
    if not (home / "prefect.db").exists():
        shutil.copyfile(prefect_database, home / "prefect.db")
    return home


@pytest.fixture(scope="session")
def prefect_server(prefect_database: Path) -> Iterator[None]:
    """One Prefect server for all tests of this process that run flows."""
    from prefect.testing import utilities

    folder = tempfile.mkdtemp(prefix="taglm-prefect-server-")  # the harness removes it
    shutil.copyfile(prefect_database, Path(folder, "prefect-test.db"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utilities, "mkdtemp", lambda: folder)
        with utilities.prefect_test_harness(server_startup_timeout=180):
            yield


@pytest.fixture(scope="session")
def empty_tracking_store(made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """An sqlite file that four threads opened for the first time at once, each asking for the same experiment."""
    from tasks.tracking.address import resolve_uri
    from tasks.tracking.client import Client

    def write(path: Path) -> None:
        uri, ids = resolve_uri(f"sqlite:///{path}"), []

        def first_use() -> None:
            ids.append(Client(uri).experiment("taglm/first-use", {"mlflow.note.content": "note {id}"}))

        threads = [threading.Thread(target=first_use) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(ids) == 4, "a thread failed"
        assert len(set(ids)) == 1, "the experiment was made twice"

    return made_once("mlflow.db", write)
