"""Plan of an experiment: which steps run, and why."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from taglm_core.errors import DamagedObject, MissingObject
from taglm_core.pipeline.kinds import KINDS, Stage
from taglm_core.pipeline.steps import Graph, Step
from taglm_core.store.records import Recipe, Ref
from taglm_core.store.store import Pointer, Store

_NOT_MADE_HERE = (
    "no step of this experiment builds it; copy it there, run the experiment that built it, or name another one"
)


class Action(StrEnum):
    """Action on a step."""

    REUSE = "reuse"
    RUN = "run"
    DEPENDS = "depends"  # runs unless its new inputs come out the same as before


@dataclass(frozen=True, slots=True)
class Decision:
    """Action on one step, with the reason.

    Attributes:
        step: the step.
        action: reuse, run, or depends.
        reason: reason for people.
        recipe: recipe of the step; None while an input is missing.
        ref: object to reuse.
    """

    step: Step
    action: Action
    reason: str
    recipe: Recipe | None = None
    ref: Ref | None = None


def recipe_of(store: Store, step: Step, digests: Mapping[str, str]) -> Recipe:
    """Return the recipe of a step, given the content digests of its inputs by role.

    Raises:
        InputError: a raw input file is missing.
    """
    inputs = {role: digests[role] for role in step.inputs} | {
        role: digest for role, (_, digest) in step.objects.items()
    }
    inputs |= {role: store.raw_digest(paths) for role, paths in step.raw_files().items()}
    return Recipe(step.kind, KINDS[step.kind].version, step.config, inputs)


def given_objects(store: Store, step: Step) -> dict[str, Ref]:
    """Return, by role, the objects that a step reads and no step of its experiment makes.

    Raises:
        MissingObject: an object is missing.
        DamagedObject: an object is damaged.
    """
    found = {}
    for role, (kind, digest) in step.objects.items():
        problem = store.damage(kind, digest)
        if problem is not None:
            error = DamagedObject if (kind, digest) in store.objects() else MissingObject
            raise error(f"{step.name}: its {role} is {kind} {digest} of {store.root}: {problem}; {_NOT_MADE_HERE}")
        manifest = store.manifest(kind, digest)
        found[role] = Ref(kind, manifest.recipe.key, digest, manifest.counts)
    return found


def plan(store: Store, graph: Graph, refresh: Collection[Stage] = ()) -> dict[str, Decision]:
    """Decide on every step, inputs first. Read pointers, manifests and file sizes; compute nothing.

    Raises:
        InputError: a raw input file is missing.
        MissingObject: an object that a step reads and no step makes is missing.
        DamagedObject: such an object is damaged.
    """
    decisions: dict[str, Decision] = {}
    for name, step in graph.items():
        decisions[name] = _decide(store, step, decisions, refresh)
    return decisions


def refs_of(decisions: Mapping[str, Decision]) -> dict[str, Ref]:
    """Return the objects in the store by step name."""
    return {name: decision.ref for name, decision in decisions.items() if decision.ref is not None}


def what_runs(decisions: Mapping[str, Decision]) -> list[str]:
    """Return one line per stage with steps to run, with the first reason."""
    lines = []
    for stage in Stage:
        mine = [one for one in decisions.values() if one.step.stage is stage and one.action is not Action.REUSE]
        if mine:
            why = next((one.reason for one in mine if one.action is Action.RUN), mine[0].reason)
            lines.append(f"{stage}: {len(mine)} step{'s' if len(mine) > 1 else ''} to run ({why})")
    return lines


def set_damaged_aside(store: Store, decisions: Mapping[str, Decision], also: Collection[str] = ()) -> list[str]:
    """Hash every object that steps to run would read; set damaged ones aside.

    Args:
        store: the store.
        decisions: the plan.
        also: further steps whose objects are read.

    Returns:
        One line per object set aside. After that, plan and call this again, because more steps run then.

    Raises:
        DamagedObject: no step makes the damaged object again; it is set aside too.
    """
    running = [decision.step for decision in decisions.values() if decision.action is not Action.REUSE]
    names = dict.fromkeys([*(name for step in running for name in step.inputs.values()), *also])
    lines = []
    for name in names:
        ref = decisions[name].ref
        problem = None if ref is None else store.damage(ref.kind, ref.digest, hashes=True)
        if ref is not None and problem is not None:
            path = store.set_aside(ref.kind, ref.digest, problem)
            if path is not None:  # None if another step has the same object
                lines.append(f"{name}: damaged ({problem}); set aside as {path}, will be rebuilt")
    for step in running:
        for role, (kind, digest) in step.objects.items():
            problem = store.damage(kind, digest, hashes=True)
            if problem is not None:
                path = store.set_aside(kind, digest, problem)
                raise DamagedObject(
                    f"{step.name}: its {role}, {kind} {digest}, was damaged ({problem}) and is set aside as {path}; "
                    f"{_NOT_MADE_HERE}"
                )
    return lines


def _decide(store: Store, step: Step, above: Mapping[str, Decision], refresh: Collection[Stage]) -> Decision:
    step.raw_files()  # report a wrong path now, not when the step runs
    decision = _decided(store, step, above, refresh)
    if decision.action is not Action.REUSE:
        given_objects(store, step)  # report a missing object now too
    return decision


def _decided(store: Store, step: Step, above: Mapping[str, Decision], refresh: Collection[Stage]) -> Decision:
    waiting = [name for name in step.inputs.values() if above[name].ref is None]
    if waiting:
        listed = ", ".join(waiting[:2]) + (f" and {len(waiting) - 2} more" if len(waiting) > 2 else "")
        return Decision(step, Action.DEPENDS, f"after {listed}")
    digests = {role: ref.digest for role, name in step.inputs.items() if (ref := above[name].ref) is not None}
    recipe = recipe_of(store, step, digests)
    if step.stage in refresh:
        return Decision(step, Action.RUN, "refresh requested", recipe)
    ref = store.find(recipe)
    if ref is not None:
        return Decision(step, Action.REUSE, f"made {store.manifest(ref.kind, ref.digest).label}", recipe, ref)
    return Decision(step, Action.RUN, _why(store, step, recipe), recipe)


def _why(store: Store, step: Step, recipe: Recipe) -> str:
    pointer = store.pointer(recipe.kind, recipe.key)
    if pointer is not None:
        return f"damaged: {store.damage(recipe.kind, pointer.digest)}"
    if (store.work(recipe) / "checkpoints").exists():
        return "unfinished: goes on from its last checkpoint"
    earlier = store.pointers(step.kind)
    if not earlier:
        return f"no {step.kind} in the store yet"
    # prefer the same step of any experiment, then the fewest differences, then the newest
    same = [pointer for pointer in earlier if pointer.label.partition("/")[2] == step.name] or earlier
    nearest = min(reversed(same), key=lambda pointer: len(list(_changes(pointer, recipe))))
    changes = list(_changes(nearest, recipe))
    more = f" and {len(changes) - 3} more" if len(changes) > 3 else ""
    return f"against {nearest.label}: " + "; ".join(changes[:3]) + more


def _changes(old: Pointer, new: Recipe) -> Iterator[str]:
    if old.recipe.version != new.version:
        yield f"STAGE_VERSION {old.recipe.version} -> {new.version}"
    before, after = dict(flat_settings(old.recipe.config)), dict(flat_settings(new.config))
    for path in sorted(before.keys() | after.keys()):
        if before.get(path) != after.get(path):
            yield f"{path} {before.get(path, 'unset')} -> {after.get(path, 'unset')}"
    for role in sorted({*old.recipe.inputs, *new.inputs}):
        if old.recipe.inputs.get(role) != new.inputs.get(role):
            what = "is gone" if role not in new.inputs else "changed" if role in old.recipe.inputs else "is new"
            yield f"input {role} {what}"


def flat_settings(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield settings by dotted path."""
    if isinstance(value, Mapping) and value:
        for key, part in value.items():
            yield from flat_settings(part, f"{path}.{key}" if path else str(key))
    else:
        yield path, list(value) if isinstance(value, tuple) else value
