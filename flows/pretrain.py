"""Pretrain: text -> vocabulary -> token ids -> one language model per direction."""

from __future__ import annotations

from flows.ingest import ingest
from taglm_core.config.experiment import Experiment
from taglm_core.pipeline.kinds import Stage
from tasks.options import EVERYTHING, Options
from tasks.stages import pipeline_flow, run_stage
from tasks.steps import Refs


@pipeline_flow(Stage.PRETRAIN)
def pretrain(experiment: Experiment, options: Options = EVERYTHING, made: Refs | None = None) -> Refs:
    """Train language models on the unlabelled text.

    Args:
        experiment: settings that differ from the defaults.
        options: stages to run and stages to compute again.
        made: objects of earlier stages by step name; built or looked up if not given.

    Returns:
        All objects by step name.
    """
    return run_stage(Stage.PRETRAIN, experiment, options, made, before=ingest)
