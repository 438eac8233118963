"""Build of one object: verify the inputs, run the builder, publish the object."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taglm_core.config.experiment import RunConfig
from taglm_core.errors import ConfigError, InputError, MissingObject, TagLMError
from taglm_core.pipeline.naming import with_input_names
from taglm_core.pipeline.roles import RAW
from taglm_core.pipeline.steps import Step
from taglm_core.store.durable import read_json, write_json
from taglm_core.store.records import Manifest, Recipe, Ref
from taglm_core.store.resources import explain_disk_full
from taglm_core.store.store import Artifact, Store, Work, list_files
from taglm_core.training.journal import JOURNAL, Journal, log_to_journal
from taglm_core.training.stopping import StopRequest

if TYPE_CHECKING:  # imports torch, which flows do without
    from taglm_core.training.ranks import Ranks

LIBRARIES = ("torch", "numpy", "pyarrow", "duckdb", "seqeval", "safetensors")


class WorkClock:
    """Measure the seconds of work: time since creation without the waits for a reservation."""

    def __init__(self) -> None:
        self._begun, self._waited = time.monotonic(), 0.0

    @property
    def seconds(self) -> float:
        """Return the seconds since creation, without waits."""
        return time.monotonic() - self._begun - self._waited

    @contextlib.contextmanager
    def untimed(self, reservation: contextlib.AbstractContextManager[None]) -> Iterator[None]:
        """Enter a reservation; the wait for it does not count as work."""
        start = time.monotonic()
        with reservation:
            self._waited += time.monotonic() - start
            yield


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """One object to build, as plain data for this process or a child process.

    Attributes:
        step: step of the object.
        recipe: recipe of the object.
        inputs: objects to read, by role.
        run: the `run` section, with an absolute store.
        label: `experiment/step`, for people.
        refresh: build the object even if it is in the store.
        made: facts for the manifest: run ids and settings of the experiment.
        names: users' names of its inputs, by role.
    """

    step: Step
    recipe: Recipe
    inputs: Mapping[str, Ref]
    run: RunConfig
    label: str
    refresh: bool = False
    made: Mapping[str, Any] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write the request as JSON."""
        plain = {name: getattr(self, name) for name in ("label", "refresh", "made", "names")}
        inputs = {role: asdict(ref) for role, ref in self.inputs.items()}
        run = self.run.model_dump(mode="json")
        write_json(
            path, {**plain, "step": asdict(self.step), "recipe": asdict(self.recipe), "inputs": inputs, "run": run}
        )

    @classmethod
    def load(cls, path: Path) -> BuildRequest:
        """Return the request that `save` wrote.

        Raises:
            ConfigError: the file holds no request.
        """
        data = read_json(path)
        if data is None:
            raise ConfigError(f"{path}: found no build request; the stage that starts this process writes it")
        inputs = {role: Ref(**ref) for role, ref in data["inputs"].items()}
        typed = {"step": Step(**data["step"]), "recipe": Recipe(**data["recipe"]), "inputs": inputs}
        return cls(**{**data, **typed, "run": RunConfig.model_validate(data["run"])})


@dataclass(frozen=True, slots=True)
class BuildContext:
    """Arguments of a builder.

    Attributes:
        config: configuration of the step.
        inputs: opened inputs by role.
        files: raw input files by role.
        out: empty folder for the files of the object.
        work: folder that survives a kill, for checkpoints and finished parts.
        run: the `run` section; changes no number.
        journal: journal for progress.
        stop: request to stop; long work checks it.
        locks: folder of the store's locks.
        ranks: None for one process; otherwise only the main rank writes to `out`.
        clock: clock of the work.
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
    """Result of a builder, beside the files in `BuildContext.out`.

    Attributes:
        counts: sizes.
        metrics: results.
        seeds: seeds used.
        not_payload: names of files that do not enter the content digest (figures, logs).
        machine: device, threads and instruction set, if they matter.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    seeds: Mapping[str, int] = field(default_factory=dict)
    not_payload: tuple[str, ...] = ()
    machine: Mapping[str, str | int] = field(default_factory=dict)


def build(store: Store, request: BuildRequest, *, stop: StopRequest | None = None, ranks: Ranks | None = None) -> Ref:
    """Build an object. If another process builds it while this one waits for the lock, return that one.

    Args:
        store: store of inputs and object.
        request: the build request.
        stop: request to stop; long work then ends with `Interrupted`.
        ranks: ranks of the build. The main rank holds the lock of the key and publishes; the others compute along.

    Raises:
        TagLMError: the error of the builder; unfinished work stays, and the next run goes on from it.
    """
    stop = stop or StopRequest()
    if ranks is not None and not ranks.is_main:
        return _build_along(store, request, stop, ranks)
    step, recipe, start = request.step, request.recipe, time.time()
    work = store.work(recipe)
    with store.lock(recipe, check_stop=stop.check), explain_disk_full(store.root):
        pointer = store.pointer(recipe.kind, recipe.key)
        ref = store.find(recipe)
        if ref is not None and (not request.refresh or (pointer is not None and pointer.time >= start)):
            if ranks is not None:
                ranks.broadcast(True)
            return ref
        out = work / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        clock = WorkClock()
        store.begin(Work(recipe, request.label, request.made.get("experiment")))
        opened = _opened(store, request)
        files = _raw_files(store, request)
        if ranks is not None:
            ranks.broadcast(False)  # the object has to be built, and its inputs are undamaged
        with contextlib.closing(Journal(work / JOURNAL)) as journal:
            locks = store.root / "locks"
            context = BuildContext(
                step.config, opened, files, out, work, request.run, journal, stop, locks, ranks, clock
            )
            try:
                with log_to_journal(journal) if step.made_as.child else contextlib.nullcontext():
                    built = step.made_as.builder()(context)
            except TagLMError as error:
                names = {artifact.path: request.names.get(role, role) for role, artifact in opened.items()}
                raise with_input_names(error, names) from error
        if step.made_as.child:
            shutil.copyfile(work / JOURNAL, out / JOURNAL)
        manifest = Manifest(
            label=request.label,
            recipe=recipe,
            files=list_files(out, (*built.not_payload, JOURNAL)),
            counts=built.counts,
            metrics=built.metrics,
            seeds=built.seeds,
            seconds=round(clock.seconds, 3),
            made={**_environment(), **built.machine, **request.made},
            inputs=dict.fromkeys(step.files, RAW) | {role: ref.kind for role, ref in request.inputs.items()},
        )
        ref = store.publish(out, manifest)
    if ranks is not None:
        ranks.barrier()
    return ref


def clear_work(store: Store, recipe: Recipe) -> None:
    """Remove the work folder of a finished key (checkpoints, journal), unless another run builds the key again."""
    work = store.work(recipe)
    with store.lock(recipe, wait=False) as free:  # the holder of the lock clears its own work
        if free and not (work / "out").exists():  # no work of a killed run
            shutil.rmtree(work, ignore_errors=True)


def _build_along(store: Store, request: BuildRequest, stop: StopRequest, ranks: Ranks) -> Ref:
    """Compute along as another rank than the main one; write and publish nothing."""
    step, recipe = request.step, request.recipe
    if not ranks.broadcast(False):
        opened, work = _opened(store, request), store.work(recipe)
        with contextlib.closing(Journal(Path(os.devnull))) as journal:
            out, locks = work / "out", store.root / "locks"
            step.made_as.builder()(
                BuildContext(step.config, opened, step.raw_files(), out, work, request.run, journal, stop, locks, ranks)
            )
        ranks.barrier()
    ref = store.find(recipe)
    if ref is None:
        raise MissingObject(f"{recipe.kind} {recipe.key} was built, but is no longer in {store.root}; run again")
    return ref


def _opened(store: Store, request: BuildRequest) -> dict[str, Artifact]:
    """Open and verify all inputs of a build."""
    return {role: store.open(ref) for role, ref in request.inputs.items()}


def _raw_files(store: Store, request: BuildRequest) -> dict[str, list[Path]]:
    """Return the raw files of a step, by role.

    Raises:
        InputError: a file has changed since the run was planned.
    """
    files = request.step.raw_files()
    for role, paths in files.items():
        if store.raw_digest(paths) != request.recipe.inputs[role]:
            pattern = request.step.files[role]
            raise InputError(pattern, None, "a file that changed during the run", "the file it began with", "run again")
    return files


def _environment() -> dict[str, Any]:
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {
        "time": round(time.time(), 3),
        "python": platform.python_version(),
        "platform": f"{sys.platform} {platform.machine()}",
        "libraries": versions,
    }
