"""MLflow runs of a sweep: one for the sweep, and below it one for each row."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from taglm_core.analysis.sweep_table import SweepResult, SweepRow, to_markdown
from taglm_core.config.sweep import Cell, Sweep
from tasks.tracking.address import resolve_uri
from tasks.tracking.client import AWAY, Client, not_answering
from tasks.tracking.content import Point, RunContent
from tasks.tracking.descriptions import LONGEST_PARAM, NOTE, experiment_name, run_by_id_link, safe_name
from tasks.tracking.spec import FINISHED, PARENT
from tasks.urls import mlflow_ui

SWEEP = "sweep"
_EXPERIMENT_NOTE = (
    "One run per execution of this sweep, and below it one per row: a variant of a cell, over its seeds. Compare "
    "**`f1`** and **`difference`** (to the row's reference, in shares) with **`p_holm`**."
)
logger = logging.getLogger("taglm")


def report_sweep(sweep: Sweep, cells: Sequence[Cell], result: SweepResult, prefect_run: str | None) -> str | None:
    """Make the runs of a sweep and return the address of the parent; None if MLflow is away, which is logged.

    Args:
        sweep: the sweep.
        cells: its cells.
        result: its result.
        prefect_run: id of the flow run.

    Raises:
        ConfigError: the tracking store cannot be one.
    """
    client = Client(resolve_uri(cells[0].experiment.run.tracking_uri))
    overrides = {cell.name: cell.overrides for cell in cells}
    try:
        where = client.experiment(experiment_name(SWEEP, sweep.name), {NOTE: _EXPERIMENT_NOTE})
        tags = {"taglm.kind": SWEEP} | ({} if prefect_run is None else {"prefect.flow_run_id": prefect_run})
        parent = client.create_run(where, sweep.name, tags)
        page = to_markdown(sweep, result)
        metrics = {"cells": len(cells), "rows": len(result.rows), "cells_missing": len(result.missing)}
        client.send(parent, RunContent(metrics=_points(metrics), tags={NOTE: page}, artifacts={"table.md": page}))
        for row in result.rows:
            run = client.create_run(where, row.name, {"taglm.kind": "sweep-row", PARENT: parent})
            params = {"cell": row.cell, "variant": row.variant, "reference": row.reference, **row.place,
                      **{name: str(value) for name, value in overrides[row.cell].items()}}  # fmt: skip
            shown = {safe_name(name): value[:LONGEST_PARAM] for name, value in params.items()}
            client.send(run, RunContent(params=shown, metrics=_points(_values(row))))
            client.mlflow().set_terminated(run, FINISHED)
        client.mlflow().set_terminated(parent, FINISHED)
    except AWAY as error:
        logger.warning("%s; the table of the sweep is in its files alone", not_answering(client.address, error))
        return None
    return run_by_id_link(mlflow_ui(client.uri), parent)


def _values(row: SweepRow) -> dict[str, float]:
    """Return the figures of a row that are there."""
    values = {
        "f1": sum(row.f1) / len(row.f1), "n": len(row.f1), "dev_f1": row.dev_f1, "parameters": row.parameters,
        "minutes": row.minutes, "train_sentences": row.train_sentences, "perplexity": row.perplexity,
        "difference": row.difference, "difference_low": row.low, "difference_high": row.high, "p": row.p,
        "p_holm": row.p_holm, "welch_p": row.welch_p, "paper_f1": row.paper,
    }  # fmt: skip
    if len(row.f1) > 1:
        values["f1_deviation"] = row.deviation
    return {name: float(value) for name, value in values.items() if value is not None}


def _points(values: dict[str, float] | dict[str, int]) -> tuple[Point, ...]:
    now = int(1000 * time.time())
    return tuple(Point(name, 0, float(value), now) for name, value in values.items())
