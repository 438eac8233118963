"""The Prefect server that a program starts for itself ends with it."""

from __future__ import annotations

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
time.sleep(600)
"""


def start(home: Path, **environment: str) -> tuple[subprocess.Popen[str], str]:
    """The program, and what it says of its server's process."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], env={**kept, "PREFECT_HOME": str(home), **environment}, text=True,
        stdout=subprocess.PIPE, cwd=Path(__file__).parents[2],
    )  # fmt: skip
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


def test_none_is_started_where_one_is_configured(tmp_path: Path) -> None:
    """With an address given, running or not, it is used."""
    process, said = start(tmp_path, PREFECT_API_URL="http://127.0.0.1:1/api")
    process.kill()
    process.communicate()
    assert said == "None"
