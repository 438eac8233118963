"""Pretrain: text -> vocabulary -> token ids -> one language model per direction."""

from __future__ import annotations

from prefect import flow

from flows.ingest import ingest
from taglm_core.config.experiment import Experiment
from taglm_core.pipeline.kinds import Stage
from tasks.building import Refs
from tasks.options import EVERYTHING, Options
from tasks.pretrain import count_words, train_language_model, write_token_ids
from tasks.stages import run_stage, settle, waiting


@flow(
    name="pretrain",
    flow_run_name="pretrain {experiment.name}{options.words}",
    validate_parameters=True,
    persist_result=False,
)
def pretrain(experiment: Experiment, options: Options = EVERYTHING, made: Refs | None = None) -> Refs:
    """The unlabelled text becomes language models.

    Args:
        experiment: corpora, language models, tagger, variants and seeds; only what differs from the defaults.
        options: which stages may run and which are computed again.
        made: objects of the stages before it, by step name; made or found here where not given.

    Returns:
        The objects by step name.
    """
    experiment = settle(experiment)
    if options.if_ready and made is None and (later := waiting(Stage.PRETRAIN, experiment)):
        return later
    made = ingest(experiment, options.at_once) if made is None else made
    tasks = {
        "vocabulary": count_words,
        "token-ids": write_token_ids,
        "language-model": train_language_model,
    }
    return run_stage(Stage.PRETRAIN, experiment, options, made, tasks)
