"""Where an object comes from, down to the raw files, and what was made from it."""

from __future__ import annotations

import contextlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from taglm_core.config.experiment import Experiment
from taglm_core.errors import ConfigError, MissingObject, TagLMError
from taglm_core.gc.reachability import Place, readers
from taglm_core.pipeline.graph import build_graph
from taglm_core.pipeline.kinds import order_of, typed_inputs
from taglm_core.pipeline.plan import Decision
from taglm_core.pipeline.raw_files import RawFile, RawFiles
from taglm_core.pipeline.roles import RAW
from taglm_core.store.records import Manifest, Recipe
from taglm_core.store.store import Pointer, Store
from taglm_core.store.uses import Use, uses_of

_START = re.compile(r"(?:(?P<kind>[a-z-]+)/)?(?P<digest>[0-9a-f]{4,32})")
_SHOWN = 8  # candidates named in a message
_WAYS = (
    "an object is its digest or the beginning of it (4 characters or more, as `taglm status` shows it), KIND/DIGEST, "
    "the name of a step with --experiment FILE, or models:/NAME@champion"
)


@dataclass(frozen=True, slots=True)
class Thing:
    """An object, or raw input, as a member of a lineage.

    Attributes:
        kind: of object; `raw` for raw input.
        digest: content digest.
        label: experiment and step it is shown as; of raw input the path in the experiment that first made it.
        made_for: experiment and step that first made it.
        uses: by all experiments that are known to have made or used it, the first one first.
        there: whether it is in the store; of raw input, whether its files are as they were when they were read.
        bytes: of all its files; 0 where it is gone.
        seconds: wall-clock time of building.
        time: when it was made, in seconds since 1970; None where nobody knows.
        mlflow_run: id of the run that made it, if it was tracked.
        prefect_run: id of the flow run that made it, if there was one.
        files: of raw input, as far as the store remembers them.
    """

    kind: str
    digest: str
    label: str = ""
    made_for: str = ""
    there: bool = True
    bytes: int = 0
    seconds: float = 0.0
    time: float | None = None
    mlflow_run: str | None = None
    prefect_run: str | None = None
    files: tuple[RawFile, ...] = ()
    uses: tuple[Use, ...] = ()


@dataclass(frozen=True, slots=True)
class Node:
    """A thing in a tree.

    Attributes:
        thing: itself.
        role: as what it is read: by the one above it in a tree of inputs, of the one above it in a tree of users.
        below: its inputs, or its users.
        repeated: it stands in the tree before, with all that is below it.
    """

    thing: Thing
    role: str
    below: tuple[Node, ...] = ()
    repeated: bool = False


def find_object(store: Store, text: str) -> tuple[str, str]:
    """Kind and digest of what a user names.

    Args:
        store: where it is, or was: keys count as well.
        text: digest or its beginning, with or without the kind before it.

    Raises:
        ConfigError: it is no such name, or several objects begin like this.
        MissingObject: nothing begins like this.
    """
    asked = _START.fullmatch(text)
    if asked is None:
        raise ConfigError(f"found {text!r}; {_WAYS}")
    known = {(kind, digest) for kind, digests in _kinds(store).items() for digest in digests}
    found = sorted(
        (kind, digest) for kind, digest in known if digest.startswith(asked["digest"]) and asked["kind"] in (None, kind)
    )
    if not found:
        raise MissingObject(f"nothing in {store.root} begins with {text!r}; {_WAYS}")
    if len(found) > 1:
        names = [f"{kind}/{digest[:12]} ({_thing(store, kind, digest, {}).label})" for kind, digest in found[:_SHOWN]]
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise ConfigError(f"{text!r} may be {', '.join(names)}{more}; write more of the one that is meant")
    return found[0]


class Lineage:
    """The inputs and users of the objects of a store.

    Args:
        store: the store; read once.
        experiment: name of the experiment whose own steps label what it shares with others; None: the first makers'.
        plan: of that experiment: its own recipes and raw files stand for those of the first makers.
    """

    def __init__(self, store: Store, experiment: str | None = None, plan: Iterable[Decision] = ()) -> None:
        self._store, self._experiment = store, experiment
        self._own = {(one.ref.kind, one.ref.digest): one for one in plan if one.ref is not None}
        self._of_digest: dict[str, list[str]] = defaultdict(list)
        for kind, digests in _kinds(store).items():
            for digest in digests:
                self._of_digest[digest].append(kind)
        self._pointers = {
            (kind, pointer.digest): pointer for kind in _key_kinds(store) for pointer in store.pointers(kind)
        }
        self._raw = RawFiles(store)
        self._users: Mapping[str, list[Pointer]] = readers(store)

    def inputs(self, kind: str, digest: str) -> Node:
        """An object with all that it was made from, each told once."""
        return self._inputs(kind, digest, "", set())

    def users(self, kind: str, digest: str) -> Node:
        """An object with all that was made from it, each told once."""
        return self._used(kind, digest, "", set())

    def _thing(self, kind: str, digest: str) -> Thing:
        thing = _thing(self._store, kind, digest, self._pointers)
        own = next((use.label for use in thing.uses if use.experiment == self._experiment), thing.label)
        return replace(thing, label=own)

    def _inputs(self, kind: str, digest: str, role: str, told: set[str]) -> Node:
        thing = self._thing(kind, digest)
        if digest in told:
            return Node(thing, role, repeated=bool(self._recipe(kind, digest).inputs))
        told.add(digest)
        inputs = self._recipe(kind, digest).inputs
        return Node(thing, role, tuple(self._input(*each, (kind, digest), told) for each in inputs.items()))

    def _input(self, role: str, digest: str, user: Place, told: set[str]) -> Node:
        kinds = sorted(self._of_digest.get(digest, ()), key=order_of)
        kind = kinds[0] if kinds else typed_inputs(user[0], {role: digest})[0].kind
        if kind != RAW:
            return self._inputs(kind, digest, role, told)
        manifest = _manifest(self._store, *user)
        own = self._own.get(user)
        pattern = _pattern(role, manifest) if own is None else own.step.files.get(role)
        files = self._raw.of(digest, pattern)
        unchanged = bool(files) and all(file.there for file in files)
        return Node(Thing(RAW, digest, pattern or "", there=unchanged, files=files), role)

    def _used(self, kind: str, digest: str, role: str, told: set[str]) -> Node:
        thing = self._thing(kind, digest)
        users = {(pointer.recipe.kind, pointer.digest): pointer for pointer in self._users.get(digest, ())}
        if digest in told:
            return Node(thing, role, repeated=bool(users))
        told.add(digest)
        below = []
        for (its_kind, its_digest), pointer in users.items():
            roles = ", ".join(name for name, given in pointer.recipe.inputs.items() if given == digest)
            below.append(self._used(its_kind, its_digest, roles, told))
        return Node(thing, role, tuple(below))

    def _recipe(self, kind: str, digest: str) -> Recipe:
        own = self._own.get((kind, digest))
        if own is not None and own.recipe is not None:
            return own.recipe
        manifest, pointer = _manifest(self._store, kind, digest), self._pointers.get((kind, digest))
        if manifest is not None:
            return manifest.recipe
        return Recipe(kind, 0, {}, {}) if pointer is None else pointer.recipe


def things(*trees: Node) -> list[Thing]:
    """Every thing in some trees, once, from the top down."""
    found: dict[Place, Thing] = {}
    waiting = list(trees)
    while waiting:
        node = waiting.pop(0)
        found.setdefault((node.thing.kind, node.thing.digest), node.thing)
        waiting += node.below
    return list(found.values())


def _pattern(role: str, user: Manifest | None) -> str | None:
    """The path in the experiment that something was first made for, if a present graph still has its step."""
    if user is None:
        return None
    with contextlib.suppress(ValueError, TagLMError):  # made by another version of the program
        graph = build_graph(Experiment.model_validate(user.made.get("experiment")))
        step = graph.get(user.label.partition("/")[2])
        return step.files.get(role) if step is not None else None
    return None


def _kinds(store: Store) -> dict[str, set[str]]:
    """Digests of all objects that are there, or that a key still knows, by kind."""
    found: dict[str, set[str]] = defaultdict(set)
    for kind, digest in store.objects():
        found[kind].add(digest)
    for kind in _key_kinds(store):
        found[kind].update(pointer.digest for pointer in store.pointers(kind))
    return found


def _key_kinds(store: Store) -> list[str]:
    return sorted(path.name for path in (store.root / "keys").glob("[!.]*"))


def _manifest(store: Store, kind: str, digest: str) -> Manifest | None:
    try:
        return store.manifest(kind, digest)
    except (MissingObject, KeyError, TypeError):
        return None


def _thing(store: Store, kind: str, digest: str, pointers: Mapping[Place, Pointer]) -> Thing:
    manifest, pointer = _manifest(store, kind, digest), pointers.get((kind, digest))
    if manifest is None:
        label, time = ("", None) if pointer is None else (pointer.label, pointer.time)
        return Thing(kind, digest, label, label, there=False, time=time, uses=uses_of(store, kind, digest))
    made = manifest.made
    return Thing(
        kind,
        digest,
        manifest.label,
        manifest.label,
        bytes=manifest.bytes,
        seconds=manifest.seconds,
        time=made.get("time"),
        mlflow_run=made.get("mlflow_run"),
        prefect_run=made.get("prefect_run"),
        uses=uses_of(store, kind, digest),
    )
