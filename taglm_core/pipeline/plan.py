"""What would run, and why."""

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
    "no step of this experiment makes it; copy it there, run the experiment that made it, or name another one"
)


class Action(StrEnum):
    """What happens to a step."""

    REUSE = "reuse"
    RUN = "run"
    DEPENDS = "depends"  # runs unless the inputs that are made first come out as they were


@dataclass(frozen=True, slots=True)
class Decision:
    """What happens to one step, and why.

    Attributes:
        step: the step.
        action: reuse, run, or depends.
        reason: in words.
        recipe: what it is made from; None while an input is not made.
        ref: the object that is reused.
    """

    step: Step
    action: Action
    reason: str
    recipe: Recipe | None = None
    ref: Ref | None = None


def recipe_of(store: Store, step: Step, digests: Mapping[str, str]) -> Recipe:
    """A step's recipe, once the content digests of its inputs (by role) are known.

    Raises:
        InputError: a raw input file is not there.
    """
    inputs = {role: digests[role] for role in step.inputs} | {
        role: digest for role, (_, digest) in step.objects.items()
    }
    inputs |= {role: store.raw_digest(paths) for role, paths in step.raw_files().items()}
    return Recipe(step.kind, KINDS[step.kind].version, step.config, inputs)


def given_objects(store: Store, step: Step) -> dict[str, Ref]:
    """The objects a step reads that no step of its experiment makes, by role.

    Raises:
        MissingObject: one of them is not there.
        DamagedObject: one of them is not whole.
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
    """Decide for every step, inputs first. Reads pointers, manifests and file sizes; computes nothing.

    Raises:
        InputError: a raw input file is not there.
        MissingObject: an object that a step would read and no step makes is not there.
        DamagedObject: it is there, but not whole.
    """
    decisions: dict[str, Decision] = {}
    for name, step in graph.items():
        decisions[name] = _decide(store, step, decisions, refresh)
    return decisions


def refs_of(decisions: Mapping[str, Decision]) -> dict[str, Ref]:
    """Return the objects that are in the store, by step name."""
    return {name: decision.ref for name, decision in decisions.items() if decision.ref is not None}


def what_runs(decisions: Mapping[str, Decision]) -> list[str]:
    """A line for each stage of a plan that has something to do, with the first reason."""
    lines = []
    for stage in Stage:
        mine = [one for one in decisions.values() if one.step.stage is stage and one.action is not Action.REUSE]
        if mine:
            why = next((one.reason for one in mine if one.action is Action.RUN), mine[0].reason)
            lines.append(f"{stage}: {len(mine)} step{'s' if len(mine) > 1 else ''} to run ({why})")
    return lines


def set_damaged_aside(store: Store, decisions: Mapping[str, Decision], also: Collection[str] = ()) -> list[str]:
    """Hash every object that a step about to run would read; move damaged ones out of the way.

    Args:
        store: where they are.
        decisions: the plan.
        also: steps whose objects somebody reads, whether a step runs or not.

    Returns:
        A line for each object set aside. Plan again after that, and call this again: more steps run then.

    Raises:
        DamagedObject: one of them no step makes, so that it would not be rebuilt; it is set aside, too.
    """
    running = [decision.step for decision in decisions.values() if decision.action is not Action.REUSE]
    names = dict.fromkeys([*(name for step in running for name in step.inputs.values()), *also])
    lines = []
    for name in names:
        ref = decisions[name].ref
        problem = None if ref is None else store.damage(ref.kind, ref.digest, hashes=True)
        if ref is not None and problem is not None:
            place = store.set_aside(ref.kind, ref.digest, problem)
            if place is not None:  # two steps may have the same object
                lines.append(f"{name}: damaged ({problem}); set aside as {place}, will be rebuilt")
    for step in running:
        for role, (kind, digest) in step.objects.items():
            problem = store.damage(kind, digest, hashes=True)
            if problem is not None:
                place = store.set_aside(kind, digest, problem)
                raise DamagedObject(
                    f"{step.name}: its {role}, {kind} {digest}, was damaged ({problem}) and is set aside as {place}; "
                    f"{_NOT_MADE_HERE}"
                )
    return lines


def _decide(store: Store, step: Step, above: Mapping[str, Decision], refresh: Collection[Stage]) -> Decision:
    step.raw_files()  # a wrong path is an error now, not when its step's turn comes
    decision = _decided(store, step, above, refresh)
    if decision.action is not Action.REUSE:
        given_objects(store, step)  # a missing one is an error now, too
    return decision


def _decided(store: Store, step: Step, above: Mapping[str, Decision], refresh: Collection[Stage]) -> Decision:
    waiting = [name for name in step.inputs.values() if above[name].ref is None]
    if waiting:
        shown = ", ".join(waiting[:2]) + (f" and {len(waiting) - 2} more" if len(waiting) > 2 else "")
        return Decision(step, Action.DEPENDS, f"after {shown}")
    digests = {role: ref.digest for role, name in step.inputs.items() if (ref := above[name].ref) is not None}
    recipe = recipe_of(store, step, digests)
    if step.stage in refresh:
        return Decision(step, Action.RUN, "refresh was asked for", recipe)
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
    # the same step of some experiment says most; among equals the one that differs least, then the newest
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
    """Settings by dotted path."""
    if isinstance(value, Mapping) and value:
        for key, part in value.items():
            yield from flat_settings(part, f"{path}.{key}" if path else str(key))
    else:
        yield path, list(value) if isinstance(value, tuple) else value
