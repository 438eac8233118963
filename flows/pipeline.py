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
    """Raw text and few labels become taggers with and without language models, compared.

    Args:
        experiment: corpora, language models, tagger, variants and seeds; only what differs from the defaults.
        options: which stages may run and which are computed again.

    Returns:
        The objects by step name.
    """
    with started(experiment) as context:
        log_plan(context, options)
        corpora = ingest(context.experiment, options)
        models = pretrain(context.experiment, options, corpora)
        embeddings = embed(context.experiment, options, models)
        made = tag(context.experiment, options, embeddings)
        log_outcome(context, made)
    return made
