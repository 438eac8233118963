"""The store on a local disk.

objects/<kind>/<content digest>/   immutable files + manifest.json; published by one rename
keys/<kind>/<key>.json             pointer, written last: this recipe gave that object
work/<kind>/<key>/                 unfinished work: checkpoints, journal; resumed by the next run of the key;
                                   recipe.json says what it reads
damaged/                           objects whose bytes were not what their manifest said; deleted by `taglm gc` alone
raw/                               digests of raw input files, by size, time and inode
uses/<kind>/<content digest>/      which experiments made or used an object (uses.py)
locks/                             one lock a key, so that two runs do not build the same thing at once; gc.lock is
                                   shared by those who build, for moments, and held alone by `taglm gc`
.gc-*                              beside what it was: being removed
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from taglm_core.errors import DamagedObject, MissingObject, OutOfResources, StoreError
from taglm_core.store.digests import file_sha256
from taglm_core.store.durable import locked, read_json, sync_folder, sync_tree, write_json
from taglm_core.store.records import FileEntry, Manifest, Recipe, Ref
from taglm_core.store.system_errors import system_error

WORK_RECIPE = "recipe.json"
HASH_UP_TO = 4 * 2**30  # bytes of payload that a first opening hashes; above that it checks sizes


@dataclass(frozen=True, slots=True)
class Pointer:
    """What `keys/<kind>/<key>.json` says."""

    digest: str
    recipe: Recipe
    label: str
    time: float


@dataclass(frozen=True, slots=True)
class Work:
    """What `work/<kind>/<key>/recipe.json` says: what is made there.

    Attributes:
        recipe: from what.
        label: experiment and step it was begun for.
        experiment: settings of that experiment, where they are known.
    """

    recipe: Recipe
    label: str
    experiment: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Artifact:
    """An opened, verified object."""

    path: Path
    ref: Ref
    manifest: Manifest


class Store:
    """Objects and pointers below one root folder.

    Args:
        root: the folder; made when something is first written.
        verify_all: hash every object on first opening, whatever its size.

    Raises:
        StoreError: something else than a folder is there.
    """

    def __init__(self, root: Path, *, verify_all: bool = False) -> None:
        self.root = root.absolute()
        if (self.root.exists() or self.root.is_symlink()) and not self.root.is_dir():
            what = "a file" if self.root.exists() else "a link that leads nowhere"
            raise StoreError(f"{self.root}: found {what}; expected the folder of the store; name another run.store")
        self._verify_all = verify_all
        self._verified: set[tuple[str, str]] = set()

    def require_writable(self) -> None:
        """Make the folder, if it is not there, and try to write into it: before long work begins.

        Raises:
            StoreError: it cannot be written to.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as error:
            known = system_error(error)
            if isinstance(known, OutOfResources):
                raise known from error
            raise StoreError(
                f"{self.root}: the store cannot be written to ({error.strerror}); give yourself the right to, or name "
                "another run.store"
            ) from error

    def find(self, recipe: Recipe) -> Ref | None:
        """The object a recipe gave, if its pointer and all its files (by size) are there."""
        pointer = self.pointer(recipe.kind, recipe.key)
        if pointer is None or self.damage(recipe.kind, pointer.digest) is not None:
            return None
        manifest = self.manifest(recipe.kind, pointer.digest)
        return Ref(recipe.kind, recipe.key, pointer.digest, manifest.counts)

    def damage(self, kind: str, digest: str, *, hashes: bool = False) -> str | None:
        """What is wrong with an object, in words; None if nothing. Compares sizes, and bytes with `hashes`."""
        folder = self._object(kind, digest)
        data = read_json(folder / "manifest.json")
        if data is None:
            return "it is not in the store" if not folder.exists() else "manifest.json is missing or unreadable"
        for entry in Manifest.from_json(data).files:
            path = folder / entry.name
            if not path.is_file():
                return f"{entry.name} is missing"
            if path.stat().st_size != entry.bytes:
                return f"{entry.name} has {path.stat().st_size:,} bytes, expected {entry.bytes:,}"
            if hashes and file_sha256(path) != entry.sha256:
                return f"{entry.name} has other bytes than when it was made"
        return None

    def open(self, ref: Ref) -> Artifact:
        """Open an object; its first opening in this process verifies it.

        Raises:
            MissingObject: no such object.
            DamagedObject: its files are not what its manifest says.
        """
        folder = self._object(ref.kind, ref.digest)
        if not folder.exists():
            raise MissingObject(f"{self._called(ref)} is not in {self.root}; run the stage that makes it")
        if (ref.kind, ref.digest) not in self._verified:
            data = read_json(folder / "manifest.json")
            size = sum(entry["bytes"] for entry in data["files"]) if data else 0
            problem = self.damage(ref.kind, ref.digest, hashes=self._verify_all or size <= HASH_UP_TO)
            if problem is not None:
                raise DamagedObject(f"{self._called(ref)}: {problem}; run again: it is set aside and rebuilt")
            self._verified.add((ref.kind, ref.digest))
        return Artifact(folder, ref, self.manifest(ref.kind, ref.digest))

    def folder(self, ref: Ref) -> Path:
        """The folder of an object, its bytes not verified: for what people look at. Work reads what `open` gives."""
        return self._object(ref.kind, ref.digest)

    def set_aside(self, kind: str, digest: str, reason: str) -> Path | None:
        """Move a damaged object out of the way, with the reason written beside it; None if there is none."""
        folder = self._object(kind, digest)
        target = self.root / "damaged" / f"{kind}-{digest}-{time.time_ns()}"
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            folder.rename(target)
        except FileNotFoundError:
            return None
        self._verified.discard((kind, digest))
        write_json(target.with_name(target.name + ".reason.json"), {"reason": reason, "time": time.time()})
        return target

    def publish(self, staged: Path, manifest: Manifest) -> Ref:
        """Make the files staged in a folder of this store an object, then point the recipe to it.

        An equal object that is already there and whole is kept, and the staged files are dropped.
        """
        recipe, digest = manifest.recipe, manifest.digest
        target = self._object(recipe.kind, digest)
        if target.exists() and (problem := self.damage(recipe.kind, digest, hashes=True)) is not None:
            self.set_aside(recipe.kind, digest, problem)
        write_json(staged / "manifest.json", manifest.to_json())
        sync_tree(staged)
        target.parent.mkdir(parents=True, exist_ok=True)
        with self.guard():  # an equal object that no key leads to must not be removed before this one does
            try:
                staged.rename(target)
            except OSError:  # the same content was published by somebody else
                if self.damage(recipe.kind, digest) is not None:
                    raise
                shutil.rmtree(staged)
            sync_folder(target.parent)
            pointer = Pointer(digest, recipe, manifest.label, time.time())
            write_json(self._pointer(recipe.kind, recipe.key), asdict(pointer))
        self._verified.add((recipe.kind, digest))
        return Ref(recipe.kind, recipe.key, digest, manifest.counts)

    def pointer(self, kind: str, key: str) -> Pointer | None:
        """The pointer of a key, or None."""
        return _pointer_from(read_json(self._pointer(kind, key)))

    def pointers(self, kind: str) -> list[Pointer]:
        """All pointers of a kind, oldest first."""
        found = (_pointer_from(read_json(path)) for path in (self.root / "keys" / kind).glob("*.json"))
        return sorted((pointer for pointer in found if pointer is not None), key=lambda pointer: pointer.time)

    def objects(self) -> list[tuple[str, str]]:
        """(kind, digest) of every object that is there, unchecked."""
        return sorted((path.parent.name, path.name) for path in (self.root / "objects").glob("*/[!.]*"))

    def manifest(self, kind: str, digest: str) -> Manifest:
        """An object's manifest, without checking its files.

        Raises:
            MissingObject: no such object, or no readable manifest.
        """
        data = read_json(self._object(kind, digest) / "manifest.json")
        if data is None:
            raise MissingObject(f"{kind} {digest} has no readable manifest in {self.root}")
        return Manifest.from_json(data)

    def work(self, recipe: Recipe) -> Path:
        """Folder of a key's unfinished work (not made here)."""
        return self.root / "work" / recipe.kind / recipe.key

    @contextlib.contextmanager
    def lock(
        self, recipe: Recipe, *, wait: bool = True, check_stop: Callable[[], None] | None = None
    ) -> Iterator[bool]:
        """Hold the key's lock: whoever comes second waits, then finds the object made. Without `wait`, only if free.

        `check_stop` is called every moment of the wait, and raises to give it up.
        """
        with locked(self.lock_file(recipe.kind, recipe.key), wait=wait, check_stop=check_stop) as held:
            yield held

    def lock_file(self, kind: str, key: str) -> Path:
        """The file that is locked while a key's object is being built."""
        return self.root / "locks" / f"{kind}-{key}.lock"

    @contextlib.contextmanager
    def guard(self, *, collecting: bool = False) -> Iterator[None]:
        """Between those who build and `taglm gc`: what the one does inside happens at once for the other."""
        with locked(self.root / "locks" / "gc.lock", shared=not collecting):
            yield

    def begin(self, work: Work) -> None:
        """Say what is about to be made, with the key's lock held: from here on its inputs are not removed."""
        with self.guard():
            write_json(self.work(work.recipe) / WORK_RECIPE, asdict(work))

    def begun(self, kind: str, key: str) -> Work | None:
        """What is made, or was, in a key's work folder; None where nobody has said."""
        data = read_json(self.root / "work" / kind / key / WORK_RECIPE)
        try:
            return data and Work(**{**data, "recipe": Recipe(**data["recipe"])})
        except (KeyError, TypeError):
            return None  # half of a file, or another version's

    def raw_digest(self, files: Sequence[Path]) -> str:
        """Digest of raw input files, in order. Unchanged files (size, time, inode) are not read again."""
        return raw_digest([self._raw_sha256(path) for path in files])

    @staticmethod
    def stamp(path: Path) -> list[str | int]:
        """What a raw file is recognised by without reading it; its path alone where it is gone."""
        try:
            stat = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return [str(path)]
        return [str(path.resolve()), stat.st_size, stat.st_mtime_ns, stat.st_ino]

    def _raw_sha256(self, path: Path) -> str:
        stamp = self.stamp(path)
        cached = self.root / "raw" / f"{Recipe('stat', 1, {'stamp': stamp}, {}).key}.json"
        known = read_json(cached)
        if known is not None:
            return str(known["sha256"])
        sha256 = file_sha256(path)
        write_json(cached, {"stamp": stamp, "sha256": sha256})
        return sha256

    def _called(self, ref: Ref) -> str:
        """An object's name for people: what it was made for, where its key says that."""
        pointer = self.pointer(ref.kind, ref.key)
        name = f"{ref.kind} {ref.digest[:12]}"
        return name if pointer is None else f"{pointer.label} ({name})"

    def _object(self, kind: str, digest: str) -> Path:
        return self.root / "objects" / kind / digest

    def _pointer(self, kind: str, key: str) -> Path:
        return self.root / "keys" / kind / f"{key}.json"


def raw_digest(sha256: Sequence[str]) -> str:
    """Digest of several raw input files together, in order.

    Args:
        sha256: of each of them.
    """
    return Recipe("raw", 1, {"sha256": list(sha256)}, {}).key


def list_files(folder: Path, not_payload: Sequence[str] = ()) -> tuple[FileEntry, ...]:
    """Entries of all files below a folder, sorted by name; names in `not_payload` do not enter the digest."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json")
    return tuple(
        FileEntry(name, path.stat().st_size, file_sha256(path), name not in not_payload)
        for path in paths
        for name in [path.relative_to(folder).as_posix()]
    )


def _pointer_from(data: Mapping[str, Any] | None) -> Pointer | None:
    try:
        return data and Pointer(**{**data, "recipe": Recipe(**data["recipe"])})  # type: ignore[return-value]
    except (KeyError, TypeError):
        return None  # not a pointer: treated as absent, and overwritten by the next run
