"""What a finished comparison leaves in the UIs: the pipeline's run, the registered tagger, Prefect artifacts."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.context import TaskRunContext

from taglm_core.analysis.corpora import report_corpora
from taglm_core.config.experiment import Experiment
from taglm_core.corpus.split_facts import Finding
from taglm_core.evaluation.report import read_report
from taglm_core.evaluation.tables import table_rows
from taglm_core.pipeline.context import PipelineContext
from taglm_core.store.store import Artifact
from tasks.server_away import wait_for_server
from tasks.steps import Refs, flow_run_id, ignore_prefect_outage, show_link
from tasks.tracking.descriptions import findings_text
from tasks.tracking.tracker import open_tracker

logger = logging.getLogger("taglm")


@task(name="publish-results", cache_policy=NO_CACHE, persist_result=False)
def publish_results(context: PipelineContext, made: Refs) -> None:
    """Link the pipeline's run to its stages, register the best tagger, show the table in Prefect.

    Args:
        context: of the run.
        made: all its objects, by step name.
    """
    experiment = context.experiment
    tracker = open_tracker(experiment, sync=False)  # a kill or Ctrl-C while it waits must not lose the outcome
    published = tracker.publish(made, prefect_run=flow_run_id())
    wait_for_server()  # Prefect's, which what follows is shown by
    if published is not None:
        show_link(
            tracker.address(published.run_id), f"{experiment.name} in MLflow", f"mlflow-{artifact_key(experiment.name)}"
        )
        if (found := published.registration) is not None and found["version"]:
            logger.info("registered %s version %s: %s", found["name"], found["version"], found["decision"])
    findings = report_corpora(context, made).findings
    with ignore_prefect_outage():
        _show(experiment, context.store.open(made["report"]), findings)


def _show(experiment: Experiment, report: Artifact, findings: Sequence[Finding]) -> None:
    if TaskRunContext.get() is None:
        return
    comparison = read_report(report.path)
    headers, rows = table_rows(comparison)
    key = artifact_key(experiment.name)
    table = [dict(zip(headers, row, strict=True)) for row in rows]
    create_table_artifact(
        table, key=f"comparison-{key}", description=f"variants of {experiment.name} on {comparison.split}"
    )
    text = (report.path / "report.md").read_text(encoding="utf-8")
    if findings:
        text += f"\n## Suspicious about the corpora\n\n{findings_text(findings)}\n"
    create_markdown_artifact(text, key=f"report-{key}", description=f"report of {experiment.name}")


def artifact_key(name: str) -> str:
    """Return a name as Prefect takes it in keys of artifacts."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
