"""Work pools, queues and automations of the Prefect server, over HTTP without the slow import of Prefect."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.error import HTTPError

from tasks.http import send


def create_pool(url: str, name: str, content: Mapping[str, Any]) -> None:
    """Create a process work pool and its queues if they do not exist.

    Each queue has a concurrency limit of one, so that its runs go one after the other. The limit of a deployment would
    do the same, but a run that is killed while Cancelling keeps its slot there (PrefectHQ/prefect#17563). Limits chosen
    by a user stay; queues that `prefect deploy` created without a limit get one. Deployments without a queue use the
    default queue of the pool, which has no limit. The worker adds the job template of a process pool.

    Args:
        url: address of the server, without `/api`.
        name: name of the pool.
        content: content of prefect.yaml, whose deployments name their queues.
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
    """Create automations, or update existing ones of the same name.

    Args:
        url: address of the server, without `/api`.
        wanted: automations in the form of the API.
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
        if error.code != HTTPStatus.CONFLICT:  # it exists already
            raise
