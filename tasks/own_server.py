"""The Prefect server that a run starts for itself where none is configured: it must not outlive its run.

Prefect stops it when the program ends by itself. After `kill -9` it would run for ever, so a process of a few lines
waits for the end of a pipe that closes with the program, however that ends. What the server says goes into a file.
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
from tasks.http import PREFECT_SAYS, answers
from tasks.urls import without_password

LOG = "own-server.log"  # in Prefect's home
APPLICATION = ("--app-dir", str(Path(prefect.__file__).parent), "--factory", "prefect.server.api.server:create_app")
PORT_TAKEN = "address already in use"  # by another run that found the same one free
ATTEMPTS, PACE = 5, 0.1  # seconds
_GUARD = """
import contextlib, os, signal, sys
server = int(sys.argv[1])
sys.stdin.read()
with contextlib.suppress(ProcessLookupError):
    os.kill(server, signal.SIGTERM)
"""


class _GuardedServer(SubprocessASGIServer):
    """Ends with this process however that ends, also while it is still being started.

    Prefect's own start waits two minutes for a server that has ended, or starts it again without end.
    """

    def start(self, timeout: int | None = None) -> None:
        """Start the server, and wait until it answers.

        Raises:
            ServerFailed: it ended, or does not answer in time; with the end of its log.
        """
        if self.running:  # each of Prefect's clients calls this
            return
        self.running = True
        atexit.register(self.stop)
        for _ in range(ATTEMPTS):
            self.port = self.find_available_port()
            self.server_process = self._run_uvicorn_command()
            if self._answers_within(timeout or START_SECONDS.value()):
                return
            if PORT_TAKEN not in self._said().lower():
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
            if answers(f"{self.api_url}/health", PREFECT_SAYS):
                return True
            time.sleep(PACE)
        return False

    def _run_uvicorn_command(self) -> subprocess.Popen[Any]:
        """As the parent class does, with a log and a guard."""
        command = [sys.executable, "-m", "uvicorn", *APPLICATION, "--host", "127.0.0.1", "--port", str(self.port)]
        marks = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
        environment = {
            **os.environ, **marks, **get_current_settings().to_environment_variables(exclude_unset=True),
        }  # fmt: skip
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("wb") as log:
            server = subprocess.Popen(
                [*command, "--log-level", "error", "--lifespan", "on"], env=environment, stdout=log, stderr=log
            )
        # in a session of its own, where Ctrl-C does not reach it; its end of the pipe is the only one beside ours
        guard = subprocess.Popen(
            [sys.executable, "-c", _GUARD, str(server.pid)], stdin=subprocess.PIPE, start_new_session=True
        )
        atexit.register(guard.communicate)  # closes the pipe, and keeps it open until then
        return server

    @property
    def _log(self) -> Path:
        return Path(PREFECT_HOME.value()) / LOG

    def _said(self) -> str:
        with contextlib.suppress(OSError):
            return self._log.read_text(encoding="utf-8", errors="replace")
        return ""

    def _last_line(self) -> str:
        """The error's own words: below a trace, and above the hints that libraries add."""
        lines = [line.strip() for line in self._said().splitlines() if line.strip()]
        errors = [line for line in lines if line.partition(":")[0].endswith(("Error", "Exception"))]
        return (errors or lines or ["it said nothing"])[-1]


def _remedy() -> str:
    """What to do about the part that is the user's: the database."""
    address = get_current_settings().server.database.connection_url
    shown = without_password(address.get_secret_value()) if address is not None else ""
    if shown.startswith("sqlite"):
        return "mend what the log says, or set PREFECT_HOME to a new folder"
    return f"start its database ({shown}), or unset PREFECT_SERVER_DATABASE_CONNECTION_URL"


def start_own_server() -> None:
    """Start a Prefect server for this process, unless one is configured; it ends with the process.

    Raises:
        ServerFailed: it cannot be started, or does not answer in time.
    """
    if PREFECT_API_URL.value():
        return
    server = _GuardedServer()  # one object a process, for the parent class, too: Prefect's clients find it running
    server.start()
    with contextlib.suppress(OSError):  # a matter of looks: no reason not to run
        end_dead(server.api_url.removesuffix("/api"))
