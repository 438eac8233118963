"""Tag: corpora + embeddings -> taggers, one per variant and seed -> evaluations -> report."""

from __future__ import annotations

from flows.embed import embed
from taglm_core.config.experiment import Experiment
from taglm_core.pipeline.kinds import Stage
from tasks.options import EVERYTHING, Options
from tasks.stages import pipeline_flow, run_stage
from tasks.steps import Refs


@pipeline_flow(Stage.TAG)
def tag(experiment: Experiment, options: Options = EVERYTHING, made: Refs | None = None) -> Refs:
    """Taggers are trained, evaluated and compared.

    Args:
        experiment: corpora, language models, tagger, variants and seeds; only what differs from the defaults.
        options: which stages may run and which are computed again.
        made: objects of the stages before it, by step name; made or found here where not given.

    Returns:
        The objects by step name.
    """
    return run_stage(Stage.TAG, experiment, options, made, before=embed)
