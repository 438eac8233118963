"""The Prefect server that a program starts for itself ends with it, and says of earlier programs that they ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

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
from tasks.stages import settle
@flow
def pipeline():
    settle(Experiment())
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


def start(home: Path, flow: str = "", **environment: str) -> tuple[subprocess.Popen[str], str]:
    """The program, with what it does once its server runs, and what it says of its server's process."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(flow=flow)],
        env={**kept, "PREFECT_HOME": str(home), **environment},
        text=True,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def lives(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").exists(), reason="asks /proc whether a process lives")
def test_it_ends_when_its_program_is_killed(tmp_path: Path) -> None:
    """After kill -9 of the program the server ends by itself."""
    process, said = start(tmp_path)
    server = int(said)
    assert lives(server)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    end = time.monotonic() + 60
    while lives(server):
        assert time.monotonic() < end, "the server goes on"
        time.sleep(0.2)


@pytest.mark.server
@pytest.mark.slow
def test_a_run_that_was_killed_has_crashed_for_the_next(tmp_path: Path) -> None:
    """Kill -9 of a run of the command line: it does not run for ever in what the next one finds."""
    process, _ = start(tmp_path, FLOW)
    assert process.stdout is not None
    run = process.stdout.readline().strip()
    process.kill()
    process.communicate()
    later, _ = start(tmp_path, LOOK.format(run=run))
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
