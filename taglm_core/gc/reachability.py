"""What in a store is needed.

Reachability is what a key leads to that a plan can still ask for, what a running job reads, what is named from outside (a
tagger behind an MLflow alias), and what these were made from as far as that cannot be made again from the rest:
language models with those they went on from, the labelled corpora, word vectors, the tagger of an evaluation. Not the
text that a language model has read, nor embeddings: both are large, and the next run that needs them makes them again.
Keys are small and outlive their objects where they tell which text a language model has read (`continue_from: latest`).
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
from taglm_core.store.records import Recipe
from taglm_core.store.store import Pointer, Store

Place = tuple[str, str]  # kind and key of a pointer, or kind and digest of an object
_KEPT_WITH = {kind.name for kind in KINDS.values() if kind.kept_with_users}


@dataclass(frozen=True, slots=True)
class GcRoots:
    """What is needed beyond what the store's keys say.

    Attributes:
        experiments: with bases settled; where some are given, only keys that they use count.
        objects: digests of objects that somebody else names, and who.
        keys: (kind, key) of objects that somebody still has to read.
    """

    experiments: tuple[Experiment, ...] = ()
    objects: Mapping[str, str] = field(default_factory=dict)
    keys: frozenset[Place] = frozenset()


def why_old(recipe: Recipe) -> str | None:
    """How far a recipe's version is behind. A newer one, or an unknown kind, is another checkout's: not judged."""
    kind = KINDS.get(recipe.kind)
    if kind is None or recipe.version >= kind.version:
        return None
    return f"STAGE_VERSION {recipe.version}, now {kind.version}"


def experiment_recipes(store: Store, experiment: Experiment) -> dict[str, Recipe]:
    """Recipes of the steps whose inputs have been made once, whether the objects are still there or not.

    Raises:
        InputError: a raw input file is not there.
    """
    recipes: dict[str, Recipe] = {}
    digests: dict[str, str] = {}
    for name, step in build_graph(experiment).items():
        if all(above in digests for above in step.inputs.values()):
            recipe = recipes[name] = recipe_of(store, step, {role: digests[n] for role, n in step.inputs.items()})
            pointer = store.pointer(recipe.kind, recipe.key)
            if pointer is not None:
                digests[name] = pointer.digest
    return recipes


class Reachability:
    """One look at a store.

    Args:
        store: the store.
        needs: what is needed beyond what its keys say.
        before: pointers made since (seconds since 1970) count, whatever they are.

    Attributes:
        there: places of all objects.
        pointers: all that can be read, by place.
        named: places of the pointers that name an object, by the object's place.
        jobs: what is being built now.
        asked: recipes that the experiments and running jobs ask for, by place.
        unsettled: steps of the experiments whose recipes are not known before others are made.
        live: places of the pointers that a plan may ask for.
        objects: places of the objects that are needed, there or not.
        keys: places of the pointers that stay: the live ones, and those that tell where needed objects come from.

    Raises:
        InputError: a raw input file of a given experiment is not there, so that its keys are unknown.
    """

    def __init__(self, store: Store, needs: GcRoots, before: float) -> None:
        self._store, self._needs = store, needs
        kinds = sorted(path.name for path in (store.root / "keys").glob("[!.]*"))
        self.there = set(store.objects())
        self.pointers = {(p.recipe.kind, p.recipe.key): p for kind in kinds for p in store.pointers(kind)}
        self.named: dict[Place, list[Place]] = defaultdict(list)
        for place, pointer in self.pointers.items():
            self.named[place[0], pointer.digest].append(place)
        self._kinds: dict[str, set[str]] = defaultdict(set)
        for kind, digest in {*self.there, *self.named}:
            self._kinds[digest].add(kind)
        self.jobs = active_builds(store)
        self.asked: dict[Place, Recipe] = {}
        self.unsettled: set[str] = set()
        self._read_experiments()
        self._digests: set[str] = set()  # of objects that live pointers name
        self.live = self._live(before)
        self.objects = self._closure()
        self.keys = self.live | self._lineage()

    def counts(self, label: str) -> bool:
        """Whether a step (by its label) that is not asked for might be, once other steps are made."""
        return not self._needs.experiments or label.partition("/")[2] in self.unsettled

    def why_lost(self, recipe: Recipe) -> str | None:
        """Why no plan can ask for what was made by a recipe, whatever the experiment; None where one can."""
        if _trained_inputs(recipe) <= self._digests:
            return why_old(recipe)
        return why_old(recipe) or "made from what no key leads to any more"

    def _read_experiments(self) -> None:
        for experiment in self._needs.experiments:
            self._read(experiment)
        for job in self.jobs:  # what else their experiments use is needed as well as what they are at
            if self._needs.experiments and job.work is not None and job.work.experiment is not None:
                with contextlib.suppress(ValueError, TagLMError):  # begun by another version; its inputs count anyway
                    self._read(Experiment.model_validate(job.work.experiment))

    def _read(self, experiment: Experiment) -> None:
        recipes = experiment_recipes(self._store, experiment)
        self.asked |= {(recipe.kind, recipe.key): recipe for recipe in recipes.values()}
        self.unsettled |= set(build_graph(experiment)) - recipes.keys()

    def _live(self, before: float) -> set[Place]:
        wanted = {*self._needs.keys, *self.asked, *((job.kind, job.key) for job in self.jobs)}
        live: set[Place] = set()
        for place, pointer in sorted(self.pointers.items(), key=lambda item: order_of(item[0][0])):
            found = self.counts(pointer.label) and self.why_lost(pointer.recipe) is None
            if found or place in wanted or pointer.time >= before:
                live.add(place)
                self._digests.add(pointer.digest)
        return live

    def _closure(self) -> set[Place]:
        """Objects that live pointers name, those that jobs read, those named from outside, and what these need."""
        waiting = [self.pointers[place].digest for place in self.live] + list(self._needs.objects)
        waiting += [p.digest for p in self.pointers.values() if p.recipe.inputs.get("tagger") in self._needs.objects]
        waiting += [digest for recipe in self._read_now() for digest in recipe.inputs.values()]
        needed: set[Place] = set()
        while waiting:
            digest = waiting.pop()
            for place in {(kind, digest) for kind in self._kinds.get(digest, ())} - needed:
                needed.add(place)
                above = [each for recipe in self._made_by(place) for each in recipe.inputs.values()]
                waiting += [each for each in above if not self._kinds.get(each, set()).isdisjoint(_KEPT_WITH)]
        return needed

    def _read_now(self) -> Iterator[Recipe]:
        """Recipes whose inputs are read now, or will be by the next run."""
        yield from self.asked.values()
        yield from (job.work.recipe for job in self.jobs if job.work is not None)
        if not self._needs.experiments:
            for folder in (self._store.root / "work").glob("[!.]*/[!.]*"):
                begun = self._store.begun(folder.parent.name, folder.name)
                if begun is not None and self.why_lost(begun.recipe) is None:
                    yield begun.recipe

    def _made_by(self, place: Place) -> list[Recipe]:
        """How an object was made; of several ways those that still count."""
        names = self.named.get(place, [])
        found = [self.pointers[name].recipe for name in names if name in self.live]
        found = found or [self.pointers[name].recipe for name in names]
        if not found and place in self.there:
            with contextlib.suppress(TagLMError, KeyError, TypeError):  # no readable manifest
                found = [self._store.manifest(*place).recipe]
        return found

    def _lineage(self) -> set[Place]:
        """Pointers that no plan asks for and that stay: of needed objects, and of the texts that models have read."""
        kept: set[Place] = set()
        for place in self.objects:
            if self.live.isdisjoint(self._names(place)):
                kept.update(self._names(place))
            if place[0] == "language-model":
                for recipe in self._made_by(place):
                    for name in self._names(("token-ids", recipe.inputs.get("token-ids", ""))):
                        kept |= {name, *self._names(("corpus", self.pointers[name].recipe.inputs.get("text", "")))}
        return kept

    def _names(self, place: Place) -> list[Place]:
        return self.named.get(place, [])


def _trained_inputs(recipe: Recipe) -> set[str]:
    """Return digests of inputs that only training makes: made again they are others, unlike corpora and vocabularies.

    Not of a base: experiments name it by its digest, whether a key leads to it or not.
    """
    inputs = [one for one in recipe_inputs(recipe) if one.kind in KINDS and one.role != BASE]
    return {one.digest for one in inputs if KINDS[one.kind].trained}


def readers(store: Store) -> Mapping[str, list[Pointer]]:
    """By digest of an object: the pointers whose objects were made from it."""
    found: dict[str, list[Pointer]] = defaultdict(list)
    for kind in KINDS:
        for pointer in store.pointers(kind):
            for digest in set(pointer.recipe.inputs.values()):
                found[digest].append(pointer)
    return found
