"""What a finished sweep leaves: its files, a table in Prefect, runs in MLflow."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from taglm_core.analysis.sweep_table import SweepResult, results_folder, sweep_result, to_markdown, write_result
from taglm_core.config.sweep import Cell, Sweep
from tasks.results import artifact_key
from tasks.steps import flow_run_id, ignore_prefect_outage, show_link
from tasks.tracking.sweep_runs import report_sweep


@task(name="publish-sweep", cache_policy=NO_CACHE, persist_result=False)
def publish_sweep(sweep: Sweep, cells: Sequence[Cell]) -> SweepResult:
    """Write the result of the cells that have a report, and show it in Prefect and MLflow.

    Args:
        sweep: the sweep.
        cells: its cells.
    """
    result = sweep_result(sweep, cells)
    if not result.rows:
        return result
    write_result(sweep, result, results_folder(cells, sweep.name))
    key = artifact_key(sweep.name)
    with ignore_prefect_outage():
        create_markdown_artifact(to_markdown(sweep, result), key=f"sweep-{key}", description=f"sweep {sweep.name}")
    if cells[0].experiment.run.tracking:
        show_link(report_sweep(sweep, cells, result, flow_run_id()), f"{sweep.name} in MLflow", f"mlflow-sweep-{key}")
    return result
