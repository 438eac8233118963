"""Ends of pipelines: the run of the pipeline, and which tagger is champion. A log of those that wait, in order.

    tracking/decisions/<time>-<report>.json

An end is written before anything is sent, and removed when its receipt is there. Ends are replayed in the order in
which they were written. The receipt keeps what was decided: a pipeline that builds nothing asks MLflow nothing.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from taglm_core.config.experiment import Experiment
from taglm_core.store.durable import read_json, write_json
from taglm_core.store.records import Ref
from taglm_core.store.store import Store
from tasks.tracking.receipts import Ledger, tracking_folder

PIPELINE_KIND, REPORT = "pipeline", "report"


@dataclass(frozen=True, slots=True)
class PendingEnd:
    """The end of a pipeline that MLflow has not received.

    Attributes:
        uri: the tracking store, without user and password.
        experiment: the experiment; how it was run is not kept.
        refs: its objects, by step name; the report is one of them.
        prefect_run: id of the Prefect flow run.
        begun: whether a process may have made the run.
        time: when the pipeline ended, in seconds since 1970; None where an older version wrote it.
    """

    uri: str
    experiment: Experiment
    refs: Mapping[str, Ref]
    prefect_run: str | None = None
    begun: bool = False
    time: float | None = None

    @property
    def report(self) -> Ref:
        """The comparison that it ended with."""
        return self.refs[REPORT]


def append(store: Store, end: PendingEnd) -> Path:
    """Write an end durably, unless it waits already; return its file."""
    folder = tracking_folder(store) / "decisions"
    text = f"{end.uri} {end.experiment.name} {end.report.digest}"
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    known = sorted(folder.glob(f"*-{name}.json"))
    path = known[0] if known else folder / f"{time.time_ns():020}-{name}.json"
    if not known or end.begun:
        facts = {name: getattr(end, name) for name in ("uri", "prefect_run", "begun", "time")}
        settings = end.experiment.model_dump(mode="json", exclude={"run"})  # which may hold a password
        refs = {name: asdict(ref) for name, ref in end.refs.items()}
        write_json(path, {**facts, "experiment": settings, "refs": refs})
    return path


def waiting(store: Store) -> list[tuple[Path, PendingEnd | None]]:
    """Return the ends that wait, oldest first; None for a file that cannot be read, or that another version wrote."""
    found = []
    for path in sorted((tracking_folder(store) / "decisions").glob("*.json")):
        end = read_end(read_json(path), store)
        if end is not None or path.exists():
            found.append((path, end))
    return found


def is_due(ledger: Ledger, experiment: str, report: Ref) -> bool:
    """Return whether the end of a pipeline is still to be reported, though none waits.

    The run that built its report was killed before its end; or another experiment built it, and this one has no run
    that shows it.
    """
    known = ledger.receipt(PIPELINE_KIND, report.key, experiment)
    if known is not None and known.registration is not None:
        return False
    state = ledger.state(report.kind, report.key)
    built = state is not None and state.spec.experiment == experiment
    return built or ledger.receipt(report.kind, report.key, experiment) is not None


def read_end(data: Any, store: Store) -> PendingEnd | None:
    """Return the end that a file holds; None if another version wrote it."""
    try:
        experiment = Experiment.model_validate({**data["experiment"], "run": {"store": str(store.root)}})
        refs = {name: Ref(**ref) for name, ref in data["refs"].items()}
        return PendingEnd(**{**data, "experiment": experiment, "refs": refs}) if REPORT in refs else None
    except (TypeError, KeyError, AttributeError, ValidationError):
        return None
