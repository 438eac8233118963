"""Ending flow runs whose process is gone; they would stay Running forever and block their queue."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tasks.http import send
from tasks.urls import POOL

CANCELLING = "CANCELLING"
UNFINISHED = ("PENDING", "RUNNING", CANCELLING)
TOLERANCE = timedelta(seconds=10)  # between the clock of the boot time and that of the runs


def this_process() -> str:
    """Return this process as Prefect records it, `host:pid`."""
    return f"{socket.gethostname()}:{os.getpid()}"


def online_workers(url: str) -> dict[str, datetime]:
    """Return the last heartbeat of each online worker of our pool, by name.

    Args:
        url: address of the server, without `/api`.
    """
    found = send(f"{url}/api/work_pools/{POOL}/workers/filter", {})
    online = [one for one in found if one["status"] == "ONLINE"]
    return {one["name"]: datetime.fromisoformat(one["last_heartbeat_time"]) for one in online}


def end_workerless(url: str, worker: str) -> None:
    """End the runs of our pool after their worker stopped: cancelling runs become Cancelled, others Crashed.

    If other workers are online, the runs may be theirs; then the automation ends those without heartbeats.

    Args:
        url: address of the server, without `/api`.
        worker: name of the worker that was stopped.
    """
    if online_workers(url).keys() <= {worker}:
        found = _unfinished(url, {"deployment_id": {"is_null_": False}}, work_pools={"name": {"any_": [POOL]}})
        _end(url, found, "its worker was stopped")


def end_dead(url: str) -> None:
    """End runs of the command line on this machine whose process is gone.

    Args:
        url: address of the server, without `/api`.
    """
    found = _unfinished(url, {"deployment_id": {"is_null_": True}})
    _end(url, [run for run in found if _is_dead(run)], "its process was killed")


def _unfinished(url: str, which: dict[str, Any], **other: Any) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = send(
        f"{url}/api/flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": UNFINISHED}}, **which}, **other}
    )
    return runs


def _end(url: str, found: list[dict[str, Any]], why: str) -> None:
    cancelled = [run for run in found if run["state_type"] == CANCELLING]
    _set_state(url, cancelled, {"type": "CANCELLED", "name": "Cancelled", "message": why})
    crashed = [run for run in found if run["state_type"] != CANCELLING]
    _set_state(url, crashed, {"type": "CRASHED", "name": "Crashed", "message": f"{why}; run it again to go on"})


def _set_state(url: str, found: list[dict[str, Any]], state: dict[str, str]) -> None:
    while ids := [run["id"] for run in found]:
        for run in ids:
            send(f"{url}/api/flow_runs/{run}/set_state", {"state": state, "force": True})
        found = _unfinished(url, {"parent_flow_run_id": {"any_": ids}})  # their subflows


def _is_dead(run: dict[str, Any]) -> bool:
    """Return whether the process of a run was on this machine and is gone; a later process may have its pid."""
    host, _, pid = (run.get("infrastructure_pid") or "").rpartition(":")
    if host != socket.gethostname() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # another user's process
        pass
    process_start, run_start = _started(pid), run["start_time"]
    if process_start is None or run_start is None:
        return False
    return process_start > datetime.fromisoformat(run_start) + TOLERANCE


def _started(pid: str) -> datetime | None:
    """Return the start time of a process; None if the system has no /proc (macOS)."""
    try:
        ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])  # since boot
        boot = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime "))
    except OSError:
        return None
    return datetime.fromtimestamp(int(boot.split()[1]) + ticks / os.sysconf("SC_CLK_TCK"), UTC)
