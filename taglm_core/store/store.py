"""The store on a local disk.

objects/<kind>/<content digest>/   immutable files and manifest.json, published by one rename
keys/<kind>/<key>.json             pointer from a recipe to the object it gave, written last
work/<kind>/<key>/                 unfinished work: checkpoints and journal, resumed by the next build of the key, and
                                   recipe.json, the record of what the build reads
damaged/                           objects whose bytes did not match their manifest; only `taglm gc` deletes them
raw/                               digests of raw input files, by size, time and inode
uses/<kind>/<content digest>/      experiments that made or used an object (uses.py)
locks/                             one lock per key, so that two runs never build the same object at once; gc.lock,
                                   shared by builds for moments and held alone by `taglm gc`
.gc-*                              what is being removed, beside its former path
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
from taglm_core.store.records import FileEntry, Manifest, ObjectId, Recipe, Ref
from taglm_core.store.system_errors import system_error

WORK_RECIPE = "recipe.json"
HASH_UP_TO = 4 * 2**30  # bytes; the first opening of a larger object compares sizes instead of hashes


@dataclass(frozen=True, slots=True)
class Pointer:
    """Content of `keys/<kind>/<key>.json`."""

    digest: str
    recipe: Recipe
    label: str
    time: float


@dataclass(frozen=True, slots=True)
class Work:
    """Content of `work/<kind>/<key>/recipe.json`: the build that the folder belongs to.

    Attributes:
        recipe: recipe of the object.
        label: experiment and step of the build.
        experiment: settings of that experiment, if known.
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
        StoreError: the path is not a folder.
    """

    def __init__(self, root: Path, *, verify_all: bool = False) -> None:
        self.root = root.absolute()
        if (self.root.exists() or self.root.is_symlink()) and not self.root.is_dir():
            what = "a file" if self.root.exists() else "a broken symbolic link"
            raise StoreError(f"{self.root}: found {what}; expected the folder of the store; set another run.store")
        self._verify_all = verify_all
        self._verified: set[ObjectId] = set()

    def require_writable(self) -> None:
        """Create the folder if it is missing, and try to write into it, before long work begins.

        Raises:
            StoreError: the folder is not writable.
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
                f"{self.root}: the store is not writable ({error.strerror}); give yourself permission, or set another "
                "run.store"
            ) from error

    def find(self, recipe: Recipe) -> Ref | None:
        """Return the object of a recipe if its pointer and all its files exist with their sizes; else None."""
        pointer = self.pointer(recipe.kind, recipe.key)
        if pointer is None or self.damage(recipe.kind, pointer.digest) is not None:
            return None
        manifest = self.manifest(recipe.kind, pointer.digest)
        return Ref(recipe.kind, recipe.key, pointer.digest, manifest.counts)

    def damage(self, kind: str, digest: str, *, hashes: bool = False) -> str | None:
        """Return what is wrong with an object, or None. Compare file sizes; with `hashes`, their bytes too."""
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
                return f"{entry.name} has other bytes than its manifest records"
        return None

    def open(self, ref: Ref) -> Artifact:
        """Open an object; the first opening in a process verifies it.

        Raises:
            MissingObject: the object is not in the store.
            DamagedObject: its files do not match its manifest.
        """
        folder = self._object(ref.kind, ref.digest)
        if not folder.exists():
            raise MissingObject(f"{self._name(ref)} is not in {self.root}; run the stage that builds it")
        if (ref.kind, ref.digest) not in self._verified:
            data = read_json(folder / "manifest.json")
            size = sum(entry["bytes"] for entry in data["files"]) if data else 0
            problem = self.damage(ref.kind, ref.digest, hashes=self._verify_all or size <= HASH_UP_TO)
            if problem is not None:
                raise DamagedObject(f"{self._name(ref)}: {problem}; run again to set it aside and rebuild it")
            self._verified.add((ref.kind, ref.digest))
        return Artifact(folder, ref, self.manifest(ref.kind, ref.digest))

    def folder(self, ref: Ref) -> Path:
        """Return the folder of an object without verifying it. For display only; builds read what `open` returns."""
        return self._object(ref.kind, ref.digest)

    def set_aside(self, kind: str, digest: str, reason: str) -> Path | None:
        """Move a damaged object to `damaged/` with the reason beside it; return its new path, None if it is gone."""
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
        """Publish the files staged in a folder of this store as an object, then write the pointer of the recipe.

        If the store holds an equal, undamaged object already, keep that one and drop the staged files.
        """
        recipe, digest = manifest.recipe, manifest.digest
        target = self._object(recipe.kind, digest)
        if target.exists() and (problem := self.damage(recipe.kind, digest, hashes=True)) is not None:
            self.set_aside(recipe.kind, digest, problem)
        write_json(staged / "manifest.json", manifest.to_json())
        sync_tree(staged)
        target.parent.mkdir(parents=True, exist_ok=True)
        with self.guard():  # or gc might remove an equal object that no key leads to yet
            try:
                staged.rename(target)
            except OSError:  # another process published the same content
                if self.damage(recipe.kind, digest) is not None:
                    raise
                shutil.rmtree(staged)
            sync_folder(target.parent)
            pointer = Pointer(digest, recipe, manifest.label, time.time())
            write_json(self._pointer(recipe.kind, recipe.key), asdict(pointer))
        self._verified.add((recipe.kind, digest))
        return Ref(recipe.kind, recipe.key, digest, manifest.counts)

    def pointer(self, kind: str, key: str) -> Pointer | None:
        """Return the pointer of a key, or None."""
        return _pointer_from(read_json(self._pointer(kind, key)))

    def pointers(self, kind: str) -> list[Pointer]:
        """Return all pointers of a kind, oldest first."""
        found = (_pointer_from(read_json(path)) for path in (self.root / "keys" / kind).glob("*.json"))
        return sorted((pointer for pointer in found if pointer is not None), key=lambda pointer: pointer.time)

    def key_kinds(self) -> list[str]:
        """Return the kinds that have pointers, also those of other versions."""
        return sorted(path.name for path in (self.root / "keys").glob("[!.]*"))

    def objects(self) -> list[ObjectId]:
        """Return all objects, unverified."""
        return sorted((path.parent.name, path.name) for path in (self.root / "objects").glob("*/[!.]*"))

    def manifest(self, kind: str, digest: str) -> Manifest:
        """Return the manifest of an object without verifying its files.

        Raises:
            MissingObject: there is no such object, or its manifest is unreadable.
        """
        data = read_json(self._object(kind, digest) / "manifest.json")
        if data is None:
            raise MissingObject(f"{kind} {digest} has no readable manifest in {self.root}")
        return Manifest.from_json(data)

    def work(self, recipe: Recipe) -> Path:
        """Return the folder of a key's unfinished work, without creating it."""
        return self.root / "work" / recipe.kind / recipe.key

    @contextlib.contextmanager
    def lock(
        self, recipe: Recipe, *, wait: bool = True, check_stop: Callable[[], None] | None = None
    ) -> Iterator[bool]:
        """Lock a key for a block and yield whether the lock is held. The second of two builds finds the object made.

        Arguments as for `locked`.
        """
        with locked(self.lock_file(recipe.kind, recipe.key), wait=wait, check_stop=check_stop) as held:
            yield held

    def lock_file(self, kind: str, key: str) -> Path:
        """Return the file that is locked while the object of a key is being built."""
        return self.root / "locks" / f"{kind}-{key}.lock"

    @contextlib.contextmanager
    def guard(self, *, collecting: bool = False) -> Iterator[None]:
        """Exclude builds and `taglm gc` from each other for a block; builds do not exclude one another."""
        with locked(self.root / "locks" / "gc.lock", shared=not collecting):
            yield

    def begin(self, work: Work) -> None:
        """Record a build, with the lock of its key held; from here on `taglm gc` keeps its inputs."""
        with self.guard():
            write_json(self.work(work.recipe) / WORK_RECIPE, asdict(work))

    def begun(self, kind: str, key: str) -> Work | None:
        """Return the build recorded in the work folder of a key; None if there is no record."""
        data = read_json(self.root / "work" / kind / key / WORK_RECIPE)
        try:
            return data and Work(**{**data, "recipe": Recipe(**data["recipe"])})
        except (KeyError, TypeError):
            return None  # half a file, or another version wrote it

    def raw_digest(self, files: Sequence[Path]) -> str:
        """Return the digest of raw input files in order. Files with known size, time and inode are not read again."""
        return raw_digest([self._raw_sha256(path) for path in files])

    @staticmethod
    def stamp(path: Path) -> list[str | int]:
        """Return path, size, time and inode of a raw file; only the path if the file is gone."""
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

    def _name(self, ref: Ref) -> str:
        """Return the name of an object for people, with its label if its key still exists."""
        pointer = self.pointer(ref.kind, ref.key)
        name = f"{ref.kind} {ref.digest[:12]}"
        return name if pointer is None else f"{pointer.label} ({name})"

    def _object(self, kind: str, digest: str) -> Path:
        return self.root / "objects" / kind / digest

    def _pointer(self, kind: str, key: str) -> Path:
        return self.root / "keys" / kind / f"{key}.json"


def raw_digest(sha256: Sequence[str]) -> str:
    """Return the digest of raw input files in order, given the SHA-256 of each."""
    return Recipe("raw", 1, {"sha256": list(sha256)}, {}).key


def list_files(folder: Path, not_payload: Sequence[str] = ()) -> tuple[FileEntry, ...]:
    """Return the entries of all files below a folder, sorted by name; files in `not_payload` are no payload."""
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
        return None  # not a pointer; treated as absent and overwritten by the next run
