"""The Prefect server that a run starts for itself if none is configured. It must not outlive its run.

Prefect stops it when the program ends normally. For `kill -9` a guard process waits on a pipe that closes with the
program, and then stops the server. The output of the server goes into a log file.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import prefect
from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, get_current_settings
from prefect.settings import PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS as START_SECONDS

from taglm_core.errors import ServerFailed
from tasks.dead_runs import end_dead
from tasks.http import PREFECT_HEALTHY, answers
from tasks.urls import without_password

LOG = "own-server.log"  # in Prefect's home
APPLICATION = ("--app-dir", str(Path(prefect.__file__).parent), "--factory", "prefect.server.api.server:create_app")
PORT_TAKEN = "address already in use"  # another run took the same free port
ATTEMPTS, PACE = 5, 0.1  # seconds
_GUARD = """
import contextlib, os, signal, sys
server = int(sys.argv[1])
sys.stdin.read()
with contextlib.suppress(ProcessLookupError):
    os.kill(server, signal.SIGTERM)
"""


class _GuardedServer(SubprocessASGIServer):
    """Server that always ends with this process, even while it is starting.

    Prefect's own start waits two minutes for a server that has ended, or restarts it endlessly.
    """

    def start(self, timeout: int | None = None) -> None:
        """Start the server and wait until it answers.

        Raises:
            ServerFailed: the server ended or did not answer in time; the message has the end of its log.
        """
        if self.running:  # every client of Prefect calls this
            return
        self.running = True
        atexit.register(self.stop)
        for _ in range(ATTEMPTS):
            self.port = self.find_available_port()
            self.server_process = self._run_uvicorn_command()
            if self._answers_within(timeout or START_SECONDS.value()):
                return
            if PORT_TAKEN not in self._output().lower():
                break
        self.running = False
        ended = self.server_process is not None and self.server_process.poll() is not None
        raise ServerFailed(
            f"the Prefect server that a run starts for itself {'ended' if ended else 'does not answer'} "
            f"({self._last_line()}); its log is {self._log}; {_remedy()}"
        )

    def _answers_within(self, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.server_process is None or self.server_process.poll() is not None:
                return False
            if answers(f"{self.api_url}/health", PREFECT_HEALTHY):
                return True
            time.sleep(PACE)
        return False

    def _run_uvicorn_command(self) -> subprocess.Popen[Any]:
        """Start the server as the parent class does, with a log and a guard."""
        command = [sys.executable, "-m", "uvicorn", *APPLICATION, "--host", "127.0.0.1", "--port", str(self.port)]
        variables = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
        environment = {
            **os.environ, **variables, **get_current_settings().to_environment_variables(exclude_unset=True),
        }  # fmt: skip
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("wb") as log:
            server = subprocess.Popen(
                [*command, "--log-level", "error", "--lifespan", "on"], env=environment, stdout=log, stderr=log
            )
        # in its own session, out of reach of Ctrl-C; it holds the only other end of the pipe
        guard = subprocess.Popen(
            [sys.executable, "-c", _GUARD, str(server.pid)], stdin=subprocess.PIPE, start_new_session=True
        )
        atexit.register(guard.communicate)  # keeps the pipe open until exit
        return server

    @property
    def _log(self) -> Path:
        return Path(PREFECT_HOME.value()) / LOG

    def _output(self) -> str:
        with contextlib.suppress(OSError):
            return self._log.read_text(encoding="utf-8", errors="replace")
        return ""

    def _last_line(self) -> str:
        """Return the message of the error in the log, below a trace and above hints of libraries."""
        lines = [line.strip() for line in self._output().splitlines() if line.strip()]
        errors = [line for line in lines if line.partition(":")[0].endswith(("Error", "Exception"))]
        return (errors or lines or ["its log is empty"])[-1]


def _remedy() -> str:
    """Return the remedy, which concerns the database of the server."""
    address = get_current_settings().server.database.connection_url
    shown = without_password(address.get_secret_value()) if address is not None else ""
    if shown.startswith("sqlite"):
        return "correct what the log reports, or set PREFECT_HOME to a new folder"
    return f"start its database ({shown}), or unset PREFECT_SERVER_DATABASE_CONNECTION_URL"


def start_own_server() -> None:
    """Start a Prefect server that ends with this process, unless a server is configured.

    Raises:
        ServerFailed: the server does not start or does not answer in time.
    """
    if PREFECT_API_URL.value():
        return
    server = _GuardedServer()  # one instance per process; Prefect's clients find it running
    server.start()
    with contextlib.suppress(OSError):  # cosmetic; no reason not to run
        end_dead(server.api_url.removesuffix("/api"))
