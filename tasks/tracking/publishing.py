"""What MLflow is told at the end of a pipeline: its run and the registered tagger. Telling it twice changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from taglm_core.pipeline.graph import build_graph
from taglm_core.store.records import Ref
from taglm_core.store.uses import record_use
from tasks.tracking.entry import Entry
from tasks.tracking.home import Home
from tasks.tracking.pipelines import pipeline_run
from tasks.tracking.registry import Registration, register_best
from tasks.tracking.results import log_report
from tasks.tracking.variants import has_report, variants_of_report


@dataclass(frozen=True, slots=True)
class Published:
    """What the end of a pipeline has become.

    Attributes:
        run_id: the pipeline's run; None while the store is away.
        registration: what was decided about its best tagger.
    """

    run_id: str | None = None
    registration: Registration | None = None


def publish(home: Home, refs: Mapping[str, Ref], prefect_run: str | None) -> Published:
    """Link the pipeline's run to those of its steps, and register its best tagger.

    Args:
        home: of the experiment.
        refs: its objects, by step name; the report is one of them.
        prefect_run: id of the Prefect flow run.

    Raises:
        StoreError: an object is damaged or gone.
        MlflowException, OSError, SQLAlchemyError: the tracking store is away.
    """
    _complete_variants(home, refs)
    run_id = pipeline_run(home, refs, prefect_run)
    for name, ref in refs.items():
        record_use(home.store, home.experiment.name, name, (ref.kind, ref.digest), pipeline_run=run_id,
                   prefect_run=prefect_run)  # fmt: skip
    opened = {name: home.store.open(ref) for name, ref in refs.items() if ref.kind in ("tagger", "language-model")}
    registration = register_best(
        home,
        home.experiment.data_set,
        {name: artifact for name, artifact in opened.items() if artifact.ref.kind == "tagger"},
        {name: artifact for name, artifact in opened.items() if artifact.ref.kind == "language-model"},
        report=home.store.open(refs["report"]),
    )
    return Published(run_id, registration)


def _complete_variants(home: Home, refs: Mapping[str, Ref]) -> None:
    """Send a report that another experiment has made to the variants of this one, which have no run of it yet."""
    step, report = build_graph(home.experiment)["report"], refs["report"]
    inputs = {role: refs[name] for role, name in step.inputs.items()}
    entry = Entry(home.experiment.name, step, report.key, inputs, str(home.store.root), seeds=home.experiment.seeds)
    known = (
        has_report(home.connection, entry.mlflow_experiment, variant, report.digest)
        for variant in variants_of_report(entry).values()
    )
    if not all(known):
        log_report(home.connection, entry, home.store.open(report))
