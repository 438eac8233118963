"""Running the steps of one stage: what every flow does."""

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
MOST_STARTS = 5  # of one run: a crash that comes back each time must not go on for ever


def pipeline_flow(name: str) -> Callable[[Callable[..., Refs]], Flow[..., Refs]]:
    """Return the decorator of a flow on an experiment. Prefect persists nothing: the store does.

    Args:
        name: of the flow: a stage, or `pipeline`.
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
    """Run one stage, and those before it as far as something of theirs is missing.

    Args:
        stage: the stage.
        experiment: the experiment.
        options: which stages run, which are refreshed.
        made: objects of the stages before it, by step name; made or found here where not given.
        before: flow of the stage before it.

    Returns:
        `made` and the objects of this stage, by step name.

    Raises:
        MissingObject: a stage may not run and something that it makes is not in the store.
        CorpusRefused: the corpora would make results meaningless.
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
    """Begin a flow: work in the context of its experiment, and tell Prefect which process it is.

    Raises:
        TagLMError: the run has been started too often.
    """
    _refuse_endless_starts()
    _name_process()
    with context_for(experiment) as context:
        if context.experiment != experiment:  # resolved here: whoever has called this flow does not know it yet
            for line in context.messages:
                logger.info(line)
        yield context


@contextlib.contextmanager
def _children() -> Iterator[None]:
    """Let child processes start; where a step fails or the run is cancelled, the others write their checkpoints."""
    CHILDREN.start_afresh()
    try:
        yield
    except BaseException as error:
        CHILDREN.stop()
        if isinstance(error, Exception) and not isinstance(error, Interrupted):
            wait_for_server()  # which is to know that the run has failed
        raise
    finally:
        SHARED.close()


def _conclude(
    stage: Stage, context: PipelineContext, options: Options, made: list[Ref], known: set[tuple[str, str]]
) -> None:
    """Report what is pending at the end of a run, and announce the objects that were not in the store before."""
    publishes = stage is Stage.TAG and context.experiment.labelled is not None  # and reports what is pending then
    if not publishes and (stage is Stage.TAG or not _is_subflow()):
        open_tracker(context.experiment).flush()
    wait_for_server()
    new = [ref for ref in made if (ref.kind, ref.digest) not in known]
    if new or stage in options.refresh:
        context.store_changed()
    # A run that a trigger has started announces also what it found: what came before it is new.
    announce(stage, context.experiment, made if options.if_ready else new)


def _look_up(stage: Stage, context: PipelineContext) -> Refs:
    """Return the objects of a stage, from the store alone.

    Raises:
        MissingObject: some are not there; names them and the command that makes them.
    """
    mine = [decision for decision in context.plan().values() if decision.step.stage is stage]
    missing = [decision.step.name for decision in mine if decision.ref is None]
    if missing:
        raise MissingObject(
            f"not in the store: {', '.join(missing)}; made by the {stage} stage: "
            f"run `taglm {stage}` with this experiment's file and settings, or leave out --only / --from"
        )
    found = {decision.step.name: decision.ref for decision in mine if decision.ref is not None}
    record_uses(context.experiment, found)
    return found


def _unwalked(context: PipelineContext) -> PipelineContext:
    """Return a context as an argument of a task that Prefect does not look into for results of other tasks."""
    return cast("PipelineContext", quote(context))


def _missing_inputs(stage: Stage, context: PipelineContext) -> list[str]:
    """Return the steps of earlier stages that a stage reads and that are not made yet."""
    reads = dict.fromkeys(name for step in context.graph.of_stage(stage) for name in step.inputs.values())
    decisions = context.plan()
    return [name for name in reads if context.graph[name].stage is not stage and decisions[name].ref is None]


def _waiting(stage: Stage, missing: list[str]) -> Refs:
    """Return what a run returns that has to wait for objects of earlier stages.

    It is a state, Completed and named Waiting, with what is missing: Prefect makes it the run's own. Nobody gets it as
    a value, since flows that call a stage hand its inputs over.
    """
    words = f"waiting for {', '.join(missing)}"
    logger.info("%s: %s", stage, words)
    return cast("Refs", Completed(name="Waiting", message=words))


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
    """End a run that crashes each time it is started again."""
    if (starts := flow_run.run_count) > MOST_STARTS:
        raise TagLMError(
            f"this run was started {starts} times and did not end well: look at its log and at that of the machine "
            "(is memory short?), mend what is wrong, and start a new run; it goes on from the last checkpoint"
        )


def _name_process() -> None:
    """Tell Prefect the process of a run that no worker watches, so that somebody can tell when it is gone."""
    context = FlowRunContext.get()
    run = None if context is None or _is_subflow() else context.flow_run
    if run is not None and run.deployment_id is None:
        get_client(sync_client=True).update_flow_run(run.id, infrastructure_pid=this_process())
