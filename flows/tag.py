"""Tag: corpora + embeddings -> taggers, one per variant and seed -> evaluations -> report."""

from __future__ import annotations

from flows.embed import embed
from taglm_core.config.experiment import Experiment
from taglm_core.pipeline.kinds import Stage
from tasks.options import EVERYTHING, Options
from tasks.stages import pipeline_flow, run_stage
from tasks.steps import Refs


@pipeline_flow(Stage.TAG)
def tag(experiment: Experiment, options: Options = EVERYTHING, made: Refs | None = None) -> Refs:
    """Train, evaluate and compare taggers.

    Args:
        experiment: settings that differ from the defaults.
        options: stages to run and stages to compute again.
        made: objects of earlier stages by step name; built or looked up if not given.

    Returns:
        All objects by step name.
    """
    return run_stage(Stage.TAG, experiment, options, made, before=embed)
