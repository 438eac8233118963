"""Parts of the loop: checkpoints, generators, devices, stop requests."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from taglm_core.errors import ConfigError, Interrupted
from taglm_core.training.checkpoints import Checkpoints, TrainingState, pack_optimizer, unpack_optimizer
from taglm_core.training.devices import open_device
from taglm_core.training.journal import Journal
from taglm_core.training.loop import LoopSettings, take_step, train
from taglm_core.training.randomness import numpy_generator, seed_torch
from taglm_core.training.stopping import StopRequest


def test_checkpoints_keep_the_last_few(tmp_path: Path) -> None:
    """The newest is read; older ones beyond `keep` are removed; a crash while writing leaves the older ones."""
    checkpoints = Checkpoints(tmp_path, keep=2)
    assert checkpoints.latest() is None
    for step in (1, 2, 3):
        checkpoints.save(step, TrainingState({"x": torch.tensor([float(step)])}, {"step": step}))
    (tmp_path / ".writing-000000004").mkdir()
    assert sorted(path.name for path in tmp_path.glob("step-*")) == ["step-000000002", "step-000000003"]
    kept = checkpoints.latest()
    assert kept is not None
    assert (kept.tensors["x"].item(), kept.data) == (3.0, {"step": 3})


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.Adagrad, torch.optim.SparseAdam])
def test_optimisers_go_on_alike_after_packing(kind: type[torch.optim.Optimizer], tmp_path: Path) -> None:
    """Moments and step counts survive the file: the next step gives the same bits."""
    open_device("cpu", 1)
    tables = [torch.nn.Embedding(5, 3, sparse=kind is torch.optim.SparseAdam) for _ in range(2)]
    tables[1].load_state_dict(tables[0].state_dict())
    optimizers = [kind(table.parameters(), lr=0.1) for table in tables]  # type: ignore[call-arg]

    def step(number: int, rows: list[int]) -> None:
        optimizers[number].zero_grad()
        tables[number](torch.tensor(rows)).pow(2).sum().backward()
        optimizers[number].step()

    step(0, [0, 1]), step(0, [1, 2])
    Checkpoints(tmp_path, 1).save(1, TrainingState(pack_optimizer(optimizers[0], "o"), {}))
    saved = Checkpoints(tmp_path, 1).latest()
    assert saved is not None
    unpack_optimizer(optimizers[1], "o", saved.tensors)
    tables[1].load_state_dict(tables[0].state_dict())
    step(0, [0, 4]), step(1, [0, 4])
    assert torch.equal(tables[0].weight, tables[1].weight)


def test_named_generators_are_independent_and_repeatable() -> None:
    """Same seed and names, same numbers; another name, others."""
    draw = numpy_generator(1, "a", 3).random(4).tolist()
    assert draw == numpy_generator(1, "a", 3).random(4).tolist()
    assert draw != numpy_generator(1, "a", 4).random(4).tolist()
    assert draw != numpy_generator(2, "a", 3).random(4).tolist()
    assert draw != numpy_generator(1, "b", 3).random(4).tolist()
    seed_torch(1, "x")
    first = torch.rand(3)
    seed_torch(1, "x")
    assert torch.equal(first, torch.rand(3))


def test_a_device_that_is_not_there_is_refused() -> None:
    """Asking for cuda without CUDA: the message says what to set."""
    if torch.cuda.is_available():
        assert open_device("cuda", 1).name == "cuda"
    else:
        with pytest.raises(ConfigError, match=r"run\.device"):
            open_device("cuda", 1)
    assert open_device("cpu", 1).describe()["threads"] == 1


def test_signals_become_a_stop_request() -> None:
    """SIGTERM asks; nothing is torn down."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        stop = StopRequest()
        stop.listen()
        assert not stop.requested
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested
        assert stop.reason == "SIGTERM"
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


SIGNALS_IN_SIGNALS = """
import signal, time
from taglm_core.training.stopping import StopRequest

signal.signal(signal.SIGALRM, lambda *_: stop.set("the timer"))
stop = StopRequest()
signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
end = time.monotonic() + 2.0
while time.monotonic() < end:
    stop = StopRequest()
    stop.set("another reason")
    assert stop.requested
signal.setitimer(signal.ITIMER_REAL, 0.0)
"""


def test_a_signal_in_the_midst_of_another_one_does_no_harm() -> None:
    """A dying process of many threads sends its child SIGTERM several times in a row: no handler waits for another."""
    subprocess.run([sys.executable, "-c", SIGNALS_IN_SIGNALS], check=True, timeout=60)


class Toy:
    """A linear model whose gradient has a norm of 5,000 at each step; three steps, then it is finished."""

    def __init__(self) -> None:
        self.model: torch.nn.Module = torch.nn.Linear(2, 1, bias=False)
        self.optimizers = [torch.optim.SGD(self.model.parameters(), lr=1.0)]
        self.clip, self.loss_scale, self.accumulate, self.step = 0.5, 1.0, 1, 0

    def finished(self) -> bool:
        return self.step >= 3

    def loss(self) -> torch.Tensor:
        return self.model(torch.tensor([3_000.0, 4_000.0])).sum()

    def where(self) -> str:
        return "toy"

    def after_step(self, loss: float, journal: Journal) -> None: ...

    def pack(self) -> TrainingState:
        return TrainingState({}, {})

    def unpack(self, state: TrainingState) -> None: ...


def test_gradients_are_clipped() -> None:
    """A step moves the weights by the learning rate times the largest norm, in the direction of the gradient."""
    toy = Toy()
    before = next(toy.model.parameters()).detach().clone()
    take_step(toy)
    moved = before - next(toy.model.parameters()).detach()
    torch.testing.assert_close(moved, torch.tensor([[0.3, 0.4]]))


def test_a_step_is_taken_in_training_mode() -> None:
    """Also after an evaluation, which switches dropout off."""
    toy = Toy()
    toy.model.eval()
    take_step(toy)
    assert toy.model.training


def test_a_request_to_stop_writes_a_checkpoint(tmp_path: Path) -> None:
    """However long it is until the next one is due; the next run goes on from there."""
    stop = StopRequest()

    class Stopped(Toy):
        def after_step(self, loss: float, journal: Journal) -> None:
            stop.set("test")

    folder, settings = tmp_path / "checkpoints", LoopSettings(3600)
    with contextlib.closing(Journal(tmp_path / "journal")) as journal:
        with pytest.raises(Interrupted, match="stopped at step 2"):
            train(Stopped(), checkpoints=Checkpoints(folder, 2), journal=journal, stop=stop, settings=settings)
        saved = Checkpoints(folder, 2).latest()
        assert saved is not None
        assert saved.data["step"] == 2
        toy = Toy()
        train(toy, checkpoints=Checkpoints(folder, 2), journal=journal, stop=StopRequest(), settings=settings)
    assert toy.step == 3


def test_a_checkpoint_has_its_name_when_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies while it writes leaves nothing that looks like a checkpoint."""
    monkeypatch.setattr("taglm_core.training.checkpoints.sync_tree", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Checkpoints(tmp_path, 2).save(1, TrainingState({"x": torch.zeros(1)}, {}))
    assert not list(tmp_path.glob("step-*"))
    assert Checkpoints(tmp_path, 2).latest() is None


def test_the_first_reason_to_stop_is_named() -> None:
    """A second signal, or the end of the parent, does not replace it."""
    stop = StopRequest()
    stop.set("SIGTERM")
    stop.set("another")
    assert stop.reason == "SIGTERM"
