"""Leftovers of a store, active builds, and crash-safe removal.

`gc/reachability.py` decides which objects and keys are reachable. This module finds leftovers that need no such
decision: half-written files, old damaged objects, digests of raw files that are gone, and free locks.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from taglm_core.store.durable import is_locked, locked, read_json
from taglm_core.store.records import KEY_LENGTH
from taglm_core.store.store import Store, Work

OLD_DAYS = 30  # damaged objects and unfinished work are garbage when untouched for this long
ASIDE = ".gc-"
_KEY_LOCK = re.compile(rf"(?P<kind>.+)-(?P<key>[0-9a-f]{{{KEY_LENGTH}}})\.lock")
_REASON = ".reason.json"


@dataclass(frozen=True, slots=True)
class Garbage:
    """An item that can be removed.

    Attributes:
        kind: kind of the object, or pointer, work, damaged, temporary, raw, lock, use.
        label: name of the item for people.
        reason: why the item can be removed.
        bytes: size on disk.
        time: time of creation or last change, in seconds since 1970.
        paths: files and folders in the order of removal, pointers before their object.
        locks: lock files that must be free during the removal and are removed too.
    """

    kind: str
    label: str
    reason: str
    bytes: int
    time: float
    paths: tuple[Path, ...]
    locks: tuple[Path, ...] = ()

    @property
    def identity(self) -> tuple[Path, ...]:
        """Return the files that identify the item; two items never share all of them."""
        return self.paths + self.locks


@dataclass(frozen=True, slots=True)
class ActiveBuild:
    """A build in progress: a process holds the lock of its key.

    Attributes:
        kind: kind of the object.
        key: key of the object.
        work: record of the build; None if the process has not written one (yet).
    """

    kind: str
    key: str
    work: Work | None


def active_builds(store: Store) -> list[ActiveBuild]:
    """Return the builds in progress in a store."""
    found = []
    for path in sorted((store.root / "locks").glob("*.lock")):
        name = _KEY_LOCK.fullmatch(path.name)
        if name is not None and is_locked(path):
            found.append(ActiveBuild(name["kind"], name["key"], store.begun(name["kind"], name["key"])))
    return found


def leftovers(store: Store, before: float, now: float) -> Iterator[Garbage]:
    """Yield garbage that does not depend on reachability.

    Args:
        store: the store.
        before: seconds since 1970; files changed later may be in use and are left out.
        now: current time in seconds since 1970.
    """
    yield from _temporary(store, before)
    yield from _damaged(store, now - OLD_DAYS * 86400)
    yield from _raw(store)
    for path in sorted((store.root / "locks").glob("*.lock")):
        if _KEY_LOCK.fullmatch(path.name) and not is_locked(path):
            with contextlib.suppress(FileNotFoundError):
                yield Garbage("lock", path.name, "nobody holds it", 0, path.stat().st_mtime, (), (path,))


def take_aside(garbage: Sequence[Garbage]) -> tuple[list[Garbage], list[Path]]:
    """Take items out of the store unless their locks are held. The caller holds the store's guard.

    Files are removed and folders are only renamed, so that builders wait for a moment alone.

    Returns:
        The items that were taken, and the renamed folders that `remove_aside` has to remove.
    """
    taken, aside = [], []
    for item in garbage:
        with contextlib.ExitStack() as held:
            if all(held.enter_context(locked(path, wait=False)) for path in item.locks):
                aside += [kept for path in item.paths if (kept := _take(path)) is not None]
                for lock in item.locks:
                    lock.unlink(missing_ok=True)
                taken.append(item)
    return taken, aside


def remove_aside(folders: Sequence[Path]) -> list[Path]:
    """Remove folders that were taken aside and return those that could not be removed (no permission, say)."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    return [folder for folder in folders if folder.exists()]


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files below a folder; 0 if the path does not exist."""
    return sum(stat[0] for stat in _stats(path))


def last_change(path: Path) -> float:
    """Return the time of the last change of a file or below a folder, in seconds since 1970; 0 if there is none."""
    return max((stat[1] for stat in _stats(path)), default=0.0)


def _take(path: Path) -> Path | None:
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return None
    if path.name.startswith(ASIDE):
        return path
    return path.rename(path.with_name(f"{ASIDE}{path.name}-{time.time_ns()}"))


def _temporary(store: Store, before: float) -> Iterator[Garbage]:
    for pattern in ("*/.*", "*/*/.*", "uses/*/*/.*"):  # as `write_json` and `take_aside` name them, in any folder
        for path in sorted(store.root.glob(pattern)):
            from_gc = path.name.startswith(ASIDE)
            if from_gc or last_change(path) < before:
                reason = (
                    "left by a `taglm gc` that was killed" if from_gc else "half-written file of a process that died"
                )
                yield Garbage("temporary", path.name, reason, size_of(path), last_change(path), (path,))


def _damaged(store: Store, before: float) -> Iterator[Garbage]:
    folder = store.root / "damaged"
    for name in sorted({path.name.removesuffix(_REASON) for path in folder.glob("[!.]*")}):
        paths = (folder / name, folder / (name + _REASON))
        record = read_json(paths[1]) or {}
        when = float(record.get("time", last_change(paths[0])))
        if when < before:
            reason = f"set aside more than {OLD_DAYS} days ago: {record.get('reason', 'reason not known')}"
            yield Garbage("damaged", name, reason, size_of(paths[0]), when, paths)


def _raw(store: Store) -> Iterator[Garbage]:
    for path in sorted((store.root / "raw").glob("*.json")):
        entry = read_json(path)
        stamp = entry["stamp"] if isinstance(entry, dict) and entry.get("stamp") else [""]
        if stamp != Store.stamp(Path(stamp[0])):
            reason = "digest of a raw file that is gone or has changed"
            yield Garbage("raw", str(stamp[0]), reason, size_of(path), last_change(path), (path,))


def _stats(path: Path) -> Iterator[tuple[int, float]]:
    """Yield (bytes, time of the last change) of a path and all paths below it; a folder has 0 bytes."""
    for each in [path, *path.rglob("*")]:
        with contextlib.suppress(FileNotFoundError):  # another process removed it meanwhile
            stat = each.lstat()
            yield (0 if each.is_dir() else stat.st_size), stat.st_mtime
