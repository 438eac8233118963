"""What a finished sweep leaves: its files, a table in Prefect, runs in MLflow."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from taglm_core.analysis.sweep_table import SweepResult, sweep_result, to_markdown, write_result
from taglm_core.config.sweep import Cell, Sweep
from tasks.steps import flow_run_id, ignore_prefect_outage, show_link
from tasks.tracking.sweep_runs import report_sweep

logger = logging.getLogger("taglm")


def results_folder(cells: Sequence[Cell], name: str) -> Path:
    """Return where the result of a sweep is written: beside the store."""
    return cells[0].experiment.run.store.parent / "sweeps" / name


@task(name="publish-sweep", cache_policy=NO_CACHE, persist_result=False)
def publish_sweep(sweep: Sweep, cells: Sequence[Cell], folder: Path) -> SweepResult:
    """Write the result of the cells that are evaluated, and show it in Prefect and MLflow.

    Args:
        sweep: the sweep.
        cells: its cells.
        folder: where the table is written.
    """
    result = sweep_result(sweep, cells)
    if not result.rows:
        return result
    write_result(sweep, result, folder)
    key = re.sub(r"[^a-z0-9]+", "-", sweep.name.lower()).strip("-")
    with ignore_prefect_outage():
        create_markdown_artifact(to_markdown(sweep, result), key=f"sweep-{key}", description=f"sweep {sweep.name}")
    if cells[0].experiment.run.tracking:
        show_link(report_sweep(sweep, cells, result, flow_run_id()), f"{sweep.name} in MLflow", f"mlflow-sweep-{key}")
    return result
