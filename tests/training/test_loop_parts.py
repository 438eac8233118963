"""Parts of the loop: checkpoints, generators, devices, stop requests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from taglm_core.errors import ConfigError
from taglm_core.training.checkpoints import Checkpoints, TrainingState, pack_optimizer, unpack_optimizer
from taglm_core.training.devices import open_device
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
