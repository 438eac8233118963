"""The event that a stage's new objects emit; triggers of deployments wait for it (docs/operations.md)."""

from __future__ import annotations

from collections.abc import Iterable

from prefect.events import emit_event
from prefect.runtime import flow_run

from taglm_core.config.experiment import Experiment
from taglm_core.stages.steps import Stage
from taglm_core.store.records import Ref

CREATED = "taglm.artifact.created"


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
        emit_event(
            CREATED,
            resource={"prefect.resource.id": f"taglm.artifact.{stage}.{experiment.name}"},
            payload={"experiment": experiment.model_dump(mode="json"), "objects": objects},
        )
