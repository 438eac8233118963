"""What ops/services.py tells the Prefect server, over HTTP: importing Prefect for it would take seconds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.error import HTTPError

from tasks.http import send


def create_pool(url: str, name: str, content: Mapping[str, Any]) -> None:
    """Create a process work pool and its queues, where there are none of these names.

    Each queue has one place: its runs go one after the other. A deployment's own limit would do the same, but a run
    that is killed while it is being cancelled keeps its place there (PrefectHQ/prefect#17563). A limit that somebody
    has chosen stays; a queue without one, as `prefect deploy` makes it, gets it. A deployment that names no queue is in
    the pool's default one, which has no limit. A worker fills in what a process pool is.

    Args:
        url: of the server, without `/api`.
        name: of the pool.
        content: of prefect.yaml, whose deployments name their queues.
    """
    _create(f"{url}/api/work_pools/", {"name": name, "type": "process"})
    queues = f"{url}/api/work_pools/{name}/queues"
    limits = {queue["name"]: queue["concurrency_limit"] for queue in send(f"{queues}/filter", {})}
    pools = [deployment.get("work_pool") or {} for deployment in content["deployments"]]
    named = [pool.get("work_queue_name") for pool in pools if pool.get("name") == name]
    for queue in dict.fromkeys(queue for queue in named if queue):
        if queue not in limits:
            _create(queues, {"name": queue, "concurrency_limit": 1})
        elif limits[queue] is None:
            send(f"{queues}/{queue}", {"concurrency_limit": 1}, "PATCH")


def put_automations(url: str, wanted: Iterable[Mapping[str, Any]]) -> None:
    """Create automations, or give those of the same names what is wanted now.

    Args:
        url: of the server, without `/api`.
        wanted: automations as the API takes them.
    """
    found = {one["name"]: one["id"] for one in send(f"{url}/api/automations/filter", {})}
    for automation in wanted:
        if automation["name"] in found:
            send(f"{url}/api/automations/{found[automation['name']]}", automation, "PUT")
        else:
            send(f"{url}/api/automations/", automation)


def _create(url: str, body: object) -> None:
    try:
        send(url, body)
    except HTTPError as error:
        if error.code != HTTPStatus.CONFLICT:  # it is there already
            raise
