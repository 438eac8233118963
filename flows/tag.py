"""Tag: corpora + embeddings -> taggers, one per variant and seed -> evaluations -> report."""

from __future__ import annotations

from prefect import flow

from flows.embed import embed
from taglm_core.config.experiment import Experiment
from taglm_core.pipeline.kinds import Stage
from tasks.building import Refs
from tasks.options import EVERYTHING, Options
from tasks.results import publish_results
from tasks.stages import run_stage, settle, waiting
from tasks.tag import evaluate_tagger, train_tagger, write_report


@flow(name="tag", flow_run_name="tag {experiment.name}{options.words}", validate_parameters=True, persist_result=False)
def tag(experiment: Experiment, options: Options = EVERYTHING, made: Refs | None = None) -> Refs:
    """Taggers are trained, evaluated and compared.

    Args:
        experiment: corpora, language models, tagger, variants and seeds; only what differs from the defaults.
        options: which stages may run and which are computed again.
        made: objects of the stages before it, by step name; made or found here where not given.

    Returns:
        The objects by step name.
    """
    experiment = settle(experiment)
    if options.if_ready and made is None and (later := waiting(Stage.TAG, experiment)):
        return later
    made = embed(experiment, options.at_once) if made is None else made
    tasks = {
        "tagger": train_tagger,
        "evaluation": evaluate_tagger,
        "report": write_report,
    }
    made = run_stage(Stage.TAG, experiment, options, made, tasks)
    if experiment.labelled is not None:
        publish_results(experiment, made)
    return made
