"""Start of a flow from the command line. Prefect is imported only when a flow is started."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.logging import RichHandler

from taglm_core.config.experiment import Experiment
from taglm_core.pipeline.context import PipelineContext, use_context
from taglm_core.pipeline.kinds import Stage
from taglm_core.pipeline.plan import Decision, refs_of
from taglm_core.store.store import Store
from tasks.housekeeping import append_due_end, has_pending, record_uses, sync
from tasks.overview import OVERVIEW
from tasks.preflight.check import require_environment
from tasks.urls import without_password

if TYPE_CHECKING:
    from prefect.flows import Flow


@contextlib.contextmanager
def ready_flows(console: Console, context: PipelineContext) -> Iterator[dict[Stage, Flow[..., Any]]]:
    """Start Prefect and yield the flow that ends with each stage; show progress on the console.

    Args:
        console: console to print on.
        context: context of the run, current inside the block.

    Raises:
        ConfigError: the environment keeps runs from working.
        StoreError: the store is not writable.
    """
    start_prefect(console, context.experiment)
    with use_context(context):
        from flows.embed import embed
        from flows.ingest import ingest
        from flows.pipeline import pipeline
        from flows.pretrain import pretrain

        yield {Stage.INGEST: ingest, Stage.PRETRAIN: pretrain, Stage.EMBED: embed, Stage.TAG: pipeline}


def start_prefect(console: Console, experiment: Experiment) -> None:
    """Start Prefect; show progress on the console.

    Args:
        console: console to print on.
        experiment: its store and tracking.

    Raises:
        ConfigError: the environment keeps runs from working.
        StoreError: the store is not writable.
    """
    Store(experiment.run.store).require_writable()
    for line in require_environment(experiment.run):
        console.print(line, style="yellow", markup=False, soft_wrap=True)
    _show_progress(console)
    given = os.environ.get("PREFECT_API_URL")
    server = f"Prefect: {without_password(given)}" if given else "starting Prefect (stops with this run)"
    console.print(server, markup=False)
    from tasks.own_server import start_own_server

    start_own_server()
    for name in ("prefect.flow_runs", "prefect.task_runs"):  # errors are printed once, at the end; the UI has the trace
        logging.getLogger(name).propagate = False


def _show_progress(console: Console) -> None:
    handler = RichHandler(console=console, show_path=False, show_level=False, log_time_format="%H:%M:%S", markup=False)
    handler.addFilter(_WithoutOverview())
    progress = logging.getLogger("taglm")
    progress.setLevel(logging.INFO)
    progress.addHandler(handler)
    progress.propagate = False  # Prefect would print what reaches the root logger again


def sync_missed(console: Console, experiment: Experiment, decisions: Mapping[str, Decision]) -> None:
    """Send what an earlier run was killed before it could send: nothing is to be built."""
    refs = refs_of(decisions)
    if "report" in decisions:
        append_due_end(experiment, refs)
    record_uses(experiment, refs)
    if has_pending(experiment.run):
        sync(experiment.run)
        left = has_pending(experiment.run)
        console.print(f"results that MLflow has not received {'wait: it does not answer' if left else 'were sent'}")


class _WithoutOverview(logging.Filter):
    """Filter of messages that the printed plan and tables already hold."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.name != OVERVIEW and not record.getMessage().endswith(": reused")
