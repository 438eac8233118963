"""Pipeline: the four stages, from raw text to the comparison of taggers."""

from __future__ import annotations

from flows.embed import embed
from flows.ingest import ingest
from flows.pretrain import pretrain
from flows.tag import tag
from taglm_core.config.experiment import Experiment
from tasks.options import EVERYTHING, Options
from tasks.overview import log_outcome, log_plan
from tasks.stages import pipeline_flow, started
from tasks.steps import Refs


@pipeline_flow("pipeline")
def pipeline(experiment: Experiment, options: Options = EVERYTHING) -> Refs:
    """Train taggers with and without language models from raw text and few labels, and compare them.

    Args:
        experiment: settings that differ from the defaults.
        options: stages to run and stages to compute again.

    Returns:
        All objects by step name.
    """
    with started(experiment) as context:
        log_plan(context, options)
        corpora = ingest(context.experiment, options)
        models = pretrain(context.experiment, options, corpora)
        embeddings = embed(context.experiment, options, models)
        made = tag(context.experiment, options, embeddings)
        log_outcome(context, made)
    return made
