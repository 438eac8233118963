"""Running the steps of one stage."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, cast

from prefect import get_client
from prefect.context import FlowRunContext
from prefect.exceptions import CancelledRun
from prefect.runtime import flow_run
from prefect.states import Completed
from prefect.tasks import Task

from taglm_core.config.experiment import Experiment
from taglm_core.errors import Interrupted, MissingObject, TagLMError
from taglm_core.pipeline.bases import resolve_bases
from taglm_core.pipeline.graph import build_graph
from taglm_core.pipeline.kinds import Stage
from taglm_core.pipeline.plan import plan, set_damaged_aside
from taglm_core.process.launch import CHILDREN
from taglm_core.store.records import Ref
from taglm_core.store.store import Store
from tasks.building import Refs
from tasks.dead_runs import this_process
from tasks.events import announce
from tasks.housekeeping import record_uses
from tasks.options import Options
from tasks.server_away import wait_for_server
from tasks.tracking.tracker import open_tracker

logger = logging.getLogger("taglm")
MOST_STARTS = 5  # of one run: a crash that comes back each time must not go on for ever


def run_stage(
    stage: Stage, experiment: Experiment, options: Options, made: Refs, tasks: Mapping[str, Task[..., Any]]
) -> Refs:
    """Submit the steps of a stage, each as the task of its kind, and wait for all of them.

    Args:
        stage: the stage.
        experiment: the experiment.
        options: which stages run, which are refreshed.
        made: objects of the stages before it, by step name.
        tasks: task by kind of step.

    Returns:
        `made` and the objects of this stage.

    Raises:
        MissingObject: the stage may not run and something it makes is not in the store.
    """
    if not options.runs(stage):
        found = look_up(experiment, stage)
        record_uses(experiment, found)
        return {**made, **found}
    CHILDREN.start_afresh()
    known = set(Store(experiment.run.store).objects())
    futures: dict[str, Any] = dict(made)
    steps = build_graph(experiment).of_stage(stage)
    try:
        for step in steps:
            inputs = {role: futures[name] for role, name in step.inputs.items()}
            futures[step.name] = tasks[step.kind].submit(experiment, options, step.name, inputs)
        refs: Refs = {step.name: _result(futures[step.name]) for step in steps}
    except BaseException as error:  # cancelled, Ctrl-C, or a step failed: the others write their checkpoints and end
        CHILDREN.stop()
        if isinstance(error, Exception) and not isinstance(error, Interrupted):
            wait_for_server()  # which is to know that the run has failed
        raise
    publishes = stage is Stage.TAG and experiment.labelled is not None  # and sends what waits then
    if not publishes and (stage is Stage.TAG or not _is_subflow()):
        open_tracker(experiment).flush()
    wait_for_server()
    new = [ref for ref in refs.values() if (ref.kind, ref.digest) not in known]
    # What a trigger has started passes the word on even where it found all of its own: what came before it is new.
    announce(stage, experiment, refs.values() if options.if_ready else new)
    return {**made, **refs}


def _is_subflow() -> bool:
    context = FlowRunContext.get()
    return context is not None and context.flow_run is not None and context.flow_run.parent_task_run_id is not None


def _result(future: Any) -> Ref:
    try:
        ref: Ref = future.result()
    except CancelledRun:
        raise Interrupted(future.state.message) from None
    return ref


def look_up(experiment: Experiment, stage: Stage) -> Refs:
    """The objects of a stage, from the store alone.

    Raises:
        MissingObject: some are not there; names them and the command that makes them.
    """
    decisions = plan(Store(experiment.run.store), build_graph(experiment)).values()
    mine = [decision for decision in decisions if decision.step.stage is stage]
    missing = [decision.step.name for decision in mine if decision.ref is None]
    if missing:
        raise MissingObject(
            f"not in the store: {', '.join(missing)}; made by the {stage} stage: "
            f"run `taglm {stage}` with this experiment's file and settings, or leave out --only / --from"
        )
    return {decision.step.name: decision.ref for decision in mine if decision.ref is not None}


def waiting(stage: Stage, experiment: Experiment) -> Refs | None:
    """What a run returns that has to wait for objects of earlier stages; None if they are there.

    It is a state, Completed and named Waiting, with what is missing: Prefect makes it the run's own. Nobody gets it as
    a value, since flows that call a stage hand its inputs over.

    Args:
        stage: about to run.
        experiment: the experiment.
    """
    graph = build_graph(experiment)
    decisions = plan(Store(experiment.run.store), graph)
    reads = dict.fromkeys(name for step in graph.of_stage(stage) for name in step.inputs.values())
    missing = [name for name in reads if graph[name].stage is not stage and decisions[name].ref is None]
    if not missing:
        return None
    words = f"waiting for {', '.join(missing)}"
    logger.info("%s: %s", stage, words)
    return cast("Refs", Completed(name="Waiting", message=words))


def settle(experiment: Experiment) -> Experiment:
    """The experiment with digests in place of `continue_from: latest`, so that all of a run goes on from the same.

    What every flow does first: its run is also told which process it is.

    Raises:
        TagLMError: the run has been started too often.
    """
    _refuse_endless_starts()
    _name_process()
    settled = resolve_bases(Store(experiment.run.store), experiment)
    for line in settled.lines:
        logger.info(line)
    return settled.experiment


def _refuse_endless_starts() -> None:
    """A run that crashes each time it is started again has to end."""
    if (starts := flow_run.run_count) > MOST_STARTS:
        raise TagLMError(
            f"this run was started {starts} times and did not end well: look at its log and at that of the machine "
            "(is memory short?), mend what is wrong, and start a new run; it goes on from the last checkpoint"
        )


def _name_process() -> None:
    """A worker notices the end of its runs' processes; of others somebody must be able to tell (dead_runs.py)."""
    context = FlowRunContext.get()
    run = None if context is None or _is_subflow() else context.flow_run
    if run is not None and run.deployment_id is None:
        get_client(sync_client=True).update_flow_run(run.id, infrastructure_pid=this_process())


def check_store(experiment: Experiment, options: Options) -> None:
    """Before anything runs: objects about to be read are hashed, damaged ones set aside, so that they are rebuilt."""
    store, graph = Store(experiment.run.store), build_graph(experiment)
    for line in set_damaged_aside(store, plan(store, graph, options.refresh)):
        logger.warning(line)
