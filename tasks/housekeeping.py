"""What MLflow needs of the store. MLflow is imported only where there is one to ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from taglm_core.config.experiment import Experiment, RunConfig
from taglm_core.gc.collect import Marked
from taglm_core.gc.reachability import GcRoots
from taglm_core.store.records import Ref
from taglm_core.store.store import Store
from taglm_core.store.uses import record_use, uses_of
from tasks.preflight.tracking_store import require_mlflow_settings
from tasks.tracking.address import is_there, resolve_uri
from tasks.tracking.entry import State
from tasks.tracking.outcome import Outcome, outcomes
from tasks.tracking.words import orphans, words
from tasks.urls import without_password


def needs_of(run: RunConfig, experiments: Sequence[Experiment] = (), *, aliases: bool = True) -> GcRoots:
    """What is needed of a store: by experiments, by the registry's aliases, by results that were not told yet.

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
    return GcRoots(tuple(experiments), named, _untold(run.store))


def end_orphans(run: RunConfig) -> None:
    """Before their traces go, tell MLflow what was left untold, and end the runs of processes that are gone."""
    if run.tracking and is_there(resolve_uri(run.tracking_uri)):
        tell_missed(run)


def tell_missed(run: RunConfig) -> None:
    """Tell MLflow what it has missed; a database file that nobody has made yet is made."""
    require_mlflow_settings()
    from tasks.tracking.tracker import Tracker

    Tracker(Experiment(run=run)).catch_up()


def has_word(run: RunConfig) -> bool:
    """Whether something that MLflow has not been told waits in the store."""
    if not run.tracking:
        return False
    store, address = Store(run.store), _address(run)
    ends = (outcome.uri for _, outcome in outcomes(store.root) if outcome is not None)
    return address in ends or bool(words(store, address) or orphans(store, address))


def record_uses(experiment: Experiment, refs: Mapping[str, Ref]) -> None:
    """Record that an experiment uses these objects, by step name."""
    store = Store(experiment.run.store)
    for name, ref in refs.items():
        record_use(store, experiment.name, name, (ref.kind, ref.digest))


def leave_word(experiment: Experiment, refs: Mapping[str, Ref]) -> None:
    """Leave word of the end of a pipeline that MLflow has not heard of.

    Either the run that made its report was killed before it could, or another experiment made it, so that this one has
    no run yet.

    Args:
        experiment: the experiment.
        refs: all its objects, by step name.
    """
    if experiment.run.tracking:
        outcome, store = Outcome(_address(experiment.run), experiment, refs), Store(experiment.run.store)
        owed = outcome.was_begun(store.root) or _is_found(store, experiment.name, refs["report"])
        if owed and not outcome.path(store.root).exists():
            outcome.save(store.root)


def _is_found(store: Store, experiment: str, report: Ref) -> bool:
    """Whether a report was made by another experiment, and this one has no run in MLflow that says that it uses it."""
    pointer = store.pointer(report.kind, report.key)
    if pointer is None or pointer.label.partition("/")[0] == experiment:
        return False
    uses = uses_of(store, report.kind, report.digest)
    return not any(use.pipeline_run for use in uses if use.experiment == experiment)


def spare_untold(run: RunConfig, found: Marked) -> Marked:
    """What can go without the work folders of runs that MLflow takes for running: only these know how they ended."""
    untold = {path.parent for path, _ in orphans(Store(run.store), _address(run))} if run.tracking else set()
    spared = [one for one in found.garbage if not untold.isdisjoint(one.paths)]
    kept = [f"work of {one.label}: MLflow has not been told that it ended" for one in spared]
    garbage = tuple(one for one in found.garbage if one not in spared)
    return replace(found, garbage=garbage, kept=(*found.kept, *kept))


def _address(run: RunConfig) -> str:
    return without_password(resolve_uri(run.tracking_uri))


def _untold(store: Path) -> frozenset[tuple[str, str]]:
    """Keys of objects whose results wait to be told (they were made while the tracking store was away)."""
    states = map(State.load, store.glob("tracking/*.json"))
    steps = {(state.entry.step.kind, state.entry.key) for state in states if state is not None}
    ends = (outcome for _, outcome in outcomes(store) if outcome is not None)
    return frozenset(steps | {(ref.kind, ref.key) for outcome in ends for ref in outcome.refs.values()})
