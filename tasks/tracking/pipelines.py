"""Sends the end of a pipeline: variants, the pipeline's run, the registered tagger. Sending it again changes nothing.

An experiment has one run for each of its reports, however often the pipeline runs without building anything.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial

from taglm_core.analysis.corpora import report_corpora
from taglm_core.config.experiment import Experiment
from taglm_core.evaluation.figures import LearningPoint
from taglm_core.pipeline.context import context_for
from taglm_core.pipeline.kinds import Reporting, Stage
from taglm_core.pipeline.steps import Graph
from taglm_core.store.durable import locked
from taglm_core.store.uses import record_use, uses_of
from tasks.tracking.client import Client
from tasks.tracking.decisions import PIPELINE_KIND, REPORT, PendingEnd, append
from tasks.tracking.descriptions import experiment_name
from tasks.tracking.pages import Curve, pipeline_page
from tasks.tracking.receipts import Receipt
from tasks.tracking.registry import NOT_REGISTERED, register_best
from tasks.tracking.reporter import Reporter
from tasks.tracking.spec import FINISHED, RunSpec, reporting_of
from tasks.tracking.views import PIPELINE, experiment_tags

MOST_RUNS = 1000  # of variants that a learning curve looks at, newest first


def publish(reporter: Reporter, end: PendingEnd) -> Receipt:
    """Link the pipeline's run to those of its steps, and register its best tagger; return the receipt.

    Raises:
        StoreError: an object is damaged or gone.
        MlflowException, OSError, SQLAlchemyError: the tracking store is away.
    """
    store, ledger, name = reporter.store, reporter.ledger, end.experiment.name
    with locked(ledger.lock(PIPELINE_KIND, end.report.key)):
        known = ledger.receipt(PIPELINE_KIND, end.report.key, name)
        if known is None or known.digest != end.report.digest or known.registration is None:
            again = known is not None or end.begun
            known = pipeline_run(reporter, end)
            registration = NOT_REGISTERED
            if end.experiment.registry.register_best:
                opened = {step: store.open(ref) for step, ref in end.refs.items() if ref.kind == "tagger"}
                registration = register_best(
                    reporter, end.experiment, opened, report=store.open(end.report), ended=end.time, again=again
                )
            known = replace(known, registration=asdict(registration))
            ledger.record(known)
    for step, ref in end.refs.items():
        record_use(store, name, step, (ref.kind, ref.digest), pipeline_run=known.run_id, prefect_run=end.prefect_run)
    return known


def pipeline_run(reporter: Reporter, end: PendingEnd) -> Receipt:
    """Return the run that links the runs of all steps, those of skipped steps too; made if there is none.

    One that a killed process left unfinished is filled in and ended.
    """
    ledger, client = reporter.ledger, reporter.client
    known = ledger.receipt(PIPELINE_KIND, end.report.key, end.experiment.name) or _found(reporter, end)
    if known is not None and known.digest == end.report.digest:
        return known
    with context_for(end.experiment) as context:
        graph, findings = context.graph, report_corpora(context, end.refs).findings
    _report_variants(reporter, end, graph)
    where = experiment_name(PIPELINE, end.experiment.data_set)
    if known is None:
        append(reporter.store, replace(end, begun=True))
        experiment_id = client.experiment(where, experiment_tags(PIPELINE))
        run_id = client.create_run(experiment_id, end.experiment.name, _identity(end))
        known = Receipt(end.experiment.name, PIPELINE_KIND, end.report.key, "", run_id, experiment_id)
        ledger.record(known)
    runs = {step: run for step, ref in end.refs.items() if reporting_of(ref.kind) is Reporting.OWN_RUN
            and (run := reporter.run_of(_group(graph, step), ref.kind, ref.key, ref.digest)) is not None}  # fmt: skip
    page = pipeline_page(
        end.experiment, end.refs, reporter.store.open(end.report), runs,
        curve=_curve(client, end), findings=findings,
        prefect_run=end.prefect_run,
    )  # fmt: skip
    with client.or_forget(str(known.run_id), partial(ledger.forget, known)):
        client.send(str(known.run_id), page)
        client.mlflow().set_terminated(str(known.run_id), FINISHED)
    known = replace(known, digest=end.report.digest)
    ledger.record(known)
    return known


def learning_curve(client: Client, experiment: Experiment, test: str) -> Curve:
    """Return F1 on one test corpus (its digest) over the labelled sentences; of several runs at one size the newest.

    Runs of other experiments are left out: their variants of the same name may be others.
    """
    tags = {"taglm.kind": "variant", "taglm.experiment": experiment.name, "taglm.test_digest": test}
    runs = client.find_runs(experiment_name(Stage.TAG, experiment.data_set), tags, MOST_RUNS)
    found: dict[str, dict[float, LearningPoint]] = {variant.name: {} for variant in experiment.variants}
    for run in runs:
        name, metrics = run.data.params.get("variant"), run.data.metrics
        if name in found and {"train/sentences", "test/f1_mean"} <= metrics.keys():
            sentences = metrics["train/sentences"]
            point = LearningPoint(sentences, metrics["test/f1_mean"], metrics.get("test/f1_std"))
            found[name].setdefault(sentences, point)
    return {name: [points[size] for size in sorted(points)] for name, points in found.items() if points}


def _curve(client: Client, end: PendingEnd) -> Curve:
    return learning_curve(client, end.experiment, end.refs["corpus/test"].digest) if "corpus/test" in end.refs else {}


def _group(graph: Graph, step: str) -> str:
    return experiment_name(graph[step].stage, graph[step].group)


def _identity(end: PendingEnd) -> dict[str, str]:
    """Return the tags that the run is found by."""
    tags = {"taglm.experiment": end.experiment.name, "taglm.kind": PIPELINE_KIND}
    return {**tags, f"taglm.object.{REPORT}": end.report.digest}


def _found(reporter: Reporter, end: PendingEnd) -> Receipt | None:
    """Return the run that an older version, or a process that was killed, made; ask only where there may be one."""
    uses = uses_of(reporter.store, end.report.kind, end.report.digest)
    if not (end.begun or any(use.pipeline_run for use in uses if use.experiment == end.experiment.name)):
        return None
    for run in reporter.client.find_runs(experiment_name(PIPELINE, end.experiment.data_set), _identity(end), 1):
        digest = end.report.digest if run.info.status == FINISHED else ""
        found = Receipt(end.experiment.name, PIPELINE_KIND, end.report.key, digest, run.info.run_id,
                        run.info.experiment_id)  # fmt: skip
        reporter.ledger.record(found)
        return found
    return None


def _report_variants(reporter: Reporter, end: PendingEnd, graph: Graph) -> None:
    """Send a report that another experiment has made to the variants of this one, which have no run of it yet."""
    report, experiment = end.report, end.experiment
    if reporter.ledger.receipt(report.kind, report.key, experiment.name) is None:
        step = graph[REPORT]
        inputs = {role: end.refs[name] for role, name in step.inputs.items()}
        spec = RunSpec(experiment.name, step, report.key, inputs, seeds=experiment.seeds)
        reporter.report_variants(spec, reporter.store.open(report))
        reporter.ledger.record(Receipt(experiment.name, report.kind, report.key, report.digest))
