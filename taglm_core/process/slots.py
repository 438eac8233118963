"""Slots: limit on the processes that compute side by side on this machine, over all runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from taglm_core.process.children import CHILDREN
from taglm_core.store.durable import one_locked


def slot_lock(locks: Path, number: int) -> Path:
    """Return the lock file of a slot."""
    return locks / f"slot-{number}.lock"


@contextlib.contextmanager
def slot(locks: Path, count: int) -> Iterator[None]:
    """Hold one of `count` slots; wait until one is free.

    Slots are file locks, so that they also limit concurrent pipelines, and a slot is free when its holder dies.

    Args:
        locks: folder of the store's locks.
        count: number of slots.
    """
    files = [slot_lock(locks, number) for number in range(count)]
    with one_locked(files, lambda: CHILDREN.stop_request.check()):
        yield
