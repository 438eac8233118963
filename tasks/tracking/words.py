"""Word of steps that the tracking store has not been told all of; read from the store of objects alone.

There are two kinds. `tracking/<kind>-<key>.json` names an object whose results are untold. A work folder's
`tracking.json` that says RUNNING, and that nobody holds, is of a process that was killed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from taglm_core.store.durable import is_locked
from taglm_core.store.store import Store
from tasks.tracking.claim import Claim
from tasks.tracking.entry import OWN_RUNS, RUNNING, STATE_FILE, Entry, State

Word = tuple[Path, State]


def words(store: Store, uri: str) -> list[Word]:
    """Objects whose results are untold, without those that somebody is at now.

    Oldest first, but what has runs of its own before what adds to these: times do not outlive every copy of a store.

    Args:
        store: the store of objects.
        uri: the tracking store, without user and password.
    """
    found = [
        (path, state) for path, state in _states(store, oldest_first(store.root.glob("tracking/*.json")), uri)
        if store.pointer(state.entry.step.kind, state.entry.key) is not None and not _is_busy(store, state.entry)
    ]  # fmt: skip
    return sorted(found, key=lambda word: word[1].entry.step.kind not in OWN_RUNS)


def orphans(store: Store, uri: str) -> list[Word]:
    """Steps whose process is gone, and that the tracking store takes for running.

    Args:
        store: the store of objects.
        uri: the tracking store, without user and password.
    """
    return [
        (path, state) for path, state in _states(store, sorted(store.root.glob(f"work/*/*/{STATE_FILE}")), uri)
        if state.status == RUNNING and state.entry.step.kind in OWN_RUNS and not is_locked(state.entry.claim)
    ]  # fmt: skip


def drop_stale(store: Store) -> None:
    """Remove word of objects that are not there and that nobody makes."""
    for path in store.root.glob("tracking/*.json"):
        state = State.load(path)
        if state is not None and store.pointer(state.entry.step.kind, state.entry.key) is None:
            drop(store, path, state.entry)


def drop(store: Store, path: Path, entry: Entry) -> None:
    """Remove word of a step, unless somebody is at it now."""
    claim = Claim(_here(store, entry).claim)
    if claim.take():
        if not is_locked(store.lock_file(entry.step.kind, entry.key)):
            path.unlink(missing_ok=True)
        claim.release()


def oldest_first(paths: Iterable[Path]) -> list[Path]:
    """Files by the time of their last change, without those that somebody removes meanwhile."""
    found = {}
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            found[path] = path.stat().st_mtime
    return sorted(found, key=lambda path: found[path])


def _states(store: Store, paths: Iterable[Path], uri: str) -> Iterator[Word]:
    for path in paths:
        state = State.load(path)
        if state is not None and state.uri == uri:
            yield path, replace(state, entry=_here(store, state.entry))


def _here(store: Store, entry: Entry) -> Entry:
    """A step of a store that may have been elsewhere when this was written."""
    return replace(entry, store=str(store.root))


def _is_busy(store: Store, entry: Entry) -> bool:
    """Whether a process tells of a step, or makes its object."""
    return is_locked(entry.claim) or is_locked(store.lock_file(entry.step.kind, entry.key))
