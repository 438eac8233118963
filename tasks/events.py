"""The event of a stage with new objects; triggers of deployments wait for it (docs/operations.md)."""

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
    """Emit an event that triggers the next stage, unless the stage runs as a subflow.

    The flow of a subflow goes on by itself; a trigger would start its next stage a second time.

    Args:
        stage: the stage.
        experiment: experiment, sent with the event for the next stage.
        made: new objects; without any no event is sent.
    """
    objects = sorted({f"{ref.kind}/{ref.digest}" for ref in made})
    if objects and flow_run.parent_flow_run_id is None:
        run = {"prefect.resource.id": f"prefect.flow-run.{flow_run.id}", "prefect.resource.role": "flow-run"}
        _send(
            Event(
                event=CREATED,
                resource={"prefect.resource.id": f"taglm.artifact.{stage}.{experiment.name}"},
                related=[run] if flow_run.id else [],
                payload={"experiment": experiment.model_dump(mode="json"), "objects": objects},
            )
        )


def _send(event: Event) -> None:
    """Send an event by a request; events in the queue of Prefect's own worker are lost when a run ends."""
    for _ in range(ATTEMPTS):
        wait_for_server()
        try:
            with get_client(sync_client=True) as client:
                client.request("POST", "/events", json=[event.model_dump(mode="json")])
            return
        except httpx.HTTPError as error:
            reason = error
    logger.warning("Prefect's server did not accept the event %s (%s); no trigger fires", event.event, reason)
