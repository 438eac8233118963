"""Embed: language models + corpora -> states per token, and word vectors."""

from __future__ import annotations

from flows.pretrain import pretrain
from taglm_core.config.experiment import Experiment
from taglm_core.pipeline.kinds import Stage
from tasks.options import EVERYTHING, Options
from tasks.stages import pipeline_flow, run_stage
from tasks.steps import Refs


@pipeline_flow(Stage.EMBED)
def embed(experiment: Experiment, options: Options = EVERYTHING, made: Refs | None = None) -> Refs:
    """Compute the language-model states of every token of the labelled corpora.

    Args:
        experiment: settings that differ from the defaults.
        options: stages to run and stages to compute again.
        made: objects of earlier stages by step name; built or looked up if not given.

    Returns:
        All objects by step name.
    """
    return run_stage(Stage.EMBED, experiment, options, made, before=pretrain)
