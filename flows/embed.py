"""Embed: language models + corpora -> states per token, and word vectors."""

from __future__ import annotations

from prefect import flow

from flows.pretrain import pretrain
from taglm_core.config.experiment import Experiment
from taglm_core.pipeline.kinds import Stage
from tasks.building import Refs
from tasks.embed import embed_corpus, look_up_word_vectors
from tasks.options import EVERYTHING, Options
from tasks.stages import run_stage, settle, waiting


@flow(
    name="embed", flow_run_name="embed {experiment.name}{options.words}", validate_parameters=True, persist_result=False
)
def embed(experiment: Experiment, options: Options = EVERYTHING, made: Refs | None = None) -> Refs:
    """Every token of the labelled corpora gets its language-model states.

    Args:
        experiment: corpora, language models, tagger, variants and seeds; only what differs from the defaults.
        options: which stages may run and which are computed again.
        made: objects of the stages before it, by step name; made or found here where not given.

    Returns:
        The objects by step name.
    """
    experiment = settle(experiment)
    if options.if_ready and made is None and (later := waiting(Stage.EMBED, experiment)):
        return later
    made = pretrain(experiment, options.at_once) if made is None else made
    tasks = {
        "embeddings": embed_corpus,
        "word-vectors": look_up_word_vectors,
    }
    return run_stage(Stage.EMBED, experiment, options, made, tasks)
