"""What MLflow needs of the store. MLflow is imported only where there is one to ask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from taglm_core.config.experiment import Experiment, RunConfig
from taglm_core.stages.needs import Needs
from tasks.environment import quiet_defaults
from tasks.places import without_password
from tasks.tracking.address import is_there, resolve_uri
from tasks.tracking.entry import State
from tasks.tracking.outcome import outcomes


def needs_of(run: RunConfig, experiments: Sequence[Experiment] = (), *, aliases: bool = True) -> Needs:
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
            quiet_defaults()
            from tasks.tracking.aliases import aliased_objects

            named |= aliased_objects(uri)
    return Needs(tuple(experiments), named, _untold(run.store))


def end_orphans(run: RunConfig) -> None:
    """Tell MLflow what was left untold, and end the runs of processes that are gone, before their traces go."""
    if run.tracking and is_there(resolve_uri(run.tracking_uri)):
        quiet_defaults()
        from tasks.tracking.tracker import Tracker

        Tracker(Experiment(run=run)).catch_up()


def has_word(run: RunConfig) -> bool:
    """Whether something that MLflow has not been told waits in the store."""
    if not run.tracking:
        return False
    told = [state.uri for state in _states(run.store) if state is not None]
    told += [outcome.uri for _, outcome in outcomes(run.store)]
    return without_password(resolve_uri(run.tracking_uri)) in told


def _untold(store: Path) -> frozenset[tuple[str, str]]:
    """Keys of objects whose results wait to be told (they were made while the tracking store was away)."""
    steps = {(state.entry.step.kind, state.entry.key) for state in _states(store) if state is not None}
    ends = {(ref.kind, ref.key) for _, outcome in outcomes(store) for ref in outcome.refs.values()}
    return frozenset(steps | ends)


def _states(store: Path) -> Iterator[State | None]:
    return map(State.load, store.glob("tracking/*.json"))
