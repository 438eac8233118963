"""Predict: a tagger and files -> the files with entities, in parts, and an MLflow run with counts and drift."""

from __future__ import annotations

from prefect import flow
from prefect.runtime import flow_run

from taglm_core.config.experiment import Experiment
from taglm_core.config.predicting import USUAL, PredictionConfig
from tasks.predicting.files import predict_files
from tasks.stages import started


@flow(name="predict", flow_run_name="predict {data}", validate_parameters=True, persist_result=False)
def predict(
    experiment: Experiment, model: str, data: str, output: str, settings: PredictionConfig = USUAL
) -> dict[str, int]:
    """Find entities in files and write the files with them; a killed run goes on with the next part.

    Args:
        experiment: settings of store, threads and tracking.
        model: folder of an export, models:/NAME@champion, EXPERIMENT.yaml:VARIANT or the beginning of a digest.
        data: file, folder or glob to read.
        output: file to write, or folder of parts.
        settings: what is found, and how files are read and written.

    Returns:
        The numbers of rows, bad rows, tokens and entities.
    """
    with started(experiment):
        tally = predict_files(model, data, output, settings, experiment, flow_run.id)
    return {"rows": tally.rows, "bad_rows": tally.bad_rows, "tokens": tally.tokens, "entities": tally.entities}
