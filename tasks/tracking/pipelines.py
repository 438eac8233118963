"""The run of a whole pipeline: links to the runs of all steps, scores, learning curve.

An experiment has one for each of its reports, however often the pipeline runs without building anything.
"""

from __future__ import annotations

from collections.abc import Mapping

from mlflow.entities import RunTag

from taglm_core.analysis.corpora import report_corpora
from taglm_core.pipeline.context import PipelineContext
from taglm_core.pipeline.graph import build_graph
from taglm_core.store.durable import locked
from taglm_core.store.records import Ref
from tasks.tracking.connection import log_params
from tasks.tracking.descriptions import (
    FINDINGS,
    LONGEST_TAG,
    NOTE,
    experiment_name,
    findings_text,
    flat_params,
    run_link,
    safe_name,
)
from tasks.tracking.entry import FINISHED, OWN_RUNS
from tasks.tracking.home import Home
from tasks.tracking.summary import log_summary
from tasks.tracking.views import PIPELINE, experiment_tags
from tasks.urls import prefect_line

REPORT = "report"


def pipeline_run(home: Home, refs: Mapping[str, Ref], prefect_run: str | None = None) -> str:
    """Id of the run that links the runs of all steps, those of skipped steps too; made if there is none.

    One that a killed process left unfinished is filled in and ended. Without a report each call makes one.

    Args:
        home: of the experiment.
        refs: its objects, by step name.
        prefect_run: id of the Prefect flow run.

    Raises:
        MlflowException, OSError, SQLAlchemyError: the store is away.
    """
    if REPORT not in refs:
        return _fill(home, None, refs, prefect_run)
    with locked(home.locks / f"tracking-pipeline-{refs[REPORT].digest}.lock"):
        found = home.connection.find_run(_group(home), _identity(home, refs))
        if found is not None and home.connection.client().get_run(found).info.status == FINISHED:
            return found
        return _fill(home, found, refs, prefect_run)


def _group(home: Home) -> str:
    return experiment_name(PIPELINE, home.experiment.data_set)


def _identity(home: Home, refs: Mapping[str, Ref]) -> dict[str, str]:
    """Tags that the run is found by."""
    tags = {"taglm.experiment": home.experiment.name, "taglm.kind": PIPELINE}
    return {**tags, f"taglm.object.{REPORT}": refs[REPORT].digest} if REPORT in refs else tags


def _fill(home: Home, run_id: str | None, refs: Mapping[str, Ref], prefect_run: str | None) -> str:
    """Say everything of a run and end it; a new one has all tags from its first moment on."""
    client, tags, lines = home.connection.client(), _identity(home, refs), []
    if prefect_run:
        tags["prefect.flow_run_id"] = prefect_run
        lines.append(prefect_line(prefect_run))
    graph = build_graph(home.experiment)
    for name, ref in refs.items():
        step = graph[name]
        tags[safe_name(f"taglm.object.{name}")] = ref.digest
        of_step = home.step_run(step, ref) if step.kind in OWN_RUNS else None
        if of_step is not None:
            tags[safe_name(f"taglm.run.{name}")] = of_step
            lines.append(f"- [{name}]({run_link('', client.get_run(of_step).info.experiment_id, of_step)})")
    if run_id is None:
        where = home.connection.experiment(_group(home), experiment_tags(PIPELINE))
        run_id = str(client.create_run(where, run_name=home.experiment.name, tags=tags).info.run_id)
    if REPORT in refs:
        lines.insert(0, log_summary(home.connection, run_id, home.experiment, refs, home.store.open(refs[REPORT])))
    findings = report_corpora(PipelineContext(home.experiment, graph), refs).findings
    tags[FINDINGS] = findings_text(findings)
    if findings:
        lines.append(f"\n**Suspicious about the corpora:**\n\n{tags[FINDINGS]}")
    tags[NOTE] = "\n".join(lines)[:LONGEST_TAG]
    log_params(client, run_id, flat_params(home.experiment.model_dump(mode="json", exclude={"run"})))
    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])
    client.set_terminated(run_id, FINISHED)
    return run_id
