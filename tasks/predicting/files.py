"""Prediction of files as a flow runs it: engine, log and MLflow run."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict

import torch

from taglm_core.config.experiment import Experiment
from taglm_core.config.predicting import PredictionConfig
from taglm_core.store.store import Store
from tasks.models import open_tagger
from tasks.predicting.drift import reference
from tasks.predicting.formats import new_writer, output_of
from tasks.predicting.job import Job, Wanted, summary
from tasks.predicting.progress import Lines
from tasks.predicting.readers import Format, Source
from tasks.predicting.rows import Limits
from tasks.predicting.tally import Tally
from tasks.predicting.writers import Output

logger = logging.getLogger("taglm")


def predict_files(
    model: str, data: str, output: str, settings: PredictionConfig, experiment: Experiment, prefect_run: str | None
) -> Tally:
    """Tag files in parts and report counts and drift to MLflow. A killed run goes on with the next part.

    Args:
        model: the tagger, as in `open_tagger`.
        data: file, folder or glob.
        output: file, or folder of parts.
        settings: what is found, and how files are read and written.
        experiment: settings of store, threads and tracking.
        prefect_run: id of the flow run, for the MLflow run.

    Raises:
        TagLMError: model, data or output cannot be used.
    """
    begun = time.monotonic()
    given = None if settings.input is None else Format(settings.input)
    source = Source.of([data], given, column=settings.column, word_column=settings.word_column, lines=settings.lines)
    kind = output_of(output, source) if settings.output is None else Output(settings.output)
    torch.set_num_threads(experiment.run.threads)
    tagger = open_tagger(model, experiment)
    wanted = Wanted(settings.threshold, settings.labels, Limits(settings.part_rows))
    progress = Lines(source.total(), logger.info)
    job = Job(tagger, source, wanted, logger.warning, progress)
    tally = job.to_parts(new_writer(kind, settings.scheme, source), output, {"scheme": settings.scheme})
    seconds = time.monotonic() - begun
    logger.info("%s: %s", output, summary(tally, seconds, progress.new))
    if experiment.run.tracking:
        from tasks.tracking.predictions import Prediction, report_prediction

        compared = reference(tagger, Store(experiment.run.store))
        if compared is None:
            logger.info("drift is not computed: the tagger's corpora are not in %s", experiment.run.store)
        params = {"model": model, "data": data, "output": output, **asdict(wanted), "tagger": tagger.index.digest}
        report_prediction(
            experiment, Prediction(source.name, params, tally, compared, seconds, progress.new, prefect_run)
        )
    return tally
