"""Two processes train one language model: the same weights as one process, the same bits when interrupted."""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from taglm_core.errors import ConfigError, Interrupted
from taglm_core.store.durable import locked
from taglm_core.training.checkpoints import Checkpoints
from taglm_core.training.devices import Device, reserved
from taglm_core.training.journal import JOURNAL, read_events
from taglm_core.training.ranks import Ranks
from taglm_core.training.stopping import StopRequest
from tests.lm.rank_worker import CONFIGS, DROPPED
from tests.lm.test_training import run

ROOT = Path(__file__).resolve().parents[2]


class Pair:
    """What two ranks wrote down."""

    def __init__(self, folder: Path, where: str = "cpu") -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        environment = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2",
                       "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}  # fmt: skip
        command = [sys.executable, "-m", "tests.lm.rank_worker", str(folder), where]
        started = [
            subprocess.Popen(command, cwd=ROOT, env={**environment, "RANK": str(rank)}, stderr=subprocess.PIPE)
            for rank in range(2)
        ]
        said = [process.communicate(timeout=120)[1].decode() for process in started]
        assert [process.returncode for process in started] == [0, 0], said
        self.facts: list[dict[str, Any]] = [
            json.loads((folder / f"facts-{rank}.json").read_text(encoding="utf-8")) for rank in range(2)
        ]

    def weights(self, name: str, rank: int = 0) -> dict[str, torch.Tensor]:
        return load_file(self.folder / f"{name}-{rank}.safetensors")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("name", CONFIGS)
def test_two_ranks_come_to_the_weights_of_one(pair: Pair, tmp_path: Path, name: str) -> None:
    """No dropout: dense, adaptive (a cluster without targets on one rank), sparse tables, two windows a step."""
    alone = run(tmp_path, CONFIGS[name], StopRequest())
    first, second = pair.weights(name), pair.weights(name, 1)
    for key, weight in alone.model.state_dict().items():
        torch.testing.assert_close(first[key], weight, atol=2e-5, rtol=1e-4)
        assert torch.equal(first[key], second[key]), key  # not even the last bit may drift
    assert first["perplexity"].item() == pytest.approx(alone.heldout_perplexity(), rel=1e-4)
    assert math.isnan(second["perplexity"].item())  # the first one alone reads it


def test_a_gradient_may_be_lacking_on_one_rank_or_on_all(pair: Pair) -> None:
    """Both happened above: what one rank lacks counts as zeros, what nobody has moves no weight."""
    assert sum(facts["lacking"] for facts in pair.facts) > 0
    assert pair.facts[0]["unused"] == pair.facts[1]["unused"] > 0


def test_interrupted_and_resumed_two_ranks_give_the_same_bits(pair: Pair) -> None:
    """Dropout on, different on each rank; asked on one rank, both stop at the same step."""
    whole, parts = pair.weights("whole"), pair.weights("parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert pair.facts[0]["dropout"] != pair.facts[1]["dropout"]
    steps = [[text.split(" (")[0] for text in facts["interrupted"]] for facts in pair.facts]
    assert steps[0] == steps[1] == ["stopped at step 1", "stopped at step 6"]


def test_a_loss_that_is_not_finite_on_one_rank_stops_both_with_the_same_error(pair: Pair) -> None:
    """The message is that of the first rank, whose own loss was fine; the checkpoint before it is kept."""
    assert pair.facts[0]["nan"] == pair.facts[1]["nan"]
    assert "loss is nan at step 4" in pair.facts[0]["nan"]
    kept = Checkpoints(pair.folder / "nan" / "c", 2).latest()
    assert kept is not None
    assert kept.data["step"] == 3


def test_a_checkpoint_holds_all_streams_and_goes_on_with_another_number_of_ranks(pair: Pair) -> None:
    """States of all streams and a generator of each rank; one process takes over, and says that the bits differ."""
    kept = Checkpoints(pair.folder / "nan" / "c", 2).latest()
    assert kept is not None
    assert kept.tensors["job.hidden"].shape[1] == DROPPED.streams
    generators = kept.tensors["generator.cpu"]
    assert len(generators) == 2
    assert not torch.equal(*generators)
    training = run(pair.folder / "nan", DROPPED, StopRequest())
    assert training.step == DROPPED.steps
    said = [event.text for event, _ in read_events(pair.folder / "nan" / JOURNAL) if "instead of" in event.text]
    assert len(said) == 1
    assert "with 1 ranks instead of 2" in said[0]


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices (NCCL)")
def test_two_cuda_devices_come_to_the_weights_of_one_cpu(tmp_path: Path) -> None:
    """Over NCCL: dense and sparse gradients; resumed with the same bits."""
    pair = Pair(tmp_path / "pair", "cuda")
    for name, config in CONFIGS.items():
        alone = run(tmp_path / name, config, StopRequest())
        for key, weight in alone.model.state_dict().items():
            torch.testing.assert_close(pair.weights(name)[key], weight, atol=1e-3, rtol=1e-2)
    whole, parts = pair.weights("whole"), pair.weights("parts")
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


def test_the_first_rank_holds_the_devices_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Taken one after the other, so that two trainings cannot wait for each other; by their names on the machine."""
    monkeypatch.setattr(Ranks, "barrier", lambda _: None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")

    def free() -> list[str]:
        found = []
        for name in ("2", "5"):
            with locked(tmp_path / f"device-cuda-{name}-0.lock", wait=False) as held:
                found += [name] if held else []
        return found

    with (
        reserved(Device("cuda", 1), tmp_path, 1, Ranks(0, 2)),
        reserved(Device("cuda", 1, 1), tmp_path, 1, Ranks(1, 2)),
    ):
        assert free() == []
    with reserved(Device("cuda", 1, 1), tmp_path, 1):
        assert free() == ["2"]
    assert free() == ["2", "5"]


def test_a_device_has_as_many_places_as_are_wanted(tmp_path: Path) -> None:
    """Two of three trainings hold it side by side; the third waits until one of them ends, or is told to stop."""
    device, looks, first = Device("cuda", 1), [0], contextlib.ExitStack()

    def check_stop() -> None:
        looks[0] += 1
        if looks[0] == 3:
            first.close()

    def stop() -> None:
        looks[0] += 1
        if looks[0] == 2:
            looks[0] = 0
            raise Interrupted("enough")

    first.enter_context(reserved(device, tmp_path, 2))
    with reserved(device, tmp_path, 2):
        with pytest.raises(Interrupted), reserved(device, tmp_path, 2, check_stop=stop):
            pytest.fail("there are two places only")
        with reserved(device, tmp_path, 2, check_stop=check_stop):
            assert looks == [3]


def test_streams_are_shared_out_equally_or_not_at_all() -> None:
    """Each rank owns neighbouring rows; a remainder is refused with both numbers."""
    assert [Ranks(rank, 4).slice_of(8) for rank in range(4)] == [slice(0, 2), slice(2, 4), slice(4, 6), slice(6, 8)]
    with pytest.raises(ConfigError, match=r"8 streams cannot be shared out equally among 3 ranks"):
        Ranks(0, 3).slice_of(8)


def test_one_rank_exchanges_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one process no collective is called."""
    for name in ("all_reduce", "all_gather", "broadcast"):
        monkeypatch.setattr(torch.distributed, name, None)
    request = StopRequest()
    request.set("test")
    with pytest.raises(Interrupted):
        run(tmp_path, DROPPED, request)


def test_gradients_are_averaged_and_a_request_on_any_rank_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen from rank 0 of two: the other one has three times the gradient and was asked to stop."""

    def all_reduce(message: torch.Tensor) -> None:
        if message.dtype == torch.float64:  # status: loss, stop, save, one parameter that is used
            message += torch.tensor([4.0, 1.0, 0.0, 1.0], dtype=torch.float64)
        else:
            message += 3 * message

    monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
    model = torch.nn.Linear(2, 1, bias=False)
    model.weight.grad = torch.tensor([[1.0, 2.0]])
    ranks = Ranks(0, 2)
    status = ranks.all_reduce_status(model, 2.0, stop=False, save=False)
    assert (status.loss, status.stop, status.save, status.used) == (3.0, True, False, [True])
    ranks.average_gradients(model, status)
    assert model.weight.grad.tolist() == [[2.0, 4.0]]
