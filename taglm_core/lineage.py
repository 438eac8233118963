"""Lineage: the inputs of an object down to the raw files, and the objects made from it."""

from __future__ import annotations

import contextlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from taglm_core.config.experiment import Experiment
from taglm_core.errors import ConfigError, MissingObject, TagLMError
from taglm_core.gc.reachability import users_by_digest
from taglm_core.pipeline.graph import build_graph
from taglm_core.pipeline.kinds import order_of, typed_inputs
from taglm_core.pipeline.plan import Decision
from taglm_core.pipeline.raw_files import RawFile, RawFiles
from taglm_core.pipeline.roles import RAW
from taglm_core.store.records import Manifest, ObjectId, Recipe
from taglm_core.store.store import Pointer, Store
from taglm_core.store.uses import Use, uses_of

_START = re.compile(r"(?:(?P<kind>[a-z-]+)/)?(?P<digest>[0-9a-f]{4,32})")
_SHOWN = 8  # candidates listed in a message
_EXPECTED = (
    "expected a digest or its beginning (4 characters or more, as `taglm status` shows it), KIND/DIGEST, the name of a "
    "step with --experiment FILE, or models:/NAME@champion"
)


@dataclass(frozen=True, slots=True)
class LineageEntry:
    """An object or raw input in a lineage.

    Attributes:
        kind: kind of the object; `raw` for raw input.
        digest: content digest.
        label: experiment and step to show; for raw input the path in the experiment that first read it.
        made_for: experiment and step that first made the object.
        present: whether the object is in the store; for raw input, whether its files are as they were when read.
        bytes: size of all its files; 0 if the object is gone.
        seconds: wall-clock time of building.
        time: time of building in seconds since 1970; None if unknown.
        mlflow_run: id of the MLflow run that made the object, if it was tracked.
        prefect_run: id of the Prefect flow run that made the object, if there was one.
        files: files of raw input, if the store remembers them.
        uses: recorded uses by experiments, oldest first.
    """

    kind: str
    digest: str
    label: str = ""
    made_for: str = ""
    present: bool = True
    bytes: int = 0
    seconds: float = 0.0
    time: float | None = None
    mlflow_run: str | None = None
    prefect_run: str | None = None
    files: tuple[RawFile, ...] = ()
    uses: tuple[Use, ...] = ()


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a tree of inputs or of users.

    Attributes:
        entry: the object or raw input.
        role: role in which the node above reads it (tree of inputs), or in which it reads the node above (users).
        below: its inputs, or its users.
        repeated: whether an earlier node of the tree shows the same entry with everything below it.
    """

    entry: LineageEntry
    role: str
    below: tuple[Node, ...] = ()
    repeated: bool = False


def find_object(store: Store, text: str) -> ObjectId:
    """Return kind and digest of the object that a text names.

    Args:
        store: the store; objects that only keys know are found too.
        text: digest or its beginning, with or without the kind before it.

    Raises:
        ConfigError: the text is no digest, or fits several objects.
        MissingObject: the text fits no object.
    """
    match = _START.fullmatch(text)
    if match is None:
        raise ConfigError(f"found {text!r}; {_EXPECTED}")
    known = {(kind, digest) for kind, digests in _kinds(store).items() for digest in digests}
    found = sorted(
        (kind, digest) for kind, digest in known if digest.startswith(match["digest"]) and match["kind"] in (None, kind)
    )
    if not found:
        raise MissingObject(f"no object in {store.root} begins with {text!r}; {_EXPECTED}")
    if len(found) > 1:
        names = [f"{kind}/{digest[:12]} ({_entry(store, kind, digest, {}).label})" for kind, digest in found[:_SHOWN]]
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise ConfigError(f"{text!r} may be {', '.join(names)}{more}; give more characters of the digest")
    return found[0]


class Lineage:
    """The inputs and users of the objects of a store.

    Args:
        store: the store; read once.
        experiment: name of an experiment whose steps label shared objects; None for the first makers' labels.
        plan: plan of that experiment; its recipes and raw files replace those of the first makers.
    """

    def __init__(self, store: Store, experiment: str | None = None, plan: Iterable[Decision] = ()) -> None:
        self._store, self._experiment = store, experiment
        self._own = {(one.ref.kind, one.ref.digest): one for one in plan if one.ref is not None}
        self._of_digest: dict[str, list[str]] = defaultdict(list)
        for kind, digests in _kinds(store).items():
            for digest in digests:
                self._of_digest[digest].append(kind)
        self._pointers = {
            (kind, pointer.digest): pointer for kind in store.key_kinds() for pointer in store.pointers(kind)
        }
        self._raw = RawFiles(store)
        self._users = users_by_digest(store)

    def inputs(self, kind: str, digest: str) -> Node:
        """Return the tree of inputs of an object; a repeated entry has no nodes below it."""
        return self._inputs(kind, digest, "", set())

    def users(self, kind: str, digest: str) -> Node:
        """Return the tree of users of an object; a repeated entry has no nodes below it."""
        return self._used(kind, digest, "", set())

    def _entry(self, kind: str, digest: str) -> LineageEntry:
        entry = _entry(self._store, kind, digest, self._pointers)
        own = next((use.label for use in entry.uses if use.experiment == self._experiment), entry.label)
        return replace(entry, label=own)

    def _inputs(self, kind: str, digest: str, role: str, visited: set[str]) -> Node:
        entry = self._entry(kind, digest)
        if digest in visited:
            return Node(entry, role, repeated=bool(self._recipe(kind, digest).inputs))
        visited.add(digest)
        inputs = self._recipe(kind, digest).inputs
        return Node(entry, role, tuple(self._input(*each, (kind, digest), visited) for each in inputs.items()))

    def _input(self, role: str, digest: str, user: ObjectId, visited: set[str]) -> Node:
        kinds = sorted(self._of_digest.get(digest, ()), key=order_of)
        kind = kinds[0] if kinds else typed_inputs(user[0], {role: digest})[0].kind
        if kind != RAW:
            return self._inputs(kind, digest, role, visited)
        manifest = _manifest(self._store, *user)
        own = self._own.get(user)
        pattern = _pattern(role, manifest) if own is None else own.step.files.get(role)
        files = self._raw.of(digest, pattern)
        unchanged = bool(files) and all(file.unchanged for file in files)
        return Node(LineageEntry(RAW, digest, pattern or "", present=unchanged, files=files), role)

    def _used(self, kind: str, digest: str, role: str, visited: set[str]) -> Node:
        entry = self._entry(kind, digest)
        users = {(pointer.recipe.kind, pointer.digest): pointer for pointer in self._users.get(digest, ())}
        if digest in visited:
            return Node(entry, role, repeated=bool(users))
        visited.add(digest)
        below = []
        for (its_kind, its_digest), pointer in users.items():
            roles = ", ".join(name for name, read in pointer.recipe.inputs.items() if read == digest)
            below.append(self._used(its_kind, its_digest, roles, visited))
        return Node(entry, role, tuple(below))

    def _recipe(self, kind: str, digest: str) -> Recipe:
        own = self._own.get((kind, digest))
        if own is not None and own.recipe is not None:
            return own.recipe
        manifest, pointer = _manifest(self._store, kind, digest), self._pointers.get((kind, digest))
        if manifest is not None:
            return manifest.recipe
        return Recipe(kind, 0, {}, {}) if pointer is None else pointer.recipe


def entries(*trees: Node) -> list[LineageEntry]:
    """Return each entry of some trees once, from the top down."""
    found: dict[ObjectId, LineageEntry] = {}
    waiting = list(trees)
    while waiting:
        node = waiting.pop(0)
        found.setdefault((node.entry.kind, node.entry.digest), node.entry)
        waiting += node.below
    return list(found.values())


def _pattern(role: str, user: Manifest | None) -> str | None:
    """Return the path of a raw input in the experiment of its first reader; None if the graph has that step no more."""
    if user is None:
        return None
    with contextlib.suppress(ValueError, TagLMError):  # another version of the program made it
        graph = build_graph(Experiment.model_validate(user.made.get("experiment")))
        step = graph.get(user.label.partition("/")[2])
        return step.files.get(role) if step is not None else None
    return None


def _kinds(store: Store) -> dict[str, set[str]]:
    """Return, by kind, the digests of all objects that are present or named by a key."""
    found: dict[str, set[str]] = defaultdict(set)
    for kind, digest in store.objects():
        found[kind].add(digest)
    for kind in store.key_kinds():
        found[kind].update(pointer.digest for pointer in store.pointers(kind))
    return found


def _manifest(store: Store, kind: str, digest: str) -> Manifest | None:
    try:
        return store.manifest(kind, digest)
    except (MissingObject, KeyError, TypeError):
        return None


def _entry(store: Store, kind: str, digest: str, pointers: Mapping[ObjectId, Pointer]) -> LineageEntry:
    manifest, pointer = _manifest(store, kind, digest), pointers.get((kind, digest))
    uses = uses_of(store, kind, digest)
    if manifest is None:
        label, time = ("", None) if pointer is None else (pointer.label, pointer.time)
        return LineageEntry(kind, digest, label, label, present=False, time=time, uses=uses)
    made = manifest.made
    return LineageEntry(
        kind,
        digest,
        manifest.label,
        manifest.label,
        bytes=manifest.bytes,
        seconds=manifest.seconds,
        time=made.get("time"),
        mlflow_run=made.get("mlflow_run"),
        prefect_run=made.get("prefect_run"),
        uses=uses,
    )
