"""Real training processes: killed, stopped, orphaned and resumed, they make the same object."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from taglm_core.config.load import load_experiment
from taglm_core.errors import ChildFailed, DamagedObject, Interrupted, MissingObject, OutOfResources, TagLMError
from taglm_core.pipeline.build import clear_work
from taglm_core.pipeline.context import PipelineContext
from taglm_core.pipeline.graph import build_graph
from taglm_core.pipeline.plan import recipe_of
from taglm_core.process import children
from taglm_core.process.child import USER_ERROR, error_file, load_error
from taglm_core.process.children import CHILDREN
from taglm_core.process.launch import make
from taglm_core.process.slots import slot
from taglm_core.store.records import Recipe, Ref
from taglm_core.store.store import Store
from taglm_core.training.journal import JOURNAL, Event, read_events
from tests.building import build_up_to

STEP = "language-model/main/forward"
SMALL = ["demo.unlabelled_sentences=4000", "unlabelled.shards=3", "unlabelled.heldout_fraction=0.05",
         "language_models.main.input={kind: char-cnn, dim: 4, filters: [[2, 8]], size: 8}",
         "language_models.main.units=16", "language_models.main.projection=8", "language_models.main.streams=4",
         "language_models.main.window=5", "language_models.main.steps=400",
         "language_models.main.softmax={kind: full}",
         "run.checkpoint_seconds=0.05", "run.log_steps=1", "run.evaluate_steps=100"]  # fmt: skip


class Bed:
    """A store with everything that the language model needs."""

    def __init__(self, root: Path, *changes: str) -> None:
        self.experiment = load_experiment(None, [*SMALL, f"run.store={root}", *changes])
        self.context = PipelineContext.resolve(self.experiment)
        self.store, graph = self.context.store, self.context.graph
        refs = build_up_to(self.experiment, "token-ids")
        self.inputs = {role: refs[above] for role, above in graph[STEP].inputs.items()}
        self.request = self.context.request(graph[STEP], self.inputs)

    @property
    def recipe(self) -> Recipe:
        return self.request.recipe

    @property
    def work(self) -> Path:
        return self.store.work(self.recipe)

    def steps_said(self) -> int:
        return max([event.step for event, _ in read_events(self.work / JOURNAL)], default=0)

    def run(self) -> Ref:
        def on_events(events: list[Event], offset: int) -> None:
            self.trained_from = self.trained_from or time.monotonic()
            self.seen += events
            self.offsets.append(offset)

        self.trained_from = 0.0
        self.seen, self.offsets = list[Event](), list[int]()
        ref = make(self.store, self.request, on_events)
        self.training_seconds = time.monotonic() - self.trained_from
        return ref

    def start(self) -> subprocess.Popen[bytes]:
        """The process by itself, as `make` starts it."""
        self.work.mkdir(parents=True, exist_ok=True)
        self.request.save(self.work / "request.json")
        command = [sys.executable, "-m", "taglm_core.process.child", str(self.work / "request.json")]
        return subprocess.Popen(command, stdin=subprocess.PIPE)

    def run_and_stop(
        self, step: int, message: str = "checkpoint written", signals: Sequence[signal.Signals] = ()
    ) -> None:
        """Run, and have all processes sent signals and stopped from another thread when a step is done."""

        def stop() -> None:
            self.wait_for(step)
            for number in signals:
                send(Path(tempfile.gettempdir()), number)
            CHILDREN.stop()

        thread = threading.Thread(target=stop)
        thread.start()
        with pytest.raises(Interrupted, match=message):
            self.run()
        thread.join()

    def wait_for(self, step: int) -> None:
        """Until the journal says that a step is done."""
        self.wait_until(lambda: self.steps_said() >= step)

    def wait_until(self, met: Callable[[], bool]) -> None:
        until = time.monotonic() + 120
        while not met():
            assert time.monotonic() < until, "the process says nothing"
            time.sleep(0.02)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Bed:
    """A run that was never disturbed."""
    CHILDREN.start_afresh()  # a test before this one may have stopped all processes
    bed = Bed(tmp_path_factory.mktemp("reference") / "store")
    bed.run()
    return bed


@pytest.fixture(scope="module")
def reference(undisturbed: Bed) -> Ref:
    """The object of a run that was never disturbed."""
    ref = undisturbed.store.find(undisturbed.recipe)
    assert ref is not None
    return ref


@pytest.fixture
def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bed:
    CHILDREN.start_afresh()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # so that a process is known by its job's path
    return Bed(tmp_path / "store")


@pytest.mark.parametrize("kills", [3, pytest.param(25, marks=pytest.mark.real)])
def test_killed_and_resumed_gives_the_same_digest(bed: Bed, undisturbed: Bed, tmp_path: Path, kills: int) -> None:
    """With kill -9 at moments drawn uniformly over most of the training, dropout on, three shards: the same bits.

    Every third kill then waits for the next checkpoint and falls into its writing. `make test-real` kills 25 times in
    a training of twice the length, which takes minutes.
    """
    if kills > 3:
        longer = "language_models.main.steps=800"
        bed, undisturbed = Bed(tmp_path / "longer", longer), Bed(tmp_path / "undisturbed", longer)
        undisturbed.run()
    reference, seconds = undisturbed.store.find(undisturbed.recipe), undisturbed.training_seconds
    assert reference is not None
    moments = sorted(random.Random(kills).uniform(0, 0.85 * seconds) for _ in range(kills))
    writing: set[str] = set()  # folders of checkpoints that were being written when the kill came
    for number, (before, moment) in enumerate(itertools.pairwise([0.0, *moments])):
        goal = len(_resumed(bed)) + any((bed.work / "checkpoints").glob("step-*"))  # it says that it goes on
        with bed.start() as process:
            bed.wait_until(lambda goal=goal: bed.steps_said() > 0 and len(_resumed(bed)) >= goal)  # type: ignore[misc]
            time.sleep(moment - before)
            before_it = len(writing)
            while number % 3 == 2 and len(writing) == before_it and process.poll() is None:
                writing.update(folder.name for folder in (bed.work / "checkpoints").glob(".writing-*"))
            process.kill()
    assert bed.run() == reference
    assert reference.counts["unread_tokens"] > 0  # counts are the same, too
    assert writing, "no kill met a checkpoint while it was written"


def _resumed(bed: Bed) -> list[str]:
    return [event.text for event, _ in read_events(bed.work / JOURNAL) if event.text.startswith("resumed")]


def test_stopped_on_request_it_writes_a_checkpoint(bed: Bed, reference: Ref) -> None:
    """SIGTERM ends it with status 75 and a checkpoint at the step it had reached."""
    with bed.start() as process:
        bed.wait_for(30)
        process.terminate()
        assert process.wait(60) == 75
    said = bed.steps_said()
    assert (bed.work / "checkpoints" / f"step-{said:09d}").is_dir()
    assert bed.run() == reference


def test_it_ends_when_its_parent_is_gone(bed: Bed) -> None:
    """The parent's end of standard input closes: checkpoint, status 75."""
    with bed.start() as process:
        bed.wait_for(10)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(60) == 75


def test_all_processes_can_be_stopped_from_another_thread(bed: Bed) -> None:
    """What a cancelled flow does: the watcher gets Interrupted, and nothing new starts."""
    bed.run_and_stop(5)
    with pytest.raises(Interrupted, match="before it began"):
        bed.run()


def test_it_stops_while_it_waits_for_another_run(bed: Bed, reference: Ref) -> None:
    """Who waits for somebody who makes the same thing gives the wait up when asked to."""
    with bed.store.lock(bed.recipe), bed.start() as process:
        time.sleep(5)
        process.terminate()
        assert process.wait(20) == 75
    with bed.store.lock(bed.recipe):
        thread = threading.Timer(5, CHILDREN.stop)
        thread.start()
        with pytest.raises(Interrupted, match="before it began"):
            bed.run()
    CHILDREN.start_afresh()
    assert bed.run() == reference


def test_what_does_not_stop_is_made_to(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that hears nothing does not keep a stopped run waiting for ever; it was no failure."""
    monkeypatch.setattr(children, "STOP_SECONDS", 2.0)
    monkeypatch.setattr(children, "SPARE_SECONDS", 0.0)
    bed.run_and_stop(5, "last checkpoint", [signal.SIGSTOP])


def send(tmp_path: Path, number: signal.Signals) -> None:
    """Send a signal to the processes whose jobs lie in a folder."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(tmp_path).encode() in path.read_bytes():
                os.kill(int(path.parent.name), number)
        except (FileNotFoundError, ProcessLookupError):
            continue


def test_a_process_that_dies_is_explained(bed: Bed, tmp_path: Path) -> None:
    """Killed from outside: the message names the signal, what happens next, and where the log is kept."""

    def kill() -> None:
        bed.wait_for(5)
        send(tmp_path, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    with pytest.raises(ChildFailed, match=r"SIGKILL.*goes on from its last checkpoint.*child\.log"):
        bed.run()
    assert (bed.work / "child.log").is_file()
    thread.join()


def test_errors_cross_the_process_border(bed: Bed) -> None:
    """A damaged input raises the same class here as there, with the same message."""
    path = bed.store.open(bed.inputs["token-ids"]).path / "train-00000.ids"
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedObject, match=r"train-00000\.ids has other bytes"):
        bed.run()


def test_a_full_gpu_is_said_with_what_to_lower(tmp_path: Path) -> None:
    """What torch raises there becomes an error for the user; other errors of its kind stay what they are."""
    path = tmp_path / "request.json"

    def child(error: str) -> int:
        code = f"""import sys, torch
from taglm_core.process import child
def full(*_): raise {error}("CUDA out of memory. Tried to allocate 2 GiB.")
child.BuildRequest.load, sys.argv = full, ["child", {str(path)!r}]
sys.exit(child.main())"""
        command = [sys.executable, "-c", code]
        return subprocess.run(command, stdin=subprocess.PIPE, capture_output=True, check=False).returncode

    assert child("RuntimeError") == 1
    assert load_error(error_file(path, 0)) is None
    assert child("torch.OutOfMemoryError") == USER_ERROR
    with pytest.raises(OutOfResources, match=r"GPU's memory is full \(CUDA out of memory\); lower run\.device_share"):
        raise load_error(error_file(path, 0)) or AssertionError


def test_journal_reaches_the_watcher_once(undisturbed: Bed) -> None:
    """Events come in order, each once, with growing offsets."""
    assert undisturbed.seen == [event for event, _ in read_events(undisturbed.work / JOURNAL)]
    assert undisturbed.offsets == sorted(set(undisturbed.offsets))


def test_two_runs_of_the_same_key_keep_their_jobs_and_errors_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Side by side in one work folder, each gets the error of its own job, and nothing is left lying about."""
    CHILDREN.start_afresh()
    own = tmp_path / "own"
    own.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(own))
    context = PipelineContext.resolve(load_experiment(None, [f"run.store={tmp_path / 'store'}"]))
    nowhere = {kind: Ref(kind, "0" * 32, "0" * 32, {}) for kind in ("language-model", "corpus")}
    user = context.request(context.graph["embeddings/main/forward/train"], nowhere)
    jobs = {"user": user, "bug": replace(user, inputs={})}
    errors: dict[str, BaseException] = {}

    def run(name: str) -> None:
        try:
            make(context.store, jobs[name], lambda *_: None)
        except TagLMError as error:
            errors[name] = error

    threads = [threading.Thread(target=run, args=[name]) for name in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert isinstance(errors["user"], MissingObject)
    assert isinstance(errors["bug"], ChildFailed)
    assert "KeyError: 'language-model'" in str(errors["bug"])
    assert list(own.iterdir()) == []


def test_work_that_another_run_has_begun_again_is_not_cleared(tmp_path: Path) -> None:
    """Neither while somebody holds the key's lock, nor what a killed run left to go on from."""
    store = Store(tmp_path / "store")
    recipe = recipe_of(store, build_graph(load_experiment(None))["demo"], {})
    work = store.work(recipe)
    (work / "checkpoints").mkdir(parents=True)
    with store.lock(recipe):
        clear_work(store, recipe)
    assert work.exists()
    (work / "out").mkdir()
    clear_work(store, recipe)
    assert work.exists()
    (work / "out").rmdir()
    clear_work(store, recipe)
    assert not work.exists()


def test_slots_limit_what_runs_side_by_side(tmp_path: Path) -> None:
    """With two places a third waits until one is free."""
    CHILDREN.start_afresh()
    inside, most = [], []

    def work() -> None:
        with slot(tmp_path, 2):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.05)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 2
    assert len(most) == 6
