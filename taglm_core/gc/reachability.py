"""Reachable objects and keys of a store.

The roots are keys that a plan can still ask for, inputs of active builds, and objects named from outside (a tagger
behind an MLflow alias). An object reaches its inputs if no later run can make the same inputs again: a language model
its base, a tagger its language models, corpora and word vectors, an evaluation its tagger. The text of a language model
and embeddings are not reached: both are large, and the next run that reads them makes them again. Keys are small; the
keys of the texts of language models outlive the texts, because `continue_from: latest` reads them.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from taglm_core.config.experiment import Experiment
from taglm_core.errors import TagLMError
from taglm_core.gc.garbage import active_builds
from taglm_core.pipeline.graph import build_graph
from taglm_core.pipeline.kinds import KINDS, order_of, recipe_inputs
from taglm_core.pipeline.plan import recipe_of
from taglm_core.pipeline.roles import BASE
from taglm_core.store.records import KeyId, ObjectId, Recipe
from taglm_core.store.store import Pointer, Store

_KEPT_WITH_USERS = {kind.name for kind in KINDS.values() if kind.kept_with_users}


@dataclass(frozen=True, slots=True)
class GcRoots:
    """Roots beyond the keys of the store.

    Attributes:
        experiments: experiments with resolved bases; if any is given, only keys that they use are roots.
        objects: digests of objects that are named from outside, each with its user.
        keys: keys of objects that have to be read once more.
    """

    experiments: tuple[Experiment, ...] = ()
    objects: Mapping[str, str] = field(default_factory=dict)
    keys: frozenset[KeyId] = frozenset()


def why_outdated(recipe: Recipe) -> str | None:
    """Return how far a recipe's version is behind; None for newer versions and unknown kinds (another checkout's)."""
    kind = KINDS.get(recipe.kind)
    if kind is None or recipe.version >= kind.version:
        return None
    return f"STAGE_VERSION {recipe.version}, now {kind.version}"


class Reachability:
    """Reachable objects and keys of a store at one moment.

    Args:
        store: the store.
        roots: roots beyond its keys.
        before: seconds since 1970; pointers written later are roots in any case.

    Attributes:
        present: all objects in the store.
        pointers: all readable pointers.
        pointers_of: keys whose pointers name an object, by object.
        builds: builds in progress.
        requested: recipes that the experiments and active builds ask for.
        undecided: steps of the experiments whose recipes depend on objects that are not made yet.
        live: keys that a plan may ask for.
        objects: reachable objects, present or not.
        keys: keys that stay: live ones, and those that record the origin of reachable objects.

    Raises:
        InputError: a raw input file of an experiment is missing, so that its keys are unknown.
    """

    def __init__(self, store: Store, roots: GcRoots, before: float) -> None:
        self._store, self._roots = store, roots
        self.present = set(store.objects())
        self.pointers = {(p.recipe.kind, p.recipe.key): p for kind in store.key_kinds() for p in store.pointers(kind)}
        self.pointers_of: dict[ObjectId, list[KeyId]] = defaultdict(list)
        for key_id, pointer in self.pointers.items():
            self.pointers_of[key_id[0], pointer.digest].append(key_id)
        self._kinds: dict[str, set[str]] = defaultdict(set)
        for kind, digest in {*self.present, *self.pointers_of}:
            self._kinds[digest].add(kind)
        self.builds = active_builds(store)
        self.requested: dict[KeyId, Recipe] = {}
        self.undecided: set[str] = set()
        self._read_experiments()
        self._live_digests: set[str] = set()  # of objects that live pointers name
        self.live = self._live(before)
        self.objects = self._closure()
        self.keys = self.live | self._origins()

    def may_be_requested(self, label: str) -> bool:
        """Return whether a step (by its label) that is not requested may become so once other steps are made."""
        return not self._roots.experiments or label.partition("/")[2] in self.undecided

    def why_unreachable(self, recipe: Recipe) -> str | None:
        """Return why no plan of any experiment can ask for a recipe; None if one can."""
        if _trained_inputs(recipe) <= self._live_digests:
            return why_outdated(recipe)
        return why_outdated(recipe) or "made from what no key leads to any more"

    def _read_experiments(self) -> None:
        for experiment in self._roots.experiments:
            self._request(experiment)
        for build in self.builds:
            if build.work is not None and build.work.experiment is not None:
                with contextlib.suppress(ValueError, TagLMError):  # another version's; its inputs are roots anyway
                    self._request(Experiment.model_validate(build.work.experiment))

    def _request(self, experiment: Experiment) -> None:
        """Add the recipes of an experiment; those of removed objects too, as far as their keys are known."""
        graph, digests = build_graph(experiment), dict[str, str]()
        for name, step in graph.items():
            if any(above not in digests for above in step.inputs.values()):
                self.undecided.add(name)
                continue
            recipe = recipe_of(self._store, step, {role: digests[above] for role, above in step.inputs.items()})
            self.requested[recipe.kind, recipe.key] = recipe
            if (pointer := self.pointers.get((recipe.kind, recipe.key))) is not None:
                digests[name] = pointer.digest

    def _live(self, before: float) -> set[KeyId]:
        roots = {*self._roots.keys, *self.requested, *((build.kind, build.key) for build in self.builds)}
        live: set[KeyId] = set()
        for key_id, pointer in sorted(self.pointers.items(), key=lambda item: order_of(item[0][0])):
            plannable = self.may_be_requested(pointer.label) and self.why_unreachable(pointer.recipe) is None
            if plannable or key_id in roots or pointer.time >= before:
                live.add(key_id)
                self._live_digests.add(pointer.digest)
        return live

    def _closure(self) -> set[ObjectId]:
        """Return the objects that roots name or read, and what these are made from."""
        waiting = [self.pointers[key_id].digest for key_id in self.live] + list(self._roots.objects)
        waiting += [p.digest for p in self.pointers.values() if p.recipe.inputs.get("tagger") in self._roots.objects]
        waiting += [digest for recipe in self._pending_recipes() for digest in recipe.inputs.values()]
        reached: set[ObjectId] = set()
        while waiting:
            digest = waiting.pop()
            for object_id in {(kind, digest) for kind in self._kinds.get(digest, ())} - reached:
                reached.add(object_id)
                above = [each for recipe in self._recipes_of(object_id) for each in recipe.inputs.values()]
                waiting += [each for each in above if not self._kinds.get(each, set()).isdisjoint(_KEPT_WITH_USERS)]
        return reached

    def _pending_recipes(self) -> Iterator[Recipe]:
        """Yield recipes whose inputs are read now or by the next run."""
        yield from self.requested.values()
        yield from (build.work.recipe for build in self.builds if build.work is not None)
        if not self._roots.experiments:
            for folder in (self._store.root / "work").glob("[!.]*/[!.]*"):
                begun = self._store.begun(folder.parent.name, folder.name)
                if begun is not None and self.why_unreachable(begun.recipe) is None:
                    yield begun.recipe

    def _recipes_of(self, object_id: ObjectId) -> list[Recipe]:
        """Return the recipes that gave an object; only the live ones if there are any."""
        key_ids = self.pointers_of.get(object_id, [])
        found = [self.pointers[key_id].recipe for key_id in key_ids if key_id in self.live]
        found = found or [self.pointers[key_id].recipe for key_id in key_ids]
        if not found and object_id in self.present:
            with contextlib.suppress(TagLMError, KeyError, TypeError):  # no readable manifest
                found = [self._store.manifest(*object_id).recipe]
        return found

    def _origins(self) -> set[KeyId]:
        """Return keys that are not live and stay: those of reachable objects and of the texts of language models."""
        kept: set[KeyId] = set()
        for object_id in self.objects:
            key_ids = self.pointers_of.get(object_id, [])
            if self.live.isdisjoint(key_ids):
                kept.update(key_ids)
            if object_id[0] == "language-model":
                for recipe in self._recipes_of(object_id):
                    for key_id in self.pointers_of.get(("token-ids", recipe.inputs.get("token-ids", "")), []):
                        text = self.pointers[key_id].recipe.inputs.get("text", "")
                        kept |= {key_id, *self.pointers_of.get(("corpus", text), [])}
        return kept


def _trained_inputs(recipe: Recipe) -> set[str]:
    """Return digests of inputs that training makes: trained again, they come out different.

    A base is left out: experiments name it by its digest, so that no key has to lead to it.
    """
    inputs = [one for one in recipe_inputs(recipe) if one.kind in KINDS and one.role != BASE]
    return {one.digest for one in inputs if KINDS[one.kind].trained}


def users_by_digest(store: Store) -> Mapping[str, list[Pointer]]:
    """Return, by digest of an object, the pointers of the objects made from it."""
    found: dict[str, list[Pointer]] = defaultdict(list)
    for kind in KINDS:
        for pointer in store.pointers(kind):
            for digest in set(pointer.recipe.inputs.values()):
                found[digest].append(pointer)
    return found
