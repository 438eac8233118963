"""The Prefect server that a program starts for itself ends with it, and says of earlier programs that they ended."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PROGRAM = """
import time
from tasks.environment import quiet_defaults
quiet_defaults()
from tasks.own_server import start_own_server
from prefect.server.api.server import SubprocessASGIServer
start_own_server()
server = SubprocessASGIServer().server_process
print(server.pid if server else None, flush=True)
{flow}
time.sleep(600)
"""
# A run of the command line, in the middle of its work.
FLOW = """
from prefect import flow
from prefect.runtime import flow_run
from taglm_core.config.experiment import Experiment
from tasks.stages import started
@flow
def pipeline():
    with started(Experiment()):
        print(flow_run.id, flush=True)
        time.sleep(600)
pipeline()
"""
# Who comes later and looks.
LOOK = """
import sys
from prefect import get_client
print(get_client(sync_client=True).read_flow_run("{run}").state.model_dump_json(), flush=True)
"""


@pytest.fixture
def home(tmp_path: Path, prefect_database: Path) -> Path:
    """Prefect's home of a user whose server has run before."""
    shutil.copyfile(prefect_database, tmp_path / "prefect.db")
    return tmp_path


def launch(home: Path, flow: str = "", **environment: str) -> subprocess.Popen[str]:
    """The program, with what it does once its server runs."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(flow=flow)],
        env={**kept, "PREFECT_HOME": str(home), **environment},
        text=True,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )


def start(home: Path, flow: str = "", **environment: str) -> tuple[subprocess.Popen[str], str]:
    """The program, and what it says of its server's process once that runs."""
    process = launch(home, flow, **environment)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def lives(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children(pid: int) -> list[int]:
    """Processes that a program has started, once there are two of them."""
    found = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return found if len(found) == 2 else []


def until(happened: Callable[[], Any]) -> Any:
    """What it gives, once that is true."""
    end = time.monotonic() + 60
    while not (found := happened()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").exists(), reason="asks /proc whether a process lives")
def test_it_ends_when_its_program_is_killed(home: Path) -> None:
    """After kill -9 of the program the server ends by itself."""
    process, said = start(home)
    server = int(said)
    assert lives(server)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    until(lambda: not lives(server))


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.skipif(not Path("/proc").exists(), reason="asks /proc for a process's children")
def test_it_ends_when_its_program_is_killed_meanwhile(tmp_path: Path, number: signal.Signals) -> None:
    """The same while the server is being started and does not answer yet."""
    process = launch(tmp_path)
    server, _ = until(lambda: children(process.pid))  # and its guard
    process.send_signal(number)
    assert process.communicate()[0] == "", "the server answers already"
    until(lambda: not lives(server))


@pytest.mark.server
@pytest.mark.slow
def test_a_run_that_was_killed_has_crashed_for_the_next(home: Path) -> None:
    """Kill -9 of a run of the command line: it does not run for ever in what the next one finds."""
    process, _ = start(home, FLOW)
    assert process.stdout is not None
    run = process.stdout.readline().strip()
    process.kill()
    process.communicate()
    later, _ = start(home, LOOK.format(run=run))
    assert later.stdout is not None
    state = json.loads(later.stdout.readline())
    later.kill()
    later.communicate()
    assert state["type"] == "CRASHED"
    assert "killed" in state["message"]


def test_none_is_started_where_one_is_configured(tmp_path: Path) -> None:
    """With an address given, running or not, it is used."""
    process, said = start(tmp_path, PREFECT_API_URL="http://127.0.0.1:1/api")
    process.kill()
    process.communicate()
    assert said == "None"


@pytest.mark.parametrize("address", ["", "postgresql+asyncpg://user:secret@127.0.0.1:1/x"])
def test_one_that_ends_is_not_waited_for(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last error is said at once, with its log and its database; Prefect would wait for two minutes."""
    from prefect.settings import PREFECT_HOME, PREFECT_SERVER_DATABASE_CONNECTION_URL, temporary_settings

    from taglm_core.errors import ServerFailed
    from tasks import own_server

    fails = [sys.executable, "-c", "raise OSError('no database')"]
    popen = subprocess.Popen
    monkeypatch.setattr(own_server.subprocess, "Popen", lambda command, **rest: popen(
        fails if "uvicorn" in command else command, **rest
    ))  # fmt: skip
    settings = {PREFECT_HOME: tmp_path} | ({PREFECT_SERVER_DATABASE_CONNECTION_URL: address} if address else {})
    server = own_server._GuardedServer(port=1)  # an object of its own: the others are those of a process
    with temporary_settings(settings), pytest.raises(ServerFailed, match="no database") as failed:
        server.start()
    server.stop()
    assert str(tmp_path / own_server.LOG) in str(failed.value)
    assert ("(postgresql+asyncpg://127.0.0.1:1/x)" in str(failed.value)) is bool(address)
