"""What MLflow needs of the store. MLflow is imported only where there is one to ask."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from taglm_core.config.experiment import Experiment, RunConfig
from taglm_core.gc.collect import Marked
from taglm_core.gc.reachability import GcRoots
from taglm_core.pipeline.kinds import Reporting
from taglm_core.store.records import Ref
from taglm_core.store.store import Store
from taglm_core.store.uses import record_use, uses_of
from tasks.preflight.tracking_store import require_mlflow_settings
from tasks.tracking.address import is_there, resolve_uri
from tasks.tracking.compatibility import adopt_old_files
from tasks.tracking.decisions import PendingEnd, append, is_due, waiting
from tasks.tracking.receipts import Ledger, all_pending
from tasks.tracking.spec import RUNNING
from tasks.urls import without_password


def gc_roots(run: RunConfig, experiments: Sequence[Experiment] = (), *, aliases: bool = True) -> GcRoots:
    """Return what is needed of a store: by experiments, by the registry's aliases, by results that wait for MLflow.

    Args:
        run: where the store and the tracking store are.
        experiments: those whose keys count; none for all keys.
        aliases: ask the registry.

    Raises:
        TrackingAway: the tracking store does not answer.
    """
    uris = dict.fromkeys(resolve_uri(each.tracking_uri) for each in (run, *(one.run for one in experiments)))
    named: dict[str, str] = {}
    for uri in uris:
        if aliases and is_there(uri):
            require_mlflow_settings()
            from tasks.tracking.aliases import aliased_objects

            named |= aliased_objects(uri)
    return GcRoots(tuple(experiments), named, _unreported(Store(run.store)))


def end_orphans(run: RunConfig) -> None:
    """Send what waits, and end the runs of processes that are gone, before their traces go."""
    if run.tracking and is_there(resolve_uri(run.tracking_uri)):
        sync(run)
        _ledger(run).forget_gone()


def sync(run: RunConfig) -> None:
    """Send MLflow what it has missed; a database file that nobody has made yet is made."""
    require_mlflow_settings()
    from tasks.tracking.tracker import Tracker

    Tracker(Experiment(run=run)).sync()


def has_pending(run: RunConfig) -> bool:
    """Return whether something that MLflow has not received waits in the store."""
    if not run.tracking:
        return False
    ledger = _ledger(run)
    adopt_old_files(ledger.store)
    ends = (end for _, end in waiting(ledger.store) if end is not None)
    return bool(ledger.pending()) or any(end.uri == ledger.address for end in ends)


def record_uses(experiment: Experiment, refs: Mapping[str, Ref]) -> None:
    """Record that an experiment uses these objects, by step name."""
    store = Store(experiment.run.store)
    for name, ref in refs.items():
        record_use(store, experiment.name, name, (ref.kind, ref.digest))


def append_due_end(experiment: Experiment, refs: Mapping[str, Ref]) -> None:
    """Write down the end of a pipeline that MLflow has not received.

    Either the run that made its report was killed before it could, or another experiment made it, so that this one has
    no run yet.

    Args:
        experiment: the experiment.
        refs: all its objects, by step name.
    """
    if experiment.run.tracking:
        ledger, report = _ledger(experiment.run), refs["report"]
        if is_due(ledger, experiment.name, report) or _is_found(ledger, experiment.name, report):
            append(ledger.store, PendingEnd(ledger.address, experiment, refs, time=time.time()))


def _is_found(ledger: Ledger, experiment: str, report: Ref) -> bool:
    """Return whether a report was made by another experiment, and no run in MLflow says that this one uses it."""
    pointer = ledger.store.pointer(report.kind, report.key)
    if pointer is None or pointer.label.partition("/")[0] == experiment:
        return False
    uses = uses_of(ledger.store, report.kind, report.digest)
    return not any(use.pipeline_run for use in uses if use.experiment == experiment)


def spare_unreported(run: RunConfig, found: Marked) -> Marked:
    """Return what can go without the work folders of runs that MLflow takes for running: they know how these ended."""
    store = Store(run.store)
    states = _ledger(run).pending() if run.tracking else []
    work = {store.root / "work" / Path(*state.key) for state in states
            if state.spec.reporting is Reporting.OWN_RUN and state.status == RUNNING}  # fmt: skip
    spared = [one for one in found.garbage if not work.isdisjoint(one.paths)]
    kept = [f"work of {one.label}: MLflow has not received how it ended" for one in spared]
    garbage = tuple(one for one in found.garbage if one not in spared)
    return replace(found, garbage=garbage, kept=(*found.kept, *kept))


def _ledger(run: RunConfig) -> Ledger:
    return Ledger(Store(run.store), without_password(resolve_uri(run.tracking_uri)))


def _unreported(store: Store) -> frozenset[tuple[str, str]]:
    """Return the keys of objects that MLflow has not received, whatever tracking store it is."""
    adopt_old_files(store)
    ends = (end for _, end in waiting(store) if end is not None)
    return frozenset(state.key for state in all_pending(store)) | {
        (ref.kind, ref.key) for end in ends for ref in end.refs.values()
    }
