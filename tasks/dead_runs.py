"""Flow runs whose process is gone and that nobody has ended: they would run for ever, and keep their queue's place."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from typing import Any

from tasks.http import send

UNFINISHED = ("PENDING", "RUNNING", "CANCELLING")


def this_process() -> str:
    """How Prefect writes a process down."""
    return f"{socket.gethostname()}:{os.getpid()}"


def end_workerless(url: str) -> None:
    """Say of deployments' runs, whose worker is gone, that they have crashed.

    Args:
        url: of the server, without `/api`. No worker may be running.
    """
    found = _unfinished(url, {"deployment_id": {"is_null_": False}})
    _end(url, found, "its worker was stopped; run it again to go on")


def end_dead(url: str) -> None:
    """Say of runs of the command line on this machine, whose process is gone, that they have crashed.

    Args:
        url: of the server, without `/api`.
    """
    found = _unfinished(url, {"deployment_id": {"is_null_": True}})
    dead = [run for run in found if _is_dead(run.get("infrastructure_pid") or "")]
    _end(url, dead, "its process was killed; run it again to go on")


def _unfinished(url: str, which: dict[str, Any]) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = send(
        f"{url}/api/flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": UNFINISHED}}, **which}}
    )
    return runs


def _end(url: str, found: Iterable[dict[str, Any]], message: str) -> None:
    state = {"type": "CRASHED", "name": "Crashed", "message": message}
    while ids := [run["id"] for run in found]:
        for run in ids:
            send(f"{url}/api/flow_runs/{run}/set_state", {"state": state, "force": True})
        found = _unfinished(url, {"parent_flow_run_id": {"any_": ids}})  # stages they have started: runs, too


def _is_dead(process: str) -> bool:
    """Whether a process was of this machine and is gone."""
    host, _, pid = process.rpartition(":")
    if host != socket.gethostname() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:  # somebody else's: the number was given away again
        return True
    return False
