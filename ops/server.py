"""What ops/services.py tells the Prefect server, over HTTP: importing Prefect for it would take seconds."""

from __future__ import annotations

from http import HTTPStatus
from urllib.error import HTTPError

from machine import post

UNFINISHED = ("PENDING", "RUNNING", "CANCELLING")


def create_pool(url: str, name: str) -> None:
    """Create a process work pool if there is none of that name. Its worker fills in what a process pool is.

    Args:
        url: of the server, without `/api`.
        name: of the pool.
    """
    try:
        post(f"{url}/api/work_pools/", {"name": name, "type": "process"})
    except HTTPError as error:
        if error.code != HTTPStatus.CONFLICT:  # it is there already
            raise


def end_orphans(url: str) -> None:
    """Say of runs whose worker is gone that they have ended.

    Prefect does not notice it, and a run that never ends keeps its deployment's only slot: no run of that deployment
    would ever start again.

    Args:
        url: of the server, without `/api`. No worker may be running.
    """
    unfinished = {"state": {"type": {"any_": UNFINISHED}}}
    found = post(f"{url}/api/flow_runs/filter", {"flow_runs": {**unfinished, "deployment_id": {"is_null_": False}}})
    while found:
        ids = [run["id"] for run in found]
        for run in ids:
            state = {"type": "CRASHED", "name": "Crashed", "message": "its worker was stopped; run it again to go on"}
            post(f"{url}/api/flow_runs/{run}/set_state", {"state": state, "force": True})
        stages = {**unfinished, "parent_flow_run_id": {"any_": ids}}  # that a run has started: they are runs, too
        found = post(f"{url}/api/flow_runs/filter", {"flow_runs": stages})
