"""Runs whose process or worker is gone are ended on a real server, and nobody else's are."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from urllib.request import urlopen

import pytest

from tasks import dead_runs
from tasks.dead_runs import end_dead, end_workerless, online_workers, this_process
from tasks.http import send

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.fixture
def url(prefect_server: None) -> str:
    """Address of the server, without `/api`."""
    from prefect.settings import PREFECT_API_URL

    return str(PREFECT_API_URL.value()).removesuffix("/api")


@pytest.fixture
def start(url: str) -> Callable[..., str]:
    """Make a run in a state: of a pool's deployment, of another run, or of its own."""
    flow = send(f"{url}/api/flows/", {"name": "a flow"})["id"]

    def make(state: str = "RUNNING", *, pool: str = "", parent: str = "") -> str:
        if pool:
            body = {"name": f"in {pool}", "flow_id": flow, "work_pool_name": pool}
            deployment = send(f"{url}/api/deployments/", body)["id"]
            run = send(f"{url}/api/deployments/{deployment}/create_flow_run", {})["id"]
        else:
            task = {"flow_run_id": parent, "task_key": "stage", "dynamic_key": "0"}
            above = {"parent_task_run_id": send(f"{url}/api/task_runs/", task)["id"]} if parent else {}
            run = send(f"{url}/api/flow_runs/", {"flow_id": flow, **above})["id"]
        for type_ in dict.fromkeys(("RUNNING", state)):
            send(f"{url}/api/flow_runs/{run}/set_state", {"state": {"type": type_}, "force": True})
        return str(run)

    return make


def state(url: str, run: str) -> str:
    """What a run is now."""
    with urlopen(f"{url}/api/flow_runs/{run}") as answer:
        return str(json.load(answer)["state_type"])


def test_a_worker_that_was_stopped_leaves_nothing_running(url: str, start: Callable[..., str]) -> None:
    """What was being cancelled is, with its stages; other pools' runs go on, and all while there is another worker."""
    for name in ("taglm", "gpus"):
        send(f"{url}/api/work_pools/", {"name": name, "type": "process"})
    runs = [start("RUNNING", pool="taglm"), start("CANCELLING", pool="taglm"), start("RUNNING", pool="gpus")]
    runs += [start(parent=runs[0]), start(parent=runs[1]), start()]
    for worker in ("ours", "theirs"):
        send(f"{url}/api/work_pools/taglm/workers/heartbeat", {"name": worker})
    assert online_workers(url).keys() == {"ours", "theirs"}
    end_workerless(url, "ours")
    assert [state(url, run) for run in runs[:3]] == ["RUNNING", "CANCELLING", "RUNNING"]
    send(f"{url}/api/work_pools/taglm/workers/theirs", None, "DELETE")
    end_workerless(url, "ours")
    ends = ["CRASHED", "CANCELLED", "RUNNING", "CRASHED", "CANCELLED", "RUNNING"]
    assert [state(url, run) for run in runs] == ends


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="asks /proc when a process was started")
def test_a_number_that_a_later_process_has_keeps_no_run_alive(
    url: str, start: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was there when the run began may be its own, also one of somebody else (1 is root's)."""
    monkeypatch.setattr(dead_runs, "TOLERANCE", timedelta(0))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    names = ("later", "ended", "ours", "root's", "other machine's", "cancelled")
    runs = {name: start("CANCELLING" if name == "cancelled" else "RUNNING") for name in names}
    time.sleep(2)  # the system's start is told in seconds
    later = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    here = socket.gethostname()
    processes = {
        "later": f"{here}:{later.pid}", "ended": f"{here}:{ended.pid}", "ours": this_process(), "root's": f"{here}:1",
        "other machine's": f"not-{here}:{ended.pid}", "cancelled": f"{here}:{ended.pid}",
    }  # fmt: skip
    for name, process in processes.items():
        send(f"{url}/api/flow_runs/{runs[name]}", {"infrastructure_pid": process}, "PATCH")
    try:
        end_dead(url)
    finally:
        later.kill()
        later.wait()
    assert {name: state(url, run) for name, run in runs.items()} == {
        "later": "CRASHED", "ended": "CRASHED", "ours": "RUNNING", "root's": "RUNNING", "other machine's": "RUNNING",
        "cancelled": "CANCELLED",
    }  # fmt: skip
