"""Two ranks under torchrun: one object comes of them, and whatever ends one of them ends them all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from taglm_core.errors import ChildFailed, ConfigError, TagLMError
from taglm_core.pipeline.steps import Step
from taglm_core.process import launch
from taglm_core.process.children import CHILDREN
from taglm_core.process.launch import ranks_of, torchrun
from taglm_core.store.records import Ref
from tests.stages.test_child_process import Bed

CHANGES = ("run.ranks=2", "run.device=cpu", "language_models.main.steps=150", "run.evaluate_steps=50",
           "run.checkpoint_seconds=0.5")  # fmt: skip


def processes(folder: Path) -> dict[int, bytes]:
    """Command lines of all processes that were told of a folder, by process id."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(folder).encode() in command and int(path.parent.name) != os.getpid():
            found[int(path.parent.name)] = command
    return found


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Ref:
    """The object of two ranks that were never disturbed."""
    CHILDREN.start_afresh()
    return Bed(tmp_path_factory.mktemp("ranks") / "store", *CHANGES).run()


@pytest.fixture
def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bed]:
    CHILDREN.start_afresh()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # so that a process is known by its job's path
    yield Bed(tmp_path / "store", *CHANGES)
    assert processes(tmp_path) == {}


def test_stopped_and_resumed_two_ranks_make_the_same_object(bed: Bed, reference: Ref) -> None:
    """SIGTERM to what was started: checkpoint, Interrupted; then the same digest. Its manifest names the ranks."""
    bed.run_and_stop(20)
    said = bed.steps_said()
    assert (bed.work / "checkpoints" / f"step-{said:09d}").is_dir()
    CHILDREN.start_afresh()
    assert bed.run() == reference
    made = bed.store.open(reference).manifest.made
    assert (made["ranks"], made["precision"]) == (2, "float32")
    assert bed.run() == reference  # it is there: the second rank is told so


@pytest.mark.slow
@pytest.mark.parametrize("killed", [(2,), pytest.param((0, 1, 2), marks=pytest.mark.real)])
def test_no_rank_outlives_another(bed: Bed, tmp_path: Path, reference: Ref, killed: tuple[int, ...]) -> None:
    """With kill -9 for torchrun (0), the first and the second rank: all end; then the same digest.

    Of the three `make test` kills the second rank, which neither the parent nor the journal knows of: every start of
    two ranks takes 12 s of a processor.
    """

    def victims() -> list[int]:
        found = processes(tmp_path)
        (agent,) = [pid for pid, command in found.items() if b"torch.distributed.run" in command]
        return [agent, *sorted(pid for pid in found if pid != agent)]

    for number, goal in zip(killed, (15, 40, 70), strict=False):

        def kill(number: int = number, goal: int = goal) -> None:
            bed.wait_for(goal)
            os.kill(victims()[number], signal.SIGKILL)

        thread = threading.Thread(target=kill)
        thread.start()
        with pytest.raises((ChildFailed, TagLMError)):
            bed.run()
        thread.join()
        until = time.monotonic() + 30
        while processes(tmp_path):
            assert time.monotonic() < until, processes(tmp_path)
            time.sleep(0.1)
    assert bed.run() == reference


def test_ranks_end_when_the_parent_is_gone(bed: Bed) -> None:
    """The end of standard input reaches every rank: a checkpoint, and no process is left."""
    bed.work.mkdir(parents=True, exist_ok=True)
    path = bed.work / "request.json"
    bed.request.save(path)
    command = [sys.executable, *torchrun(2), "-m", "taglm_core.process.child", str(path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as process:
        bed.wait_for(10)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(60) != 0
    assert (bed.work / "checkpoints" / f"step-{bed.steps_said():09d}").is_dir()


def test_there_is_a_rank_for_each_device_that_can_have_an_equal_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three devices and four streams: two ranks; none where CUDA is not wanted."""
    monkeypatch.setattr(launch, "_cuda_devices", lambda: 3)
    request = Bed(tmp_path / "store").request
    assert ranks_of(request) == 2
    assert ranks_of(replace(request, run=request.run.model_copy(update={"device": "cpu"}))) == 1


def test_ranks_that_do_not_share_the_streams_are_refused(tmp_path: Path) -> None:
    """Before any process starts, with both numbers; other kinds of work take one process."""
    request = Bed(tmp_path / "store", "run.ranks=3").request
    with pytest.raises(ConfigError, match=r"run\.ranks is 3, and .* has 4 streams"):
        ranks_of(request)
    assert ranks_of(replace(request, step=Step("tagger/baseline/1", "tagger", {}))) == 1
    assert torchrun(1) == []
