"""What a finished comparison leaves in the UIs: the pipeline's run, the registered tagger, Prefect artifacts."""

from __future__ import annotations

import logging
import re

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.context import TaskRunContext

from taglm_core.config.experiment import Experiment
from taglm_core.evaluation.report import read_report
from taglm_core.evaluation.tables import table_rows
from taglm_core.store.store import Artifact, Store
from tasks.building import Refs, show_link, shown_or_not
from tasks.tracking.registry import register_best
from tasks.tracking.tracker import NoTracker, Tracker, open_tracker

logger = logging.getLogger("taglm")


@task(name="publish-results", cache_policy=NO_CACHE, persist_result=False)
def publish_results(experiment: Experiment, made: Refs) -> None:
    """Link the pipeline's run to its stages, register the best tagger, show the table in Prefect.

    Args:
        experiment: the experiment.
        made: all its objects, by step name.
    """
    store = Store(experiment.run.store)
    tracker = open_tracker(experiment)
    if not isinstance(tracker, NoTracker):
        _tell(tracker, experiment, made, store)
    with shown_or_not():  # last: it needs Prefect's server, what is above does not
        _show(experiment, store.open(made["report"]))


def _tell(tracker: Tracker, experiment: Experiment, made: Refs, store: Store) -> None:
    tracker.tell_rest()
    context = TaskRunContext.get()
    run_id = tracker.pipeline_run(made, prefect_run=str(context.task_run.flow_run_id) if context else None)
    show_link(tracker.address(run_id), f"{experiment.name} in MLflow", f"mlflow-{_key(experiment)}")
    artifacts = {name: store.open(ref) for name, ref in made.items() if ref.kind in ("tagger", "language-model")}
    registration = register_best(
        tracker,
        experiment.labelled.name,
        {name: artifact for name, artifact in artifacts.items() if artifact.ref.kind == "tagger"},
        {name: artifact for name, artifact in artifacts.items() if artifact.ref.kind == "language-model"},
        report=store.open(made["report"]),
    )
    if registration is not None:
        logger.info("registered %s version %s: %s", registration.name, registration.version, registration.decision)


def _show(experiment: Experiment, report: Artifact) -> None:
    if TaskRunContext.get() is None:
        return
    comparison = read_report(report.path)
    headers, rows = table_rows(comparison)
    key = _key(experiment)
    table = [dict(zip(headers, row, strict=True)) for row in rows]
    create_table_artifact(table, key=f"comparison-{key}", description=f"variants of {experiment.name} on test")
    text = (report.path / "report.md").read_text(encoding="utf-8")
    create_markdown_artifact(text, key=f"report-{key}", description=f"report of {experiment.name}")


def _key(experiment: Experiment) -> str:
    """The experiment's name as Prefect takes it."""
    return re.sub(r"[^a-z0-9]+", "-", experiment.name.lower()).strip("-")
