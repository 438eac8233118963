"""Ingest: raw files -> one corpus per split, with statistics over all of them."""

from __future__ import annotations

from prefect import flow

from taglm_core.config.experiment import Experiment
from taglm_core.pipeline.kinds import Stage
from tasks.building import Refs
from tasks.ingest import describe_corpora, detect_tag_scheme, generate_demo_corpus, judge_corpora, read_corpus
from tasks.options import EVERYTHING, Options
from tasks.stages import check_store, run_stage, settle


@flow(
    name="ingest",
    flow_run_name="ingest {experiment.name}{options.words}",
    validate_parameters=True,
    persist_result=False,
)
def ingest(experiment: Experiment, options: Options = EVERYTHING) -> Refs:
    """Raw files become one stored corpus per split, and what is suspicious about them is said.

    Args:
        experiment: corpora, language models, tagger, variants and seeds; only what differs from the defaults.
        options: which stages may run and which are computed again.

    Returns:
        The objects by step name.
    """
    experiment = settle(experiment)
    check_store(experiment, options)
    tasks = {
        "demo-corpus": generate_demo_corpus,
        "tag-scheme": detect_tag_scheme,
        "corpus": read_corpus,
        "corpus-statistics": describe_corpora,
    }
    made = run_stage(Stage.INGEST, experiment, options, {}, tasks)
    judge_corpora(experiment, made)
    return made
