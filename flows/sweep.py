"""Sweep: cells of an experiment -> a pipeline each, side by side -> one table."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from threading import Event
from typing import Any, cast

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture, as_completed
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from prefect.utilities.annotations import quote

from flows.pipeline import pipeline
from taglm_core.config.experiment import Experiment
from taglm_core.config.sweep import Sweep, chosen_cells, expand
from taglm_core.errors import CellsFailed, Interrupted, TagLMError
from taglm_core.process.children import CHILDREN
from taglm_core.store.resources import cores
from tasks.sweeps import publish_sweep

logger = logging.getLogger("taglm")
_RUNNER: TaskRunner[PrefectFuture[Any]] = cast("Any", ThreadPoolTaskRunner(max_workers=cores()))
_CELL: ContextVar[str] = ContextVar("cell", default="")


class _NameCell(logging.Filter):
    """Puts the name of the cell in front of what its steps log."""

    def filter(self, record: logging.LogRecord) -> bool:
        if (cell := _CELL.get()) and not hasattr(record, "cell"):
            record.cell = cell
            record.msg = f"{cell.replace('%', '%%') if record.args else cell}: {record.msg}"
        return True


@task(name="cell", task_run_name="cell {name}", cache_policy=NO_CACHE, persist_result=False)
def run_cell(name: str, experiment: Experiment, stopped: Event) -> None:
    """Run the pipeline of a cell; its failure stops the processes of no other cell.

    Args:
        name: of the cell.
        experiment: its experiment.
        stopped: set when the sweep has stopped; the cell does not begin then.

    Raises:
        Interrupted: the sweep has stopped.
    """
    if stopped.is_set():
        raise Interrupted("the sweep has stopped")
    _CELL.set(name)
    with CHILDREN.own_group():
        pipeline(experiment)
    logger.info("done")


@flow(
    name="sweep", flow_run_name="sweep {sweep.name}", validate_parameters=True, persist_result=False,
    task_runner=_RUNNER,
)  # fmt: skip
def sweep(sweep: Sweep, only: tuple[str, ...] = (), fail_fast: bool = False) -> dict[str, int]:
    """Run the cells of a sweep side by side and write one table of all that are evaluated.

    What cells share is built once. A cell that fails does not stop the others; run the sweep again, and what is
    missing is built.

    Args:
        sweep: the sweep.
        only: names of cells to run; all if empty. The table has all that are evaluated.
        fail_fast: stop all cells when one fails.

    Returns:
        The numbers of cells, rows and failed cells.

    Raises:
        CellsFailed: cells failed; the table has the others.
    """
    cells = expand(sweep)
    if not any(isinstance(one, _NameCell) for one in logger.filters):
        logger.addFilter(_NameCell())
    stopped = Event()
    futures = {}
    for cell in chosen_cells(cells, only):
        experiment, event = cast("Experiment", quote(cell.experiment)), cast("Event", quote(stopped))
        futures[run_cell.submit(cell.name, experiment, event)] = cell.name
    failed: dict[str, str] = {}
    try:
        for future in as_completed(list(futures)):
            error = _error_of(future)
            if error is not None:
                failed[futures[future]] = error
                logger.error("cell %s: %s", futures[future], error)
                if fail_fast:
                    stopped.set()
                    CHILDREN.stop_all()
    except BaseException:
        stopped.set()
        CHILDREN.stop_all()
        raise
    result = publish_sweep(cast("Sweep", quote(sweep)), quote(cells))
    if failed:
        reasons = "\n  ".join(f"{name or sweep.name}: {error}" for name, error in failed.items())
        raise CellsFailed(f"{len(failed)} of {len(cells)} cells failed; the same command runs them again:\n  {reasons}")
    return {"cells": len(cells), "rows": len(result.rows), "failed": len(failed)}


def _error_of(future: Any) -> str | None:
    """Return why a cell failed; None if it did not."""
    try:
        future.result()
    except TagLMError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 (whatever fails a cell must not lose the others)
        return f"{type(error).__name__}: {error}"
    return None
