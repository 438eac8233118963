"""Running the steps of one stage."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from prefect.tasks import Task

from taglm_core.config.experiment import Experiment
from taglm_core.errors import MissingObject
from taglm_core.stages.continuing import settle_bases
from taglm_core.stages.graph import build_graph
from taglm_core.stages.launch import CHILDREN
from taglm_core.stages.planning import plan, set_damaged_aside
from taglm_core.stages.steps import Stage
from taglm_core.store.store import Store
from tasks.building import Refs
from tasks.events import announce
from tasks.options import Options

logger = logging.getLogger("taglm")


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
        return {**made, **look_up(experiment, stage)}
    CHILDREN.start_afresh()
    known = set(Store(experiment.run.store).objects())
    futures: dict[str, Any] = dict(made)
    steps = build_graph(experiment).of_stage(stage)
    try:
        for step in steps:
            inputs = {role: futures[name] for role, name in step.inputs.items()}
            futures[step.name] = tasks[step.kind].submit(experiment, options, step.name, inputs)
        refs: Refs = {step.name: futures[step.name].result() for step in steps}
    except BaseException:  # cancelled, Ctrl-C, or a step failed: the others write their checkpoints and end
        CHILDREN.stop()
        raise
    announce(stage, experiment, [ref for ref in refs.values() if (ref.kind, ref.digest) not in known])
    return {**made, **refs}


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
            f"run `taglm {stage}` with this experiment's file, or leave out --only / --from"
        )
    return {decision.step.name: decision.ref for decision in mine if decision.ref is not None}


def settle(experiment: Experiment) -> Experiment:
    """The experiment with digests in place of `continue_from: latest`, so that all of a run goes on from the same."""
    settled = settle_bases(Store(experiment.run.store), experiment)
    for line in settled.lines:
        logger.info(line)
    return settled.experiment


def check_store(experiment: Experiment, options: Options) -> None:
    """Before anything runs: objects about to be read are hashed, damaged ones set aside, so that they are rebuilt."""
    store, graph = Store(experiment.run.store), build_graph(experiment)
    for line in set_damaged_aside(store, plan(store, graph, options.refresh)):
        logger.warning(line)
