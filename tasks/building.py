"""One step as a Prefect task: skipped if its object is in the store, built, followed and tracked otherwise."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
from prefect import task
from prefect.artifacts import create_link_artifact, create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.context import TaskRunContext
from prefect.states import Cancelled
from prefect.tasks import Task

from taglm_core.config.experiment import Experiment
from taglm_core.errors import ChildFailed, Interrupted
from taglm_core.pipeline.build import build, clear_work
from taglm_core.pipeline.graph import build_graph
from taglm_core.pipeline.kinds import KINDS, Reporting
from taglm_core.pipeline.plan import given_objects, recipe_of
from taglm_core.pipeline.steps import Step
from taglm_core.process.child import ChildJob
from taglm_core.process.launch import CHILDREN, hand_on, run_child, slot
from taglm_core.store.records import Recipe, Ref
from taglm_core.store.resources import cores
from taglm_core.store.store import Store
from taglm_core.store.uses import record_use
from taglm_core.training.journal import JOURNAL, Event
from tasks.options import Options
from tasks.places import without_password
from tasks.tracking.tracker import StageRun, open_tracker

logger = logging.getLogger("taglm")
if logger.level == logging.NOTSET:
    logger.setLevel(logging.INFO)  # Prefect adds its handlers to the loggers it is told of, but leaves their level
LOG_SECONDS, ARTIFACT_SECONDS = 5.0, 10.0

Refs = dict[str, Ref]


def build_step(experiment: Experiment, options: Options, step: str, inputs: Refs) -> Ref:
    """Make one step's object, or find it.

    Args:
        experiment: the experiment.
        options: which stages are refreshed.
        step: name of the step.
        inputs: the objects it reads, by role (given by the tasks that made them: Prefect draws the arrows).
    """
    this = build_graph(experiment)[step]
    store = Store(experiment.run.store)
    recipe = recipe_of(store, this, {role: ref.digest for role, ref in inputs.items()})
    refresh = this.stage in options.refresh
    found, prefect_run = None if refresh else store.find(recipe), _prefect_run()
    if found is not None:
        logger.info("%s: reused", step)
        record_use(store, experiment.name, step, (found.kind, found.digest), prefect_run=prefect_run)
        return found
    begun = time.time()
    logger.info("%s: started", step)
    tracker = open_tracker(experiment)
    read = {**inputs, **given_objects(store, this)}
    with tracker.stage_run(this, recipe, store.work(recipe), inputs=read, prefect_run=prefect_run) as tracked:
        show_link(tracker.address(tracked.run_id), f"{step} in MLflow")
        made = {"mlflow_run": tracked.run_id, "prefect_run": prefect_run, "experiment": _settings(experiment)}
        if KINDS[this.kind].child:
            _build_in_child(experiment, this, store, recipe, inputs, tracked, refresh=refresh, made=made)
        else:
            _build_here(experiment, this, store, recipe, inputs, tracked, refresh=refresh, made=made)
        ref = store.find(recipe)
        if ref is None:
            raise ChildFailed(f"{step}: its process ended well, but its object is not in the store; run again")
        made_object = store.open(ref)
        tracked.finish(made_object)
    record_use(store, experiment.name, step, (ref.kind, ref.digest), mlflow_run=_own_run(this, tracked),
               prefect_run=prefect_run, anew=True)  # fmt: skip
    clear_work(store, this, inputs)
    manifest = made_object.manifest
    if manifest.made["time"] < begun:  # made by somebody else meanwhile, or again with the same bytes: that one is kept
        logger.info("%s: made; the same object was in the store", step)
    else:
        logger.info("%s: made in %.1f s", step, manifest.seconds)
    return ref


def show_link(address: str | None, description: str, key: str | None = None) -> None:
    """Leave a link in the Prefect run, if there is one and an address to lead to."""
    if address is not None and TaskRunContext.get() is not None:
        with ignore_prefect_outage():
            create_link_artifact(address, link_text=description, key=key, description=description)


@contextlib.contextmanager
def ignore_prefect_outage() -> Iterator[None]:
    """What is only for people to see must not end a training: the Prefect server may be away for a while."""
    try:
        yield
    except httpx.HTTPError as error:
        logger.warning("Prefect's server does not answer (%s); the work goes on", error)


def step_task(name: str) -> Task[..., Any]:
    """The task of one kind of step. Prefect caches and persists nothing: the store does, and it can check itself."""

    def run(experiment: Experiment, options: Options, step: str, inputs: Refs) -> Ref | State[Any]:
        try:
            return build_step(experiment, options, step, inputs)
        except Interrupted as error:  # its checkpoint is written: no failure, and no stack trace
            return Cancelled(message=str(error))

    return task(name=name, task_run_name="{step}", cache_policy=NO_CACHE, persist_result=False)(run)


def _build_in_child(
    experiment: Experiment,
    step: Step,
    store: Store,
    recipe: Recipe,
    inputs: Mapping[str, Ref],
    tracked: StageRun,
    *,
    refresh: bool,
    made: Mapping[str, Any],
) -> None:
    job = ChildJob(_settings(experiment), step.name, dict(inputs), refresh, dict(made))
    watcher = _Watcher(step.name, tracked)
    with slot(store.root / "locks", experiment.run.workers or cores()):
        run_child(job, store.work(recipe), experiment.run.threads, watcher, tracked.offset)


def _build_here(
    experiment: Experiment,
    step: Step,
    store: Store,
    recipe: Recipe,
    inputs: Mapping[str, Ref],
    tracked: StageRun,
    *,
    refresh: bool,
    made: Mapping[str, Any],
) -> None:
    """Build in this process. What the builder says in its journal is handed on when it ends, well or not."""
    journal = store.work(recipe) / JOURNAL
    before = journal.stat().st_size if journal.exists() else 0
    label = f"{experiment.name}/{step.name}"
    try:
        build(
            store, step, inputs, run=experiment.run, label=label, refresh=refresh, made=made, stop=CHILDREN.stop_request
        )
    finally:
        hand_on(journal, before, _Watcher(step.name, tracked))


class _Watcher:
    """Hands a builder's journal on: to the tracking store, the log, and a progress artifact."""

    def __init__(self, step: str, tracked: StageRun) -> None:
        self._step, self._tracked = step, tracked
        self._logged = self._shown = 0.0
        self._artifact: Any = None

    def __call__(self, events: list[Event], offset: int) -> None:
        self._tracked.forward(events, offset)
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


def _own_run(step: Step, tracked: StageRun) -> str | None:
    """Id of the MLflow run of a step that has one of its own."""
    return tracked.run_id if step.made_as.reporting is Reporting.OWN_RUN else None


def _prefect_run() -> str | None:
    context = TaskRunContext.get()
    return str(context.task_run.flow_run_id) if context is not None and context.task_run.flow_run_id else None


def _settings(experiment: Experiment) -> dict[str, Any]:
    """The experiment with an absolute store, so that a process started elsewhere finds it, and without a password."""
    settings: dict[str, Any] = experiment.model_dump(mode="json")
    settings["run"]["store"] = str(Path(experiment.run.store).absolute())
    if experiment.run.tracking_uri is not None:
        settings["run"]["tracking_uri"] = without_password(experiment.run.tracking_uri)
    return settings
