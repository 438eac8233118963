"""The event that a stage's new objects emit; triggers of deployments wait for it (docs/operations.md)."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import httpx
from prefect import get_client
from prefect.events import Event
from prefect.runtime import flow_run

from taglm_core.config.experiment import Experiment
from taglm_core.pipeline.kinds import Stage
from taglm_core.store.records import Ref
from tasks.server_away import wait_for_server

CREATED = "taglm.artifact.created"
ATTEMPTS = 3
logger = logging.getLogger("taglm")


def announce(stage: Stage, experiment: Experiment, made: Iterable[Ref]) -> None:
    """Say that a stage run by itself has objects that the next one is to read.

    The stages that a flow runs as subflows say nothing: their flow goes on itself, and a trigger that fired for them
    would start what is under way already.

    Args:
        stage: the stage.
        experiment: travels with the event, so that the next stage runs with the same.
        made: the objects; nothing is said where there are none.
    """
    objects = sorted({f"{ref.kind}/{ref.digest}" for ref in made})
    if objects and flow_run.parent_flow_run_id is None:
        this = {"prefect.resource.id": f"prefect.flow-run.{flow_run.id}", "prefect.resource.role": "flow-run"}
        _send(
            Event(
                event=CREATED,
                resource={"prefect.resource.id": f"taglm.artifact.{stage}.{experiment.name}"},
                related=[this] if flow_run.id else [],
                payload={"experiment": experiment.model_dump(mode="json"), "objects": objects},
            )
        )


def _send(event: Event) -> None:
    """By a request that the server answers: what Prefect's worker of events still holds at the end of a run is lost."""
    for _ in range(ATTEMPTS):
        wait_for_server()
        try:
            with get_client(sync_client=True) as client:
                client.request("POST", "/events", json=[event.model_dump(mode="json")])
            return
        except httpx.HTTPError as error:
            trouble = error
    logger.warning("Prefect's server did not take the event %s (%s): no trigger hears of it", event.event, trouble)
