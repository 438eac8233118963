"""What lies in a store that nobody needs, and taking it away so that a kill at any moment leaves a valid store.

Which objects and keys are needed is decided elsewhere (`stages.housekeeping`); here are the leftovers that the store
can judge alone: half-written files, damaged objects of long ago, digests of raw files that are gone, free locks.
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

OLD_DAYS = 30  # damaged objects and unfinished work that nobody has touched for so long go
ASIDE = ".gc-"
_KEY_LOCK = re.compile(rf"(?P<kind>.+)-(?P<key>[0-9a-f]{{{KEY_LENGTH}}})\.lock")
_REASON = ".reason.json"


@dataclass(frozen=True, slots=True)
class Garbage:
    """One thing that can go.

    Attributes:
        kind: of the object; or pointer, work, damaged, temporary, raw, lock, use.
        label: which one, for people.
        reason: why it can go.
        bytes: what is gained.
        time: when it was made or last touched, in seconds since 1970.
        paths: its files and folders, in the order in which they are taken away: pointers before their object.
        locks: lock files that nobody may hold while that is done; they go, too.
    """

    kind: str
    label: str
    reason: str
    bytes: int
    time: float
    paths: tuple[Path, ...]
    locks: tuple[Path, ...] = ()

    @property
    def place(self) -> tuple[Path, ...]:
        """What it is known by: nothing else takes away just this."""
        return self.paths + self.locks


@dataclass(frozen=True, slots=True)
class ActiveBuild:
    """A key whose lock is held: its object is being built now.

    Attributes:
        kind: of the object.
        key: the key.
        work: what is built from what; None where that is not known (yet).
    """

    kind: str
    key: str
    work: Work | None


def active_builds(store: Store) -> list[ActiveBuild]:
    """What is being built in a store at this moment."""
    found = []
    for path in sorted((store.root / "locks").glob("*.lock")):
        name = _KEY_LOCK.fullmatch(path.name)
        if name is not None and is_locked(path):
            found.append(ActiveBuild(name["kind"], name["key"], store.begun(name["kind"], name["key"])))
    return found


def leftovers(store: Store, before: float, now: float) -> Iterator[Garbage]:
    """What can go whatever anybody needs.

    Args:
        store: the store.
        before: what was touched since (seconds since 1970) may be in use.
        now: the time, in the same seconds.
    """
    yield from _temporary(store, before)
    yield from _damaged(store, now - OLD_DAYS * 86400)
    yield from _raw(store)
    for path in sorted((store.root / "locks").glob("*.lock")):
        if _KEY_LOCK.fullmatch(path.name) and not is_locked(path):
            with contextlib.suppress(FileNotFoundError):
                yield Garbage("lock", path.name, "nobody holds it", 0, path.stat().st_mtime, (), (path,))


def take_aside(garbage: Sequence[Garbage]) -> tuple[list[Garbage], list[Path]]:
    """Take things out of the store, where nobody has begun with them. To be called with the store's guard held.

    Files are removed, folders renamed: that is quick, so that builders do not wait.

    Returns:
        What was taken, and the folders that are still to be removed by `remove_aside`.
    """
    taken, aside = [], []
    for one in garbage:
        with contextlib.ExitStack() as held:
            if all(held.enter_context(locked(path, wait=False)) for path in one.locks):
                aside += [kept for path in one.paths if (kept := _take(path)) is not None]
                for lock in one.locks:
                    lock.unlink(missing_ok=True)
                taken.append(one)
    return taken, aside


def remove_aside(folders: Sequence[Path]) -> list[Path]:
    """Remove folders that were taken aside; gives those that cannot be removed (no permission, say)."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    return [folder for folder in folders if folder.exists()]


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; 0 where there is none."""
    return sum(stat[0] for stat in _stats(path))


def touched(path: Path) -> float:
    """When a file or anything in a folder was last written, in seconds since 1970; 0 where there is none."""
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
            mine = path.name.startswith(ASIDE)
            if mine or touched(path) < before:
                reason = "left by a `taglm gc` that was killed" if mine else "half-written file of a process that died"
                yield Garbage("temporary", path.name, reason, size_of(path), touched(path), (path,))


def _damaged(store: Store, before: float) -> Iterator[Garbage]:
    folder = store.root / "damaged"
    for name in sorted({path.name.removesuffix(_REASON) for path in folder.glob("[!.]*")}):
        paths = (folder / name, folder / (name + _REASON))
        said = read_json(paths[1]) or {}
        when = float(said.get("time", touched(paths[0])))
        if when < before:
            reason = f"set aside more than {OLD_DAYS} days ago: {said.get('reason', 'reason not known')}"
            yield Garbage("damaged", name, reason, size_of(paths[0]), when, paths)


def _raw(store: Store) -> Iterator[Garbage]:
    for path in sorted((store.root / "raw").glob("*.json")):
        entry = read_json(path)
        stamp = entry["stamp"] if isinstance(entry, dict) and entry.get("stamp") else [""]
        if stamp != Store.stamp(Path(stamp[0])):
            reason = "digest of a raw file that is gone or has changed"
            yield Garbage("raw", str(stamp[0]), reason, size_of(path), touched(path), (path,))


def _stats(path: Path) -> Iterator[tuple[int, float]]:
    """(bytes, time of the last change) of all files; folders count for their time alone."""
    for each in [path, *path.rglob("*")]:
        with contextlib.suppress(FileNotFoundError):  # somebody is at work there
            stat = each.lstat()
            yield (0 if each.is_dir() else stat.st_size), stat.st_mtime
