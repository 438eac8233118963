"""Mark what can be removed from a store, and sweep it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from taglm_core.gc.garbage import OLD_DAYS, Garbage, last_change, leftovers, remove_aside, size_of, take_aside
from taglm_core.gc.reachability import GcRoots, Reachability, why_outdated
from taglm_core.pipeline.kinds import order_of
from taglm_core.store.durable import read_json
from taglm_core.store.records import KeyId
from taglm_core.store.resources import free_disk
from taglm_core.store.store import Pointer, Store
from taglm_core.store.uses import USES

GRACE_SECONDS = 3600.0  # younger files may be in the plan of a run that has not begun to read them


@dataclass(frozen=True, slots=True)
class Marked:
    """Result of marking.

    Attributes:
        garbage: what can be removed, dependants first.
        kept: lines for people on what looks like garbage and stays, with the reason.
    """

    garbage: tuple[Garbage, ...]
    kept: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """Return the size of all garbage."""
        return sum(item.bytes for item in self.garbage)


@dataclass(frozen=True, slots=True)
class Swept:
    """Result of sweeping.

    Attributes:
        removed: what was removed.
        in_use: what stayed because it is in use or reachable by now.
        failed: folders that could not be removed.
    """

    removed: tuple[Garbage, ...]
    in_use: tuple[Garbage, ...]
    failed: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes of a store by purpose, and bytes free on its disk."""

    objects: int
    work: int
    damaged: int
    free: int

    @property
    def total(self) -> int:
        """Return the bytes of the whole store."""
        return self.objects + self.work + self.damaged


def mark(store: Store, roots: GcRoots | None = None, *, grace: float = GRACE_SECONDS) -> Marked:
    """Find garbage. Nothing but the digest cache of raw files is written.

    Args:
        store: the store.
        roots: roots beyond the keys of the store.
        grace: seconds; younger files stay.

    Raises:
        InputError: a raw input file of an experiment is missing, so that its keys are unknown.
    """
    return _Marking(store, roots or GcRoots(), grace, time.time()).result()


def sweep(store: Store, marked: Marked, roots: GcRoots | None = None, *, grace: float = GRACE_SECONDS) -> Swept:
    """Remove marked garbage that is still garbage. A kill at any moment leaves a valid store.

    Args:
        store: the store.
        marked: what may be removed.
        roots: as for `mark`, at this moment.
        grace: as for `mark`.
    """
    with store.guard(collecting=True):  # no build starts to read and none publishes until the garbage is aside
        still = {item.identity for item in mark(store, roots, grace=grace).garbage}
        taken, aside = take_aside([item for item in marked.garbage if item.identity in still])
    failed = remove_aside(aside)
    gone = {item.identity for item in taken}
    in_use = [item for item in marked.garbage if item.identity not in gone and any(p.exists() for p in item.paths)]
    return Swept(tuple(taken), tuple(in_use), tuple(failed))


def usage(store: Store) -> Usage:
    """Return the bytes that a store takes and the bytes left on its disk."""
    objects, work, damaged = (size_of(store.root / part) for part in ("objects", "work", "damaged"))
    return Usage(objects, work, damaged, free_disk(store.root))


class _Marking:
    def __init__(self, store: Store, roots: GcRoots, grace: float, now: float) -> None:
        self._store, self._roots, self._now, self._before = store, roots, now, now - grace
        self._reach = Reachability(store, roots, self._before)
        self._kept: list[str] = []

    def result(self) -> Marked:
        reach, garbage = self._reach, [*self._work(), *leftovers(self._store, self._before, self._now)]
        for build in reach.builds:
            if build.work is not None:
                self._kept.append(f"inputs of {build.work.label}: it is being built now")
        if reach.undecided:
            self._kept.append(
                f"older objects of {len(reach.undecided)} steps whose inputs are not built yet; a run of the "
                "experiments decides which of them are used"
            )
        for digest, user in self._roots.objects.items():
            if any(digest == present for _, present in reach.present):
                self._kept.append(f"{digest[:12]}: {user}")
        if any(build.work is None for build in reach.builds):
            self._kept.append("all objects and keys: a build has begun and its inputs are not known yet")
        else:
            objects = sorted(self._objects(), key=lambda item: (-order_of(item.kind), item.label))
            garbage = [*objects, *self._pointers(), *self._unreadable(), *garbage]
        garbage += self._uses({path for item in garbage for path in item.paths})
        return Marked(tuple(garbage), tuple(self._kept))

    def _objects(self) -> Iterator[Garbage]:
        """Yield unreachable objects with the pointers that name them."""
        reach, store = self._reach, self._store
        for kind, digest in reach.present - reach.objects:
            folder = store.root / "objects" / kind / digest
            manifest = folder / "manifest.json"
            key_ids = [key_id for key_id in reach.pointers_of.get((kind, digest), ()) if key_id not in reach.keys]
            pointers = sorted((reach.pointers[key_id] for key_id in key_ids), key=lambda pointer: -pointer.time)
            when = last_change(manifest if manifest.exists() else folder)
            if when < self._before:
                label = pointers[0].label if pointers else _label(manifest)
                yield Garbage(
                    kind=kind,
                    label=f"{label} {digest[:12]}",
                    reason=self._reason(pointers[0]) if pointers else "no key leads to it",
                    bytes=size_of(folder),
                    time=when,
                    paths=(*(_file(store, key_id) for key_id in key_ids), folder),
                    locks=tuple(store.lock_file(*key_id) for key_id in key_ids),
                )

    def _pointers(self) -> Iterator[Garbage]:
        """Yield pointers that no plan asks for and whose object stays or is gone already."""
        reach = self._reach
        for key_id, pointer in sorted(reach.pointers.items(), key=lambda item: (-order_of(item[0][0]), item[0])):
            target = (key_id[0], pointer.digest)
            gone = "; its object is gone" if target not in reach.present else ""
            if key_id not in reach.keys and (gone or target in reach.objects):
                label, reason = f"{pointer.label} {key_id[1][:12]}", f"{self._reason(pointer)}{gone}"
                yield self._pointer(key_id, label, reason, pointer.time)

    def _unreadable(self) -> Iterator[Garbage]:
        for path in sorted((self._store.root / "keys").glob("*/[!.]*.json")):
            key_id, when = (path.parent.name, path.stem), last_change(path)
            if key_id not in self._reach.pointers and when < self._before:
                yield self._pointer(key_id, path.stem[:12], "cannot be read: cut off, or of another version", when)

    def _pointer(self, key_id: KeyId, label: str, reason: str, when: float) -> Garbage:
        file = _file(self._store, key_id)
        return Garbage("pointer", label, reason, size_of(file), when, (file,), (self._store.lock_file(*key_id),))

    def _uses(self, removed: set[Path]) -> Iterator[Garbage]:
        """Yield records of use whose object and keys are all gone or removed now."""
        store, reach = self._store, self._reach
        for folder in sorted((store.root / USES).glob("[!.]*/[!.]*")):
            object_id, when = (folder.parent.name, folder.name), last_change(folder)
            paths = [store.root / "objects" / folder.parent.name / folder.name] if object_id in reach.present else []
            paths += [_file(store, key_id) for key_id in reach.pointers_of.get(object_id, ())]
            if when < self._before and removed.issuperset(paths):
                label = f"{folder.parent.name} {folder.name[:12]}"
                yield Garbage("use", label, "record of an object that is gone", size_of(folder), when, (folder,))

    def _reason(self, pointer: Pointer) -> str:
        if self._roots.experiments:
            return why_outdated(pointer.recipe) or "no experiment given uses it"
        return self._reach.why_unreachable(pointer.recipe) or ""

    def _work(self) -> Iterator[Garbage]:
        """Yield finished and abandoned work."""
        held = {(build.kind, build.key) for build in self._reach.builds}
        for folder in sorted((self._store.root / "work").glob("[!.]*/[!.]*")):
            key_id, when = (folder.parent.name, folder.name), last_change(folder)
            if key_id in held or when >= self._before:
                continue
            begun = self._store.begun(*key_id)
            label = f"{key_id[0] if begun is None else begun.label} {key_id[1][:12]}"
            reason = self._why_work_goes(key_id, folder, when)
            if reason is None:
                self._kept.append(f"work of {label}: unfinished; the next run goes on from it")
            else:
                yield Garbage(
                    "work", label, reason, size_of(folder), when, (folder,), (self._store.lock_file(*key_id),)
                )

    def _why_work_goes(self, key_id: KeyId, folder: Path, when: float) -> str | None:
        reach, begun = self._reach, self._store.begun(*key_id)
        pointer = reach.pointers.get(key_id)
        made = pointer is not None and self._store.damage(key_id[0], pointer.digest) is None
        if made and not (folder / "out").exists():
            return "finished"
        if key_id in reach.requested:
            return None
        if begun is not None and (why := reach.why_unreachable(begun.recipe)) is not None:
            return f"unfinished; {why}"
        if self._roots.experiments and not (begun is not None and reach.may_be_requested(begun.label)):
            return "unfinished; no experiment given goes on with it"
        return f"unfinished; untouched for {OLD_DAYS} days" if when < self._now - OLD_DAYS * 86400 else None


def _label(manifest: Path) -> str:
    found = read_json(manifest)
    return str(found.get("label", "")) if isinstance(found, dict) else "(no readable manifest)"


def _file(store: Store, key_id: KeyId) -> Path:
    return store.root / "keys" / key_id[0] / f"{key_id[1]}.json"
