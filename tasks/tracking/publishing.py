"""What MLflow is told at the end of a pipeline: its run and the registered tagger. Telling it twice changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from taglm_core.store.records import Ref
from tasks.tracking.home import Home
from tasks.tracking.pipelines import pipeline_run
from tasks.tracking.registry import Registration, register_best


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
    run_id = pipeline_run(home, refs, prefect_run)
    opened = {name: home.store.open(ref) for name, ref in refs.items() if ref.kind in ("tagger", "language-model")}
    registration = register_best(
        home,
        home.experiment.data_set,
        {name: artifact for name, artifact in opened.items() if artifact.ref.kind == "tagger"},
        {name: artifact for name, artifact in opened.items() if artifact.ref.kind == "language-model"},
        report=home.store.open(refs["report"]),
    )
    return Published(run_id, registration)
