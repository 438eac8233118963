"""Building one step: inputs opened and verified, work done, object published."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taglm_core.config.experiment import Experiment, RunConfig
from taglm_core.errors import MissingObject, TagLMError
from taglm_core.pipeline.naming import in_other_words, names_of
from taglm_core.pipeline.plan import given_objects, recipe_of
from taglm_core.pipeline.steps import Step
from taglm_core.store.records import Manifest, Recipe, Ref
from taglm_core.store.resources import explain_disk_full
from taglm_core.store.store import Artifact, Store, Work, list_files
from taglm_core.training.journal import JOURNAL, Journal, log_to_journal
from taglm_core.training.stopping import StopRequest

if TYPE_CHECKING:  # a flow builds what needs no torch, and does without its import
    from taglm_core.training.ranks import Ranks

LIBRARIES = ("torch", "numpy", "pyarrow", "duckdb", "seqeval", "safetensors")


class WorkClock:
    """Seconds of work since it was made: what is waited for does not count."""

    def __init__(self) -> None:
        self._begun, self._waited = time.monotonic(), 0.0

    @property
    def seconds(self) -> float:
        """Time that passed, without the waits."""
        return time.monotonic() - self._begun - self._waited

    @contextlib.contextmanager
    def once_in(self, place: contextlib.AbstractContextManager[None]) -> Iterator[None]:
        """Hold a place; the wait for it does not count."""
        asked = time.monotonic()
        with place:
            self._waited += time.monotonic() - asked
            yield


@dataclass(frozen=True, slots=True)
class BuildContext:
    """What a builder has at hand.

    Attributes:
        config: the step's configuration.
        inputs: opened inputs by role.
        files: raw input files by role.
        out: empty folder for the object's files.
        work: folder that outlives a kill: checkpoints, finished parts.
        run: how things run (changes no number).
        journal: to say how far the work is.
        stop: to be looked at in long work.
        locks: folder of the store's locks.
        ranks: the processes that do this work together; the first one alone fills `out`. None: one process.
        clock: how long the work takes.
    """

    config: Mapping[str, Any]
    inputs: Mapping[str, Artifact]
    files: Mapping[str, list[Path]]
    out: Path
    work: Path
    run: RunConfig
    journal: Journal
    stop: StopRequest
    locks: Path
    ranks: Ranks | None = None
    clock: WorkClock = field(default_factory=WorkClock)


@dataclass(frozen=True, slots=True)
class BuildResult:
    """What a builder says of the object in `BuildContext.out`.

    Attributes:
        counts: sizes.
        metrics: results.
        seeds: seeds used.
        not_payload: names of files that do not enter the content digest (figures, logs).
        machine: device, threads, instruction set, where they matter.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    seeds: Mapping[str, int] = field(default_factory=dict)
    not_payload: tuple[str, ...] = ()
    machine: Mapping[str, str | int] = field(default_factory=dict)


def build(
    store: Store,
    step: Step,
    inputs: Mapping[str, Ref],
    *,
    run: RunConfig,
    label: str,
    refresh: bool = False,
    made: Mapping[str, Any] | None = None,
    stop: StopRequest | None = None,
    ranks: Ranks | None = None,
) -> Ref:
    """Build a step's object, unless somebody made it while this one waited for the key's lock.

    Args:
        store: where inputs are and the object goes.
        step: what to build.
        inputs: objects of other steps it reads, by role; `step.objects` are added.
        run: how things run.
        label: `experiment/step`, for people.
        refresh: build even if the object is there.
        made: further facts for the manifest (run ids, experiment settings).
        stop: request to stop; long work ends with `Interrupted` then.
        ranks: the processes that do this work together. The first one holds the key's lock and publishes; the others
            are told what it found, and compute along.

    Raises:
        TagLMError: as the builder says; unfinished work stays and the next run goes on from it.
    """
    recipe = recipe_of(store, step, {role: ref.digest for role, ref in inputs.items()})
    work = store.work(recipe)
    stop = stop or StopRequest()
    if ranks is not None and not ranks.is_main:
        return _build_along(store, step, recipe, inputs, run, stop, ranks)
    asked = time.time()
    with store.lock(recipe, check_stop=stop.check), explain_disk_full(store.root):
        pointer = store.pointer(recipe.kind, recipe.key)
        ref = store.find(recipe)
        if ref is not None and (not refresh or (pointer is not None and pointer.time >= asked)):
            if ranks is not None:
                ranks.broadcast(True)
            return ref
        out = work / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        clock = WorkClock()
        store.begin(Work(recipe, label, (made or {}).get("experiment")))
        opened = _opened(store, step, inputs)
        if ranks is not None:
            ranks.broadcast(False)  # it is to be made, and its inputs are whole
        files = step.raw_files()
        with contextlib.closing(Journal(work / JOURNAL)) as journal:
            locks = store.root / "locks"
            context = BuildContext(step.config, opened, files, out, work, run, journal, stop, locks, ranks, clock)
            try:
                with log_to_journal(journal) if step.made_as.child else contextlib.nullcontext():
                    built = step.made_as.builder()(context)
            except TagLMError as error:
                raise in_other_words(error, names_of(step, opened, _experiment(made))) from error
        if step.made_as.child:
            shutil.copyfile(work / JOURNAL, out / JOURNAL)
        manifest = Manifest(
            label=label,
            recipe=recipe,
            files=list_files(out, (*built.not_payload, JOURNAL)),
            counts=built.counts,
            metrics=built.metrics,
            seeds=built.seeds,
            seconds=round(clock.seconds, 3),
            made={**_environment(), **built.machine, **(made or {})},
        )
        ref = store.publish(out, manifest)
    if ranks is not None:
        ranks.barrier()
    return ref


def _build_along(
    store: Store,
    step: Step,
    recipe: Recipe,
    inputs: Mapping[str, Ref],
    run: RunConfig,
    stop: StopRequest,
    ranks: Ranks,
) -> Ref:
    """What the other ranks do: the same work, but they write, say and publish nothing."""
    if not ranks.broadcast(False):
        opened = _opened(store, step, inputs)
        files = step.raw_files()
        work = store.work(recipe)
        with contextlib.closing(Journal(Path(os.devnull))) as journal:
            step.made_as.builder()(
                BuildContext(
                    step.config, opened, files, work / "out", work, run, journal, stop, store.root / "locks", ranks
                )
            )
        ranks.barrier()
    ref = store.find(recipe)
    if ref is None:
        raise MissingObject(f"{recipe.kind} {recipe.key} was made, but is not in {store.root} any more; run again")
    return ref


def _experiment(made: Mapping[str, Any] | None) -> Experiment | None:
    """Whose step is built, where the caller has said."""
    settings = (made or {}).get("experiment")
    return None if settings is None else Experiment.model_validate(settings)


def _opened(store: Store, step: Step, inputs: Mapping[str, Ref]) -> dict[str, Artifact]:
    """All objects that a step reads, verified."""
    return {role: store.open(given) for role, given in {**inputs, **given_objects(store, step)}.items()}


def clear_work(store: Store, step: Step, inputs: Mapping[str, Ref]) -> None:
    """Remove a finished step's work folder (checkpoints, journal), unless another run has begun the same work again."""
    recipe = recipe_of(store, step, {role: ref.digest for role, ref in inputs.items()})
    work = store.work(recipe)
    with store.lock(recipe, wait=False) as free:  # whoever holds it clears up after itself
        if free and not (work / "out").exists():  # unfinished work of a run that was killed: the next goes on from it
            shutil.rmtree(work, ignore_errors=True)


def _environment() -> dict[str, Any]:
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {
        "time": round(time.time(), 3),
        "python": platform.python_version(),
        "platform": f"{sys.platform} {platform.machine()}",
        "libraries": versions,
    }
