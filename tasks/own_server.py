"""The Prefect server that a run starts for itself where none is configured: it must not outlive its run.

Prefect stops it when the program ends by itself. After `kill -9` it would run for ever, so a process of a few lines
waits for the end of a pipe that closes with the program, however that ends.
"""

from __future__ import annotations

import atexit
import contextlib
import subprocess
import sys
from typing import Any

from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import PREFECT_API_URL

from tasks.dead_runs import end_dead

_GUARD = """
import contextlib, os, signal, sys
server = int(sys.argv[1])
sys.stdin.read()
with contextlib.suppress(ProcessLookupError):
    os.kill(server, signal.SIGTERM)
"""


class _GuardedServer(SubprocessASGIServer):
    """Ends with this process however that ends, also while it is still being started."""

    def _run_uvicorn_command(self) -> subprocess.Popen[Any]:
        server = super()._run_uvicorn_command()
        # in a session of its own, where Ctrl-C does not reach it; its end of the pipe is the only one beside ours
        command = [sys.executable, "-c", _GUARD, str(server.pid)]
        guard = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
        atexit.register(guard.communicate)  # closes the pipe, and keeps it open until then
        return server


def start_own_server() -> None:
    """Start a Prefect server for this process, unless one is configured; it ends with the process.

    Raises:
        RuntimeError: it does not answer in time.
    """
    if PREFECT_API_URL.value():
        return
    server = _GuardedServer()  # one object a process, for the parent class, too: Prefect's clients find it running
    server.start()
    with contextlib.suppress(OSError):  # a matter of looks: no reason not to run
        end_dead(server.api_url.removesuffix("/api"))
