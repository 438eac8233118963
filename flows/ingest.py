"""Ingest: raw files -> one corpus per split, with statistics over all of them."""

from __future__ import annotations

from taglm_core.config.experiment import Experiment
from taglm_core.pipeline.kinds import Stage
from tasks.options import EVERYTHING, Options
from tasks.stages import pipeline_flow, run_stage
from tasks.steps import Refs


@pipeline_flow(Stage.INGEST)
def ingest(experiment: Experiment, options: Options = EVERYTHING) -> Refs:
    """Raw files become one stored corpus per split, and what is suspicious about them is said.

    Args:
        experiment: corpora, language models, tagger, variants and seeds; only what differs from the defaults.
        options: which stages may run and which are computed again.

    Returns:
        The objects by step name.
    """
    return run_stage(Stage.INGEST, experiment, options)
