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
    """The unlabelled text becomes language models.

    Args:
        experiment: corpora, language models, tagger, variants and seeds; only what differs from the defaults.
        options: which stages may run and which are computed again.
        made: objects of the stages before it, by step name; made or found here where not given.

    Returns:
        The objects by step name.
    """
    return run_stage(Stage.PRETRAIN, experiment, options, made, before=ingest)
