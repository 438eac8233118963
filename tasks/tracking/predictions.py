"""MLflow runs of predictions over files: counts, labels, confidences, and drift against the training corpus."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from taglm_core.config.experiment import Experiment
from tasks.predicting.drift import Reference
from tasks.predicting.tally import BINS, Tally
from tasks.tracking.address import resolve_uri
from tasks.tracking.client import AWAY, Client, not_answering
from tasks.tracking.content import Point, RunContent
from tasks.tracking.descriptions import LONGEST_PARAM, NOTE, experiment_name, safe_name
from tasks.tracking.projection import listed_tables, table
from tasks.tracking.spec import FINISHED
from tasks.urls import prefect_line

PREDICT = "predict"
LABELS, CONFIDENCES, FIGURE = "labels.json", "confidences.json", "confidences.png"
_EXPERIMENT_NOTE = (
    "One run per prediction over these files. Compare **`unknown_rate`**, the share of tokens without a vector in the "
    "tagger, with `dev/unknown_rate`, and `labels.json`: entities per 1,000 tokens here, in the train corpus (gold) "
    "and in the dev corpus (as tagged). A large difference means that the text is unlike the training data."
)
logger = logging.getLogger("taglm")


@dataclass(frozen=True, slots=True)
class Prediction:
    """A finished prediction.

    Attributes:
        name: name of the data set.
        params: what was asked for.
        tally: counts.
        reference: what the corpora of the tagger are like, if known.
        seconds: time of this run.
        new_rows: rows of this run; others come from an earlier one that was killed.
        prefect_run: id of the flow run.
    """

    name: str
    params: Mapping[str, Any]
    tally: Tally
    reference: Reference | None
    seconds: float
    new_rows: int
    prefect_run: str | None = None


def report_prediction(experiment: Experiment, prediction: Prediction) -> str | None:
    """Make the run of a prediction and return its id; None if MLflow is away, which is logged.

    Args:
        experiment: settings of the tracking store.
        prediction: the prediction.

    Raises:
        ConfigError: the tracking store cannot be one.
    """
    client = Client(resolve_uri(experiment.run.tracking_uri))
    name = safe_name(prediction.name)
    try:
        where = client.experiment(experiment_name(PREDICT, name), {NOTE: _EXPERIMENT_NOTE})
        run_id = client.create_run(where, name, {"taglm.kind": PREDICT})
        client.send(run_id, content_of(prediction))
        client.mlflow().set_terminated(run_id, FINISHED)
    except AWAY as error:
        logger.warning(
            "%s; the output is complete, and the counts are in this log alone", not_answering(client.address, error)
        )
        return None
    return run_id


def content_of(prediction: Prediction) -> RunContent:
    """Return what the run of a prediction shows."""
    tally, compared, now = prediction.tally, prediction.reference, int(1000 * time.time())
    values: dict[str, float] = {
        "rows": tally.rows, "bad_rows": tally.bad_rows, "sentences": tally.sentences, "tokens": tally.tokens,
        "entities": tally.entities, "unknown_rate": tally.unknown_rate, "seconds": prediction.seconds,
        "rows_per_second": prediction.new_rows / max(1e-9, prediction.seconds),
    }  # fmt: skip
    here = tally.per_thousand()
    values |= {f"per_1000_tokens/{safe_name(label)}": rate for label, rate in here.items()}
    columns = {"here": tally}
    if compared is not None:
        columns |= {"training": compared.training, "dev": compared.dev}
        values["dev/unknown_rate"] = compared.dev.unknown_rate
        values["drift/unknown_rate"] = tally.unknown_rate - compared.dev.unknown_rate
        train = compared.training.per_thousand()
        for label in sorted(here.keys() | train.keys()):
            values[f"drift/per_1000_tokens/{safe_name(label)}"] = here.get(label, 0.0) - train.get(label, 0.0)
    note = "" if prediction.prefect_run is None else prefect_line(prediction.prefect_run)
    return RunContent(
        params={name: str(value)[:LONGEST_PARAM] for name, value in prediction.params.items()},
        metrics=tuple(Point(name, 0, float(value), now) for name, value in values.items()),
        tags={
            NOTE: f"Entities in `{prediction.params.get('data', prediction.name)}`\n\n{note}".strip(),
            **listed_tables((LABELS, CONFIDENCES)),
        },
        artifacts={
            LABELS: _labels(columns),
            CONFIDENCES: _confidences(columns),
            FIGURE: _histogram(tally),
        },
    )


def _labels(columns: Mapping[str, Tally]) -> str:
    """Return the table of entities per 1,000 tokens by label."""
    rates = {name: tally.per_thousand() for name, tally in columns.items()}
    names = sorted({label for rate in rates.values() for label in rate})
    head = ["label", "entities", *(f"per 1,000 tokens, {name}" for name in columns)]
    rows = [[label, columns["here"].labels[label], *(rates[name].get(label, 0.0) for name in columns)]
            for label in names]  # fmt: skip
    return table(head, rows)


def _confidences(columns: Mapping[str, Tally]) -> str:
    """Return the table of entities by confidence."""
    shown = [name for name in columns if name != "training"]  # gold labels have no confidence
    rows = [[place / BINS, (place + 1) / BINS, *(columns[name].confidences[place] for name in shown)]
            for place in range(BINS)]  # fmt: skip
    return table(["from", "to", *(f"entities, {name}" for name in shown)], rows)


def _histogram(tally: Tally) -> Figure:
    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    axes.bar([(place + 0.5) / BINS for place in range(BINS)], tally.confidences, 1 / BINS, color="#0072B2")
    axes.set(xlabel="confidence of an entity", ylabel="entities", xlim=(0, 1))
    return figure
