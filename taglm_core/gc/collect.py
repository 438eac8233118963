"""What in a store can go, and removing it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from taglm_core.gc.garbage import OLD_DAYS, Garbage, leftovers, remove_aside, size_of, take_aside, touched
from taglm_core.gc.reachability import GcRoots, Place, Reachability, why_old
from taglm_core.pipeline.kinds import order_of
from taglm_core.store.durable import read_json
from taglm_core.store.resources import free_disk
from taglm_core.store.store import Pointer, Store
from taglm_core.store.uses import USES

GRACE_SECONDS = 3600.0  # what is younger may be about to be used by a run that has planned already


@dataclass(frozen=True, slots=True)
class Marked:
    """What can go, dependants first; and in words what looks like it and stays, and why."""

    garbage: tuple[Garbage, ...]
    kept: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """What is gained."""
        return sum(one.bytes for one in self.garbage)


@dataclass(frozen=True, slots=True)
class Swept:
    """What became of it.

    Attributes:
        removed: what is gone.
        left: what somebody has begun to use meanwhile.
        stuck: folders that could not be removed.
    """

    removed: tuple[Garbage, ...]
    left: tuple[Garbage, ...]
    stuck: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes of a store by what they are for, and bytes free on its disk."""

    objects: int
    work: int
    damaged: int
    free: int

    @property
    def total(self) -> int:
        """Of the store."""
        return self.objects + self.work + self.damaged


def mark(store: Store, needs: GcRoots | None = None, *, grace: float = GRACE_SECONDS) -> Marked:
    """Find what nobody needs. Changes nothing but the stat cache of raw files.

    Args:
        store: the store.
        needs: what is needed beyond what the store's keys say.
        grace: seconds; what is younger stays.

    Raises:
        InputError: a raw input file of a given experiment is not there, so that its keys are unknown.
    """
    return _Marking(store, needs or GcRoots(), grace, time.time()).result()


def sweep(store: Store, shown: Marked, needs: GcRoots | None = None, *, grace: float = GRACE_SECONDS) -> Swept:
    """Remove what was found, as far as nobody needs it now. Killed at any moment it leaves a valid store.

    Args:
        store: the store.
        shown: what may be removed.
        needs: as for `mark`, at this moment.
        grace: as for `mark`.
    """
    with store.guard(collecting=True):  # between looking and taking nobody begins to read, and nobody publishes
        still = {one.place for one in mark(store, needs, grace=grace).garbage}
        taken, aside = take_aside([one for one in shown.garbage if one.place in still])
    stuck = remove_aside(aside)
    gone = {one.place for one in taken}
    left = [one for one in shown.garbage if one.place not in gone and any(path.exists() for path in one.paths)]
    return Swept(tuple(taken), tuple(left), tuple(stuck))


def usage(store: Store) -> Usage:
    """How much room a store takes, and how much is left."""
    objects, work, damaged = (size_of(store.root / part) for part in ("objects", "work", "damaged"))
    return Usage(objects, work, damaged, free_disk(store.root))


class _Marking:
    def __init__(self, store: Store, needs: GcRoots, grace: float, now: float) -> None:
        self._store, self._needs, self._now, self._before = store, needs, now, now - grace
        self._needed = Reachability(store, needs, self._before)
        self._kept: list[str] = []

    def result(self) -> Marked:
        """Everything that can go, unless it is unknown what a running job reads."""
        needed, garbage = self._needed, [*self._work(), *leftovers(self._store, self._before, self._now)]
        for job in needed.jobs:
            if job.work is not None:
                self._kept.append(f"what {job.work.label} reads: it is being made now")
        if needed.unsettled:
            self._kept.append(
                f"older objects of {len(needed.unsettled)} steps that wait for others to be made; after a run of the "
                "experiments it is known which of them they use"
            )
        for digest, why in self._needs.objects.items():
            if any(digest == there for _, there in needed.there):
                self._kept.append(f"{digest[:12]}: {why}")
        if any(job.work is None for job in needed.jobs):
            self._kept.append("all objects and keys: a job has begun of which it is not known yet what it reads")
        else:
            objects = sorted(self._objects(), key=lambda one: (-order_of(one.kind), one.label))
            garbage = [*objects, *self._pointers(), *self._unreadable(), *garbage]
        garbage += self._uses({path for one in garbage for path in one.paths})
        return Marked(tuple(garbage), tuple(self._kept))

    def _objects(self) -> Iterator[Garbage]:
        """Objects with the pointers that name them."""
        needed, store = self._needed, self._store
        for kind, digest in needed.there - needed.objects:
            folder = store.root / "objects" / kind / digest
            manifest = folder / "manifest.json"
            names = [name for name in needed.named.get((kind, digest), ()) if name not in needed.keys]
            pointers = sorted((needed.pointers[name] for name in names), key=lambda pointer: -pointer.time)
            when = touched(manifest if manifest.exists() else folder)
            if when < self._before:
                label = pointers[0].label if pointers else _label(manifest)
                yield Garbage(
                    kind=kind,
                    label=f"{label} {digest[:12]}",
                    reason=self._reason(pointers[0]) if pointers else "no key leads to it",
                    bytes=size_of(folder),
                    time=when,
                    paths=(*(_file(store, name) for name in names), folder),
                    locks=tuple(store.lock_file(*name) for name in names),
                )

    def _pointers(self) -> Iterator[Garbage]:
        """Pointers whose object stays, or is gone already."""
        needed = self._needed
        for place, pointer in sorted(needed.pointers.items(), key=lambda item: (-order_of(item[0][0]), item[0])):
            target = (place[0], pointer.digest)
            gone = "; its object is gone" if target not in needed.there else ""
            if place not in needed.keys and (gone or target in needed.objects):
                label, reason = f"{pointer.label} {place[1][:12]}", f"{self._reason(pointer)}{gone}"
                yield self._one_pointer(place, label, reason, pointer.time)

    def _unreadable(self) -> Iterator[Garbage]:
        for path in sorted((self._store.root / "keys").glob("*/[!.]*.json")):
            place, when = (path.parent.name, path.stem), touched(path)
            if place not in self._needed.pointers and when < self._before:
                yield self._one_pointer(place, path.stem[:12], "cannot be read: cut off, or another version's", when)

    def _one_pointer(self, place: Place, label: str, reason: str, when: float) -> Garbage:
        file = _file(self._store, place)
        return Garbage("pointer", label, reason, size_of(file), when, (file,), (self._store.lock_file(*place),))

    def _uses(self, going: set[Path]) -> Iterator[Garbage]:
        """Records of who used an object that is in no store and that no key knows any more."""
        store, needed = self._store, self._needed
        for folder in sorted((store.root / USES).glob("[!.]*/[!.]*")):
            place, when = (folder.parent.name, folder.name), touched(folder)
            names = [store.root / "objects" / place[0] / place[1]] if place in needed.there else []
            names += [_file(store, name) for name in needed.named.get(place, ())]
            if when < self._before and going.issuperset(names):
                label = f"{place[0]} {place[1][:12]}"
                yield Garbage("use", label, "record of an object that is gone", size_of(folder), when, (folder,))

    def _reason(self, pointer: Pointer) -> str:
        if self._needs.experiments:
            return why_old(pointer.recipe) or "no experiment given uses it"
        return self._needed.why_lost(pointer.recipe) or ""

    def _work(self) -> Iterator[Garbage]:
        """Finished and abandoned work."""
        held = {(job.kind, job.key) for job in self._needed.jobs}
        for folder in sorted((self._store.root / "work").glob("[!.]*/[!.]*")):
            place, when = (folder.parent.name, folder.name), touched(folder)
            if place in held or when >= self._before:
                continue
            begun = self._store.begun(*place)
            label = f"{place[0]} {place[1][:12]}" if begun is None else f"{begun.label} {place[1][:12]}"
            reason = self._why_work_goes(place, folder, when)
            if reason is None:
                self._kept.append(f"work of {label}: unfinished; the next run goes on from it")
            else:
                yield Garbage("work", label, reason, size_of(folder), when, (folder,), (self._store.lock_file(*place),))

    def _why_work_goes(self, place: Place, folder: Path, when: float) -> str | None:
        needed, begun = self._needed, self._store.begun(*place)
        pointer = needed.pointers.get(place)
        made = pointer is not None and self._store.damage(place[0], pointer.digest) is None
        if made and not (folder / "out").exists():
            return "finished"
        if place in needed.asked:
            return None
        if begun is not None and (lost := needed.why_lost(begun.recipe)) is not None:
            return f"unfinished; {lost}"
        if self._needs.experiments and not (begun is not None and needed.counts(begun.label)):
            return "unfinished; no experiment given goes on with it"
        return f"unfinished; untouched for {OLD_DAYS} days" if when < self._now - OLD_DAYS * 86400 else None


def _label(manifest: Path) -> str:
    found = read_json(manifest)
    return str(found.get("label", "")) if isinstance(found, dict) else "(no readable manifest)"


def _file(store: Store, place: Place) -> Path:
    return store.root / "keys" / place[0] / f"{place[1]}.json"
