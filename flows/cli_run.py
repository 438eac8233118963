"""Start of a flow from the command line. Prefect is imported only when a flow is started."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping

from rich.console import Console
from rich.logging import RichHandler

from taglm_core.config.experiment import Experiment
from taglm_core.pipeline.context import PipelineContext, use_context
from taglm_core.pipeline.kinds import Stage
from taglm_core.pipeline.plan import Decision, refs_of
from tasks.housekeeping import has_word, leave_word, record_uses, tell_missed
from tasks.overview import OVERVIEW
from tasks.preflight.check import require_environment
from tasks.urls import without_password


def run_flow(
    console: Console, context: PipelineContext, first: Stage | None, last: Stage, refresh: tuple[Stage, ...]
) -> None:
    """Start Prefect and the flow that ends with a stage; show its progress on the console.

    Args:
        console: console to print on.
        context: context of the run.
        first: stage to begin with; None for everything that is missing.
        last: stage to end with.
        refresh: stages to compute again.

    Raises:
        ConfigError: the environment keeps runs from working.
        StoreError: the store is not writable.
    """
    experiment = context.experiment
    context.store.require_writable()
    for line in require_environment(experiment.run):
        console.print(line, style="yellow", markup=False, soft_wrap=True)
    handler = RichHandler(console=console, show_path=False, show_level=False, log_time_format="%H:%M:%S", markup=False)
    handler.addFilter(_WithoutOverview())
    progress = logging.getLogger("taglm")
    progress.setLevel(logging.INFO)
    progress.addHandler(handler)
    progress.propagate = False  # Prefect would print what reaches the root logger again
    given = os.environ.get("PREFECT_API_URL")
    server = f"Prefect: {without_password(given)}" if given else "starting Prefect (stops with this run)"
    console.print(server, markup=False)
    from flows.embed import embed
    from flows.ingest import ingest
    from flows.pipeline import pipeline
    from flows.pretrain import pretrain
    from tasks.options import Options
    from tasks.own_server import start_own_server

    start_own_server()

    for name in ("prefect.flow_runs", "prefect.task_runs"):  # errors are printed once, at the end; the UI has the trace
        logging.getLogger(name).propagate = False
    options = Options(first=first, refresh=refresh)
    flows = {Stage.INGEST: ingest, Stage.PRETRAIN: pretrain, Stage.EMBED: embed, Stage.TAG: pipeline}
    with use_context(context):
        flows[last](experiment, options)


def tell_missed_of(console: Console, experiment: Experiment, decisions: Mapping[str, Decision]) -> None:
    """Nothing is to be built; an earlier run may have been killed before MLflow had heard of all."""
    refs = refs_of(decisions)
    if "report" in decisions:
        leave_word(experiment, refs)
    record_uses(experiment, refs)
    if has_word(experiment.run):
        tell_missed(experiment.run)
        left = has_word(experiment.run)
        console.print(f"what MLflow has missed of earlier runs {'waits: it is still away' if left else 'was told'}")


class _WithoutOverview(logging.Filter):
    """Filter of messages that the printed plan and tables already hold."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.name != OVERVIEW and not record.getMessage().endswith(": reused")
