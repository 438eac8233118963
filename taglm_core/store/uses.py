"""Uses of objects by experiments, one small file each.

    uses/<kind>/<content digest>/<digest of experiment and step>.json

Objects are immutable and experiments share them, so that a manifest names only the experiment that first made one.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from taglm_core.store.durable import read_json, write_json
from taglm_core.store.records import ObjectId
from taglm_core.store.store import Store

USES = "uses"


@dataclass(frozen=True, slots=True)
class Use:
    """One experiment made an object, or found it in the store and used it.

    Attributes:
        experiment: name of the experiment.
        step: name of its step.
        kind: kind of the object.
        digest: content digest of the object.
        time: time of the first use, in seconds since 1970.
        mlflow_run: id of the MLflow run of the step, if the experiment had one.
        pipeline_run: id of the MLflow run of the whole pipeline.
        prefect_run: id of the Prefect flow run.
    """

    experiment: str
    step: str
    kind: str
    digest: str
    time: float
    mlflow_run: str | None = None
    pipeline_run: str | None = None
    prefect_run: str | None = None

    @property
    def label(self) -> str:
        """Return `experiment/step`, the form of labels in manifests."""
        return f"{self.experiment}/{self.step}"


def record_use(
    store: Store,
    experiment: str,
    step: str,
    object_id: ObjectId,
    *,
    mlflow_run: str | None = None,
    pipeline_run: str | None = None,
    prefect_run: str | None = None,
    anew: bool = False,
) -> None:
    """Record that an experiment uses an object. Run ids of the first run stay; later runs add missing ones.

    Args:
        store: store of the object.
        experiment: name of the experiment.
        step: name of the step.
        object_id: the object.
        mlflow_run: id of the MLflow run of the step.
        pipeline_run: id of the MLflow run of the whole pipeline.
        prefect_run: id of the Prefect flow run.
        anew: whether the run built the object; its run ids then replace earlier ones.
    """
    path = _folder(store, *object_id) / f"{hashlib.sha256(f'{experiment}/{step}'.encode()).hexdigest()[:16]}.json"
    known = _use_from(read_json(path))
    old = known or Use(experiment, step, *object_id, round(time.time(), 3))
    use = replace(
        old,
        mlflow_run=_first(old.mlflow_run, mlflow_run, anew),
        pipeline_run=_first(old.pipeline_run, pipeline_run, anew),
        prefect_run=_first(old.prefect_run, prefect_run, anew),
    )
    if use != known:
        write_json(path, asdict(use))


def uses_of(store: Store, kind: str, digest: str) -> tuple[Use, ...]:
    """Return the uses of an object, oldest first."""
    found = (_use_from(read_json(path)) for path in _folder(store, kind, digest).glob("*.json"))
    return tuple(sorted((use for use in found if use is not None), key=lambda use: (use.time, use.label)))


def _folder(store: Store, kind: str, digest: str) -> Path:
    return store.root / USES / kind / digest


def _first(old: str | None, new: str | None, anew: bool) -> str | None:
    return (new or old) if anew else (old or new)


def _use_from(data: Any) -> Use | None:
    try:
        return Use(**data)
    except TypeError:
        return None  # half a file, or another version wrote it
