"""What differs between devices: precision, compilation, and every tensor of a step on the device it belongs to."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from taglm_core.config.language_model import FullSoftmax
from taglm_core.corpus.vocabulary import BOUNDARY
from taglm_core.errors import ConfigError
from taglm_core.lm.job import Intervals, LmJob
from taglm_core.lm.model import WordTable, build_network
from taglm_core.lm.streams import Streams
from taglm_core.lm.vocabulary import LmVocabulary
from taglm_core.training import devices
from taglm_core.training.devices import (
    Device,
    generator_states,
    native_bfloat16,
    open_device,
    set_generator_states,
)
from taglm_core.training.loop import take_step
from tests.lm.conftest import WORDS, small_config
from tests.lm.test_streams import Memory
from tests.lm.test_training import new_job, text

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
TIED = {"input": {"kind": "word", "size": 10}, "softmax": FullSoftmax(tied=True), "dropout": 0.2}
MODELS = {  # those whose steps ask for no numbers, and whose gradients are dense: the device has no sparse ones
    "one layer": small_config("word", **TIED),
    "two layers, residual": small_config("word", layers=2, residual=True, **TIED),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_whole_step_stays_on_its_device(name: str) -> None:
    """On torch's device without numbers, as little the CPU as an accelerator is: loss, gradients, optimiser."""
    config, device = MODELS[name], Device("meta", 1)
    vocabulary = LmVocabulary(WORDS, shapes=True)
    network = device.prepared(build_network(config, len(vocabulary)))
    table = WordTable([BOUNDARY, *WORDS], vocabulary, config)
    streams = Streams([Memory(text(40, 1))], streams=4, window=5, backward=False, seed=1)
    job = LmJob(network, table, streams, text(40, 3), config, Intervals(5, 20), device)
    network.train()
    for _ in range(2):  # the second step starts from the state of the first
        loss = job.loss()
        loss.backward()
        for optimizer in job.optimizers:
            optimizer.step()
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    assert {loss.device, *(gradient.device for gradient in gradients)} == {device.torch}
    assert len(gradients) == len(list(network.parameters()))


def losses_of(device: Device, steps: int = 60) -> list[float]:
    """The losses of a small character model, trained on a device."""
    job = new_job(small_config("char-cnn", steps=steps, learning_rate=0.02, streams=8, window=10), device=device)
    found = []
    while not job.finished():
        found.append(take_step(job))
        job.step += 1
    return found


@pytest.mark.skipif(not native_bfloat16(), reason="this CPU does not multiply bfloat16 in hardware")
def test_bfloat16_on_cpu_trains_as_well() -> None:
    """Products in bfloat16, everything else in float32: other losses, but nearly the same ones at the end."""
    exact = losses_of(open_device("cpu", 1))
    rounded = losses_of(open_device("cpu", 1, precision="bfloat16"))
    assert rounded[10:] != exact[10:]
    assert np.mean(rounded[-10:]) == pytest.approx(np.mean(exact[-10:]), rel=0.03)
    assert exact[-1] < 0.7 * exact[0]


def test_weights_and_gradients_stay_float32_in_bfloat16() -> None:
    """Of parameters, gradients and the recurrent state; held-out perplexity is that of float32."""
    device = Device("cpu", 1, precision="bfloat16")
    job = new_job(small_config("word", steps=3, layers=2, residual=True), device=device)
    take_step(job)
    assert {p.grad.dtype for p in job.model.parameters() if p.grad is not None} == {torch.float32}
    assert {part.dtype for part in job.states(4)} == {torch.float32}
    plain = new_job(small_config("word", steps=3, layers=2, residual=True))
    plain.model.load_state_dict(job.model.state_dict())
    plain._state = job._state
    assert plain.heldout_perplexity() == job.heldout_perplexity()


def test_a_precision_that_the_hardware_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """By name, with what to set instead; by itself a CPU takes float32."""
    monkeypatch.setattr(devices, "native_bfloat16", lambda: False)
    with pytest.raises(ConfigError, match=r"bfloat16.*300 times slower.*run\.precision=auto"):
        open_device("cpu", 1, precision="bfloat16")
    with pytest.raises(ConfigError, match="only CUDA devices"):
        open_device("cpu", 1, precision="tf32")
    assert open_device("cpu", 1, precision="auto").describe()["precision"] == "float32"


def test_compiling_without_a_compiler_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is trained."""
    monkeypatch.setattr(devices, "_cpp_compiler", lambda: None)
    with pytest.raises(ConfigError, match=r"run\.compile needs a C\+\+ compiler"):
        open_device("cpu", 1, compiled=True)


@pytest.mark.real
def test_compiled_gives_the_same_losses() -> None:
    """torch.compile of encoder and softmax: to rounding what runs without it. It takes a minute or two to compile."""
    plain = losses_of(open_device("cpu", 1), steps=4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own
        assert losses_of(open_device("cpu", 1, compiled=True), steps=4) == pytest.approx(plain, rel=1e-4)


@CUDA
@pytest.mark.parametrize("precision", ["float32", "auto"])
def test_cuda_trains_as_the_cpu_does(precision: str) -> None:
    """The same text and weights: nearly the same losses at the end."""
    expected = losses_of(open_device("cpu", 1))
    found = losses_of(open_device("cuda", 1, precision=precision))
    assert np.mean(found[-10:]) == pytest.approx(np.mean(expected[-10:]), rel=0.05)


@CUDA
def test_the_cuda_generator_is_in_the_checkpoint(tmp_path: Path) -> None:
    """Dropout draws from the device's generator: interrupted and resumed, the same losses."""
    states = generator_states()
    assert "cuda" in states
    first = torch.rand(3, device="cuda")
    set_generator_states(states)
    assert torch.equal(torch.rand(3, device="cuda"), first)
