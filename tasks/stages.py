"""Runs the steps of one stage; the flow of every stage calls this."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any, cast

from prefect import flow, get_client
from prefect.context import FlowRunContext
from prefect.exceptions import CancelledRun
from prefect.flows import Flow
from prefect.runtime import flow_run
from prefect.states import Completed
from prefect.utilities.annotations import quote

from taglm_core.config.experiment import Experiment
from taglm_core.errors import Interrupted, MissingObject, TagLMError
from taglm_core.pipeline.context import PipelineContext, context_for
from taglm_core.pipeline.kinds import Stage
from taglm_core.process.children import CHILDREN
from taglm_core.process.launch import SHARED
from taglm_core.store.records import Ref
from tasks.corpora import judge_corpora
from tasks.dead_runs import this_process
from tasks.events import announce
from tasks.housekeeping import record_uses
from tasks.options import Options
from tasks.results import publish_results
from tasks.server_away import wait_for_server
from tasks.steps import TASKS, Refs
from tasks.tracking.tracker import open_tracker

logger = logging.getLogger("taglm")
MOST_STARTS = 5  # starts that one run is allowed, so that a crash that repeats ends


def pipeline_flow(name: str) -> Callable[[Callable[..., Refs]], Flow[..., Refs]]:
    """Return the decorator of a flow on an experiment. Prefect persists nothing, because the store does.

    Args:
        name: name of the flow, a stage or `pipeline`.
    """
    run_name = f"{name} {{experiment.name}}{{options.suffix}}"
    return flow(name=name, flow_run_name=run_name, validate_parameters=True, persist_result=False)


def run_stage(
    stage: Stage,
    experiment: Experiment,
    options: Options,
    made: Refs | None = None,
    before: Flow[..., Refs] | None = None,
) -> Refs:
    """Run one stage, and earlier stages for missing objects.

    Args:
        stage: the stage.
        experiment: the experiment.
        options: stages to run and stages to compute again.
        made: objects of earlier stages by step name; built or looked up if not given.
        before: flow of the stage before it; called if `made` is not given.

    Returns:
        `made` and the objects of this stage, by step name.

    Raises:
        MissingObject: the options exclude a stage, and one of its objects is not in the store.
        CorpusRefused: results on the corpora would be meaningless.
    """
    with started(experiment) as context:
        if made is None and before is not None:
            if options.if_ready and (missing := _missing_inputs(stage, context)):
                return _waiting(stage, missing)
            made = before(context.experiment, options.at_once)
        if stage is Stage.INGEST:
            for line in context.set_damaged_aside(options.refresh):
                logger.warning(line)
        made = dict(made or {})
        if not options.runs(stage):
            return {**made, **_look_up(stage, context)}
        known = set(context.store.objects())
        futures: dict[str, Any] = dict(made)
        steps = context.graph.of_stage(stage)
        with _children():
            for step in steps:
                inputs = {role: futures[name] for role, name in step.inputs.items()}
                futures[step.name] = TASKS[step.kind].submit(_unwalked(context), options, step.name, inputs)
            made |= {step.name: _result(futures[step.name]) for step in steps}
        _conclude(stage, context, options, [made[step.name] for step in steps], known)
        if stage is Stage.INGEST:
            judge_corpora(context, made)
        if stage is Stage.TAG and context.experiment.labelled is not None:
            publish_results(_unwalked(context), made)
    return made


@contextlib.contextmanager
def started(experiment: Experiment) -> Iterator[PipelineContext]:
    """Begin a flow: enter the context of its experiment, and record its process in Prefect.

    Raises:
        TagLMError: the run was started too often.
    """
    _refuse_endless_starts()
    _name_process()
    with context_for(experiment) as context:
        if context.experiment != experiment:  # this flow has resolved it, so it logs the messages
            for line in context.messages:
                logger.info(line)
        yield context


@contextlib.contextmanager
def _children() -> Iterator[None]:
    """Allow child processes in a block; on a failure or cancellation, let them write checkpoints and end."""
    CHILDREN.start_afresh()
    try:
        yield
    except BaseException as error:
        CHILDREN.stop()
        if isinstance(error, Exception) and not isinstance(error, Interrupted):
            wait_for_server()  # so that the server records the failure
        raise
    finally:
        SHARED.close()


def _conclude(
    stage: Stage, context: PipelineContext, options: Options, made: list[Ref], known: set[tuple[str, str]]
) -> None:
    """Report pending results at the end of a run, and announce new objects."""
    publishes = stage is Stage.TAG and context.experiment.labelled is not None  # and reports pending results then
    if not publishes and (stage is Stage.TAG or not _is_subflow()):
        open_tracker(context.experiment).flush()
    wait_for_server()
    new = [ref for ref in made if (ref.kind, ref.digest) not in known]
    if new or stage in options.refresh:
        context.store_changed()
    # A triggered run also announces objects that it reused: the next stage must run, because an input is new.
    announce(stage, context.experiment, made if options.if_ready else new)


def _look_up(stage: Stage, context: PipelineContext) -> Refs:
    """Return the objects of a stage from the store, without building any.

    Raises:
        MissingObject: objects are missing; the message has the command that builds them.
    """
    mine = [decision for decision in context.plan().values() if decision.step.stage is stage]
    missing = [decision.step.name for decision in mine if decision.ref is None]
    if missing:
        raise MissingObject(
            f"not in the store: {', '.join(missing)}; built by the {stage} stage: "
            f"run `taglm {stage}` with this experiment's file and settings, or leave out --only / --from"
        )
    found = {decision.step.name: decision.ref for decision in mine if decision.ref is not None}
    record_uses(context.experiment, found)
    return found


def _unwalked(context: PipelineContext) -> PipelineContext:
    """Wrap a context as a task argument that Prefect does not search for results of other tasks."""
    return cast("PipelineContext", quote(context))


def _missing_inputs(stage: Stage, context: PipelineContext) -> list[str]:
    """Return the steps of earlier stages that a stage reads and whose objects are missing."""
    reads = dict.fromkeys(name for step in context.graph.of_stage(stage) for name in step.inputs.values())
    decisions = context.plan()
    return [name for name in reads if context.graph[name].stage is not stage and decisions[name].ref is None]


def _waiting(stage: Stage, missing: list[str]) -> Refs:
    """Return the state of a run that has to wait for objects of earlier stages.

    Prefect takes it as the state of the run: Completed, with the name Waiting. Only a run without a parent can wait, so
    no caller gets it as a value.
    """
    message = f"waiting for {', '.join(missing)}"
    logger.info("%s: %s", stage, message)
    return cast("Refs", Completed(name="Waiting", message=message))


def _is_subflow() -> bool:
    context = FlowRunContext.get()
    return context is not None and context.flow_run is not None and context.flow_run.parent_task_run_id is not None


def _result(future: Any) -> Ref:
    try:
        ref: Ref = future.result()
    except CancelledRun:
        raise Interrupted(future.state.message) from None
    return ref


def _refuse_endless_starts() -> None:
    """Refuse a run that has crashed after each of several starts."""
    if (starts := flow_run.run_count) > MOST_STARTS:
        raise TagLMError(
            f"this run was started {starts} times and crashed each time; check its log and the memory of the machine, "
            "correct the cause, and start a new run; it goes on from the last checkpoint"
        )


def _name_process() -> None:
    """Record in Prefect the process of a run that no worker started, so that its death can be detected."""
    context = FlowRunContext.get()
    run = None if context is None or _is_subflow() else context.flow_run
    if run is not None and run.deployment_id is None:
        get_client(sync_client=True).update_flow_run(run.id, infrastructure_pid=this_process())
