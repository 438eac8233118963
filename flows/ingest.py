"""Ingest: raw files -> one corpus per split, with statistics over all of them."""

from __future__ import annotations

from taglm_core.config.experiment import Experiment
from taglm_core.pipeline.kinds import Stage
from tasks.options import EVERYTHING, Options
from tasks.stages import pipeline_flow, run_stage
from tasks.steps import Refs


@pipeline_flow(Stage.INGEST)
def ingest(experiment: Experiment, options: Options = EVERYTHING) -> Refs:
    """Read raw files into one stored corpus per split, and report findings about them.

    Args:
        experiment: settings that differ from the defaults.
        options: stages to run and stages to compute again.

    Returns:
        All objects by step name.
    """
    return run_stage(Stage.INGEST, experiment, options)
