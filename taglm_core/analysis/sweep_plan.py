"""What a sweep would do: steps that its cells share, steps to run, and their time by like steps in the store."""

from __future__ import annotations

import hashlib
import heapq
import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from taglm_core.config.sweep import Cell
from taglm_core.pipeline.context import PipelineContext
from taglm_core.pipeline.kinds import KINDS
from taglm_core.pipeline.plan import Action, Decision, flat_settings
from taglm_core.pipeline.steps import Step
from taglm_core.store.digests import canonical_json
from taglm_core.store.records import Manifest
from taglm_core.store.resources import cores
from taglm_core.store.store import Store

START_SECONDS = 3.1
"""Start of a process that computes, which the seconds of a manifest leave out: the imports of
`taglm_core.process.child`, `taglm_core.stages.tag` and torch, median of 5 on 2 shared cores."""

MOST_LIKE = 5
"""Like steps whose median counts."""

FIXED_SENTENCES, FIXED_TOKENS = 500, 5_000
"""Assumed work that does not grow with the corpus: of a tagger's epoch in sentences (its development set), of other
steps in tokens."""

_NOT_WORK = {
    "seed", "direction", "steps", "warmup_steps", "max_epochs", "patience", "learning_rate", "dropout", "split"
}  # fmt: skip
"""Settings that do not change how long a unit of work takes."""


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step that is to run, once for all cells that need it.

    Attributes:
        step: the step.
        cells: number of cells that need it.
        after: signatures of the steps that run before it.
        seconds: estimated time; None where no like step is in the store.
        bytes: estimated size.
    """

    step: Step
    cells: int
    after: tuple[str, ...]
    seconds: float | None
    bytes: int


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """What a sweep would do.

    Attributes:
        cells: number of cells.
        rows: number of rows.
        steps: steps of all cells together, each cell counted by itself.
        distinct: different steps.
        reused: different steps that are in the store.
        to_run: steps to run, by signature, each after its inputs.
        workers: processes side by side.
    """

    cells: int
    rows: int
    steps: int
    distinct: int
    reused: int
    to_run: Mapping[str, PlannedStep]
    workers: int

    @property
    def unknown(self) -> Counter[str]:
        """Return the numbers of steps whose time is not known, by kind."""
        return Counter(one.step.kind for one in self.to_run.values() if one.seconds is None)

    @property
    def seconds(self) -> float:
        """Return the estimated time of all steps whose time is known, side by side on the workers."""
        return _makespan(self.to_run, self.workers)

    @property
    def bytes(self) -> int:
        """Return the estimated size of all new objects."""
        return sum(one.bytes for one in self.to_run.values())


def plan_sweep(cells: Sequence[Cell]) -> SweepPlan:
    """Plan the cells together. Compute nothing.

    Raises:
        TagLMError: a cell cannot be planned, such as for a missing file.
    """
    estimator = Estimator(Store(cells[0].experiment.run.store))
    total, reused = 0, set[str]()
    users: Counter[str] = Counter()
    sizes: dict[str, int] = {}
    found: dict[str, tuple[Decision, tuple[str, ...]]] = {}
    for cell in cells:
        decisions = PipelineContext.resolve(cell.experiment).plan()
        signatures: dict[str, str] = {}
        for name, decision in decisions.items():
            signatures[name] = _signature(decision, signatures)
            found.setdefault(
                signatures[name], (decision, tuple(signatures[other] for other in decision.step.inputs.values()))
            )
            if (size := _size(decision.step, decisions)) is not None:
                sizes[signatures[name]] = size
            total += 1
        users.update(set(signatures.values()))
        reused |= {signatures[name] for name, one in decisions.items() if one.action is Action.REUSE}
    to_run = {}
    for signature, (decision, inputs) in found.items():
        if signature not in reused:
            seconds, size = estimator.of(decision.step, sizes.get(signature))
            after = tuple(other for other in inputs if other not in reused)
            to_run[signature] = PlannedStep(decision.step, users[signature], after, seconds, size)
    run = cells[0].experiment.run
    rows = sum(len(cell.rows) for cell in cells)
    return SweepPlan(len(cells), rows, total, len(found), len(reused), to_run, run.workers or cores())


def _size(step: Step, decisions: Mapping[str, Decision]) -> int | None:
    """Return the sentences that a tagger learns from, or the tokens that a step reads; None if not known yet."""
    corpus = step.inputs.get("train/corpus") if step.kind == "tagger" else None
    corpus = corpus or next((name for role, name in step.inputs.items() if role.endswith("corpus")), None)
    if corpus is None:
        return None
    unit, share = ("sentences" if step.kind == "tagger" else "tokens"), 1.0
    while (ref := decisions[corpus].ref) is None:  # a share of another corpus may be known before it is drawn
        drawn = decisions[corpus].step
        if "source" not in drawn.inputs:
            return None
        share *= drawn.config.get("fraction") or 1.0
        corpus = drawn.inputs["source"]
    return round(share * ref.counts[unit])


def _signature(decision: Decision, signatures: Mapping[str, str]) -> str:
    """Return what two steps share if they make the same object: the key, or all that it will depend on."""
    if decision.recipe is not None:
        return decision.recipe.key
    step = decision.step
    inputs = {role: signatures[name] for role, name in step.inputs.items()}
    given = [step.kind, step.config, inputs, dict(step.files), {role: list(one) for role, one in step.objects.items()}]
    return hashlib.sha256(canonical_json(given).encode()).hexdigest()


@dataclass
class Estimator:
    """Times and sizes of steps by those of like steps in a store.

    Like are the steps of the same kind with the fewest settings that differ, and of these the nearest in size. Their
    times are scaled by the work.
    """

    store: Store
    _made: dict[str, list[Manifest]] = field(default_factory=dict)

    def of(self, step: Step, size: int | None = None) -> tuple[float | None, int]:
        """Return the estimated seconds (None if no step of the kind is there) and bytes of a step.

        Args:
            step: the step.
            size: sentences or tokens that it reads, if known.
        """
        made = self._of_kind(step.kind)
        if not made:
            return None, 0
        own = dict(flat_settings(step.config))
        far = [
            (_distance(own, dict(flat_settings(one.recipe.config))), abs(math.log(_ratio(size, one)))) for one in made
        ]
        nearest = sorted(zip(far, made, strict=True), key=lambda item: item[0])
        like = [one for (distance, _), one in nearest if distance == nearest[0][0][0]][:MOST_LIKE]
        start = START_SECONDS if KINDS[step.kind].child else 0.0
        scales = [_ratio(size, one) for one in like]
        seconds = [
            scale * one.seconds * _work(step.config) / _work(one.recipe.config)
            for scale, one in zip(scales, like, strict=True)
        ]
        sizes = [scale * one.bytes if step.kind == "embeddings" else one.bytes
                 for scale, one in zip(scales, like, strict=True)]  # fmt: skip
        return statistics.median(seconds) + start, round(statistics.median(sizes))

    def _of_kind(self, kind: str) -> list[Manifest]:
        if kind not in self._made:
            self._made[kind] = [
                self.store.manifest(kind, digest) for own, digest in self.store.objects() if own == kind
            ]
        return self._made[kind]


def _ratio(size: int | None, made: Manifest) -> float:
    """Return how much more a step reads than one that was made, with a share that does not grow with the size."""
    counts = made.counts
    other = counts.get("train_sentences", counts.get("tokens", counts.get("rows")))
    fixed = FIXED_SENTENCES if "train_sentences" in counts else FIXED_TOKENS
    return 1.0 if size is None or other is None else (size + fixed) / (other + fixed)


def _distance(own: Mapping[str, Any], other: Mapping[str, Any]) -> int:
    names = {name for name in own.keys() | other.keys() if name.rpartition(".")[2] not in _NOT_WORK}
    return sum(own.get(name) != other.get(name) for name in names)


def _work(config: Mapping[str, Any]) -> float:
    """Return the work of a step in a unit of its kind: tokens of a language model, epochs of a tagger, else 1."""
    if "streams" in config:
        return float(config["steps"] * config["streams"] * config["window"] * config.get("accumulate", 1))
    if "max_epochs" in config:
        return float(config["max_epochs"] + sum(phase["epochs"] for phase in config.get("annealing", ())))
    return 1.0


def _makespan(steps: Mapping[str, PlannedStep], workers: int) -> float:
    """Return the time of steps in order on so many workers, each as soon as its inputs are there."""
    done: dict[str, float] = {}
    free = [0.0] * workers
    for signature, one in steps.items():
        ready = max((done.get(other, 0.0) for other in one.after), default=0.0)
        begun = max(ready, heapq.heappop(free))
        done[signature] = begun + (one.seconds or 0.0)
        heapq.heappush(free, done[signature])
    return max(done.values(), default=0.0)


def shared_kinds(plan: SweepPlan) -> dict[str, tuple[int, float]]:
    """Return the number and the known seconds of steps to run that several cells need, by kind, the longest first."""
    found: dict[str, tuple[int, float]] = {}
    for one in plan.to_run.values():
        if one.cells > 1:
            count, seconds = found.get(one.step.kind, (0, 0.0))
            found[one.step.kind] = (count + 1, seconds + (one.seconds or 0.0))
    return dict(sorted(found.items(), key=lambda item: -item[1][1]))
