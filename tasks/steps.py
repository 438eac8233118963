"""One step as a Prefect task: reuse its object from the store, or build and track it."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
from prefect import task
from prefect.artifacts import create_link_artifact, create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.context import TaskRunContext
from prefect.states import Cancelled
from prefect.tasks import Task

from taglm_core.errors import Interrupted
from taglm_core.pipeline.build import clear_work
from taglm_core.pipeline.context import PipelineContext
from taglm_core.pipeline.kinds import KINDS, Reporting
from taglm_core.process.launch import make
from taglm_core.store.records import Ref
from taglm_core.store.uses import record_use
from taglm_core.training.journal import Event
from tasks.options import Options
from tasks.tracking.tracker import StageRun, open_tracker

logger = logging.getLogger("taglm")
if logger.level == logging.NOTSET:
    logger.setLevel(logging.INFO)  # Prefect adds handlers to extra loggers, but no level
LOG_SECONDS, ARTIFACT_SECONDS = 5.0, 10.0

Refs = dict[str, Ref]


def build_step(context: PipelineContext, options: Options, step: str, inputs: Refs) -> Ref | State[Any]:
    """Return the object of a step from the store, or build it; return `Cancelled` if the run was stopped.

    Args:
        context: context of the run.
        options: stages to compute again.
        step: name of the step.
        inputs: objects to read, by role; as results of other tasks they give the edges of Prefect's graph.
    """
    node, store, experiment = context.graph[step], context.store, context.experiment.name
    request = context.request(node, inputs, refresh=node.stage in options.refresh)
    found, prefect_run = None if request.refresh else store.find(request.recipe), flow_run_id()
    if found is not None:
        logger.info("%s: reused", step)
        record_use(store, experiment, step, (found.kind, found.digest), prefect_run=prefect_run)
        return found
    begun = time.time()
    logger.info("%s: started", step)
    tracker, work = open_tracker(context.experiment), store.work(request.recipe)
    try:
        with tracker.stage_run(node, request.recipe, work, inputs=request.inputs, prefect_run=prefect_run) as run:
            show_link(tracker.address(run.run_id), f"{step} in MLflow")
            made = {"mlflow_run": run.run_id, "prefect_run": prefect_run, **request.made}
            offset = run.offset if node.made_as.child else None
            ref = make(store, replace(request, made=made), _Follower(step, run), offset)
            artifact = store.open(ref)
            run.finish(artifact)
    except Interrupted as error:  # its checkpoint is written; no failure, no trace
        return Cancelled(message=str(error))
    own_run = run.run_id if node.made_as.reporting is Reporting.OWN_RUN else None
    record_use(store, experiment, step, (ref.kind, ref.digest), mlflow_run=own_run, prefect_run=prefect_run, anew=True)
    clear_work(store, request.recipe)
    manifest = artifact.manifest
    if manifest.made["time"] < begun:  # built by another run meanwhile, or earlier with the same bytes
        logger.info("%s: made; the same object was in the store", step)
    else:
        logger.info("%s: made in %.1f s", step, manifest.seconds)
    return ref


TASKS: dict[str, Task[..., Any]] = {
    kind.name: task(name=kind.task, task_run_name="{step}", cache_policy=NO_CACHE, persist_result=False)(build_step)
    for kind in KINDS.values()
}
"""The task of each kind. Prefect caches and persists nothing, because the store does."""


def show_link(address: str | None, description: str, key: str | None = None) -> None:
    """Create a link artifact in the Prefect run, if there is a run and an address."""
    if address is not None and TaskRunContext.get() is not None:
        with ignore_prefect_outage():
            create_link_artifact(address, link_text=description, key=key, description=description)


@contextlib.contextmanager
def ignore_prefect_outage() -> Iterator[None]:
    """Continue without artifacts for people while the Prefect server is unreachable."""
    try:
        yield
    except httpx.HTTPError as error:
        logger.warning("Prefect's server does not answer (%s); the work goes on", error)


def flow_run_id() -> str | None:
    """Return the id of the flow run of this task, if there is one."""
    context = TaskRunContext.get()
    return str(context.task_run.flow_run_id) if context is not None and context.task_run.flow_run_id else None


class _Follower:
    """Callback that forwards the journal of a builder to MLflow, the log, and a progress artifact."""

    def __init__(self, step: str, run: StageRun) -> None:
        self._step, self._run = step, run
        self._logged = self._shown = 0.0
        self._artifact: Any = None

    def __call__(self, events: list[Event], offset: int) -> None:
        self._run.forward(events, offset)
        for event in events:
            if event.kind in ("message", "warning"):
                level = logging.WARNING if event.kind == "warning" else logging.INFO
                logger.log(level, "%s: %s", self._step, event.text)
        progress = [event for event in events if event.kind == "progress"]
        now = time.monotonic()
        if progress and now - self._logged >= LOG_SECONDS:
            self._logged = now
            logger.info("%s: %s", self._step, progress[-1].text)
        if progress and now - self._shown >= ARTIFACT_SECONDS:
            self._shown = now
            self._show(progress[-1])

    def _show(self, event: Event) -> None:
        if TaskRunContext.get() is None:
            return
        percent = 100 * event.values["done"] / max(1.0, event.values["total"])
        with ignore_prefect_outage():
            if self._artifact is None:
                self._artifact = create_progress_artifact(percent, description=self._step)
            else:
                update_progress_artifact(self._artifact, percent)
