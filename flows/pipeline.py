"""Pipeline: the four stages, from raw text to the comparison of taggers."""

from __future__ import annotations

from prefect import flow

from flows.embed import embed
from flows.ingest import ingest
from flows.pretrain import pretrain
from flows.tag import tag
from taglm_core.config.experiment import Experiment
from tasks.building import Refs
from tasks.options import EVERYTHING, Options
from tasks.overview import log_outcome, log_plan
from tasks.stages import settle


@flow(
    name="pipeline",
    flow_run_name="pipeline {experiment.name}{options.words}",
    validate_parameters=True,
    persist_result=False,
)
def pipeline(experiment: Experiment, options: Options = EVERYTHING) -> Refs:
    """Raw text and few labels become taggers with and without language models, compared.

    Args:
        experiment: corpora, language models, tagger, variants and seeds; only what differs from the defaults.
        options: which stages may run and which are computed again.

    Returns:
        The objects by step name.
    """
    experiment = settle(experiment)
    log_plan(experiment, options)
    corpora = ingest(experiment, options)
    models = pretrain(experiment, options, corpora)
    embeddings = embed(experiment, options, models)
    made = tag(experiment, options, embeddings)
    log_outcome(experiment, made)
    return made
