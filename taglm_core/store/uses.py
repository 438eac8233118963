"""Which experiments made or used an object: a small file for each of them.

    uses/<kind>/<content digest>/<digest of experiment and step>.json

Objects are immutable and two experiments may share one, so its manifest names the first maker alone.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from taglm_core.store.durable import read_json, write_json
from taglm_core.store.store import Store

USES = "uses"


@dataclass(frozen=True, slots=True)
class Use:
    """That an experiment made an object, or found it in the store and used it.

    Attributes:
        experiment: its name.
        step: its step.
        kind: of the object.
        digest: content digest of the object.
        time: of its first use, in seconds since 1970.
        mlflow_run: id of the MLflow run of the step, if this experiment had one.
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
        """`experiment/step`, as manifests have it."""
        return f"{self.experiment}/{self.step}"


def record_use(
    store: Store,
    experiment: str,
    step: str,
    place: tuple[str, str],
    *,
    mlflow_run: str | None = None,
    pipeline_run: str | None = None,
    prefect_run: str | None = None,
    anew: bool = False,
) -> None:
    """Record that an experiment uses an object. Its first run is kept; later ones add what that did not know.

    Args:
        store: where the object is.
        experiment: name of the experiment.
        step: name of the step whose object it is.
        place: kind and content digest of the object.
        mlflow_run: id of the MLflow run of the step.
        pipeline_run: id of the MLflow run of the whole pipeline.
        prefect_run: id of the Prefect flow run.
        anew: whether the run has made the object: its runs replace those of an earlier one.
    """
    path = _folder(store, *place) / f"{hashlib.sha256(f'{experiment}/{step}'.encode()).hexdigest()[:16]}.json"
    known = _use_from(read_json(path))
    old = known or Use(experiment, step, *place, round(time.time(), 3))
    use = replace(
        old,
        mlflow_run=_first(old.mlflow_run, mlflow_run, anew),
        pipeline_run=_first(old.pipeline_run, pipeline_run, anew),
        prefect_run=_first(old.prefect_run, prefect_run, anew),
    )
    if use != known:
        write_json(path, asdict(use))


def uses_of(store: Store, kind: str, digest: str) -> tuple[Use, ...]:
    """The uses of an object, oldest first."""
    return tuple(sorted(_read(_folder(store, kind, digest).glob("*.json")), key=lambda use: (use.time, use.label)))


def _folder(store: Store, kind: str, digest: str) -> Path:
    return store.root / USES / kind / digest


def _first(old: str | None, new: str | None, anew: bool) -> str | None:
    return (new or old) if anew else (old or new)


def _read(paths: Iterable[Path]) -> list[Use]:
    found = (_use_from(read_json(path)) for path in paths)
    return [use for use in found if use is not None]


def _use_from(data: Any) -> Use | None:
    try:
        return Use(**data)
    except TypeError:
        return None  # half of a file, or another version's
