"""What differs between devices: precision, compilation, and every tensor of a step on the device it belongs to."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.overrides import TorchFunctionMode

from taglm_core.config.language_model import AdaptiveSoftmax, FullSoftmax, LanguageModelConfig, SampledSoftmax
from taglm_core.corpus.token_bytes import BOUNDARY
from taglm_core.errors import ConfigError
from taglm_core.lm.lm_training import Intervals, LmTraining
from taglm_core.lm.lm_vocabulary import LmVocabulary
from taglm_core.lm.model import WordTable, build_network
from taglm_core.lm.reading import distinct_words, pad, sentence_states
from taglm_core.lm.streams import Streams
from taglm_core.nn import characters
from taglm_core.nn.softmax import block_losses
from taglm_core.training import devices
from taglm_core.training.devices import Device, native_bfloat16, open_device
from taglm_core.training.loop import take_step
from tests.lm.conftest import WORDS, small_config
from tests.lm.test_streams import Memory
from tests.lm.test_training import new_training, text

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
MODELS: dict[str, LanguageModelConfig] = {
    "char-cnn, adaptive": small_config("char-cnn", softmax=AdaptiveSoftmax(cutoffs=(10, 30), shrink=2.0), dropout=0.2),
    "word, sampled, adagrad": small_config("word", softmax=SampledSoftmax(samples=20), optimizer="adagrad"),
    "tied": small_config("word", input={"kind": "word", "size": 10}, softmax=FullSoftmax(tied=True)),
    "two layers, residual": small_config("char-cnn", layers=2, residual=True, units=10),
}


class Split(TorchFunctionMode):
    """Says of masks without numbers how many places are set: a half, a quarter, the rest, over and over."""

    def __init__(self) -> None:
        super().__init__()
        self._asked = self._rows = 0

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is torch.Tensor.nonzero:
            count = args[0].shape[0]
            self._rows = [count // 2, count // 4, count - count // 2 - count // 4][self._asked % 3]
            self._asked += 1
            return torch.zeros(self._rows, args[0].dim(), dtype=torch.int64, device=args[0].device)
        if function is torch.Tensor.__getitem__ and getattr(args[1], "dtype", None) is torch.bool:
            return args[0][: self._rows] + 0 * args[1][: self._rows]  # both on one device, or it raises
        return function(*args, **(kwargs or {}))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTensorMode]:
    """Tensors that have a device, a shape and a type, but no numbers; two devices in one operation raise."""
    monkeypatch.setattr(nn.LSTM, "flatten_parameters", lambda _: None)  # asks CUDA itself, not its tensors
    open_device("cpu", 1)
    find = characters._longest_first

    def find_really(chars: torch.Tensor) -> tuple[torch.Tensor, list[int]]:
        assert chars.device.type == "cpu"  # or an accelerator would be waited for
        with unset_fake_temporarily():
            order, counts = find(torch.tensor([[3, 4, 5]] * (chars.shape[0] - 1) + [[3, 4, 0]]))
        return order, counts

    monkeypatch.setattr(characters, "_longest_first", find_really)  # asks for numbers
    with FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True) as mode, Split():
        yield mode


def move(network: nn.Module, device: torch.device) -> None:
    """Parameters without numbers on a device; `Module.to` cannot do this with fake ones."""
    for module in network.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(torch.empty(parameter.shape, device=device)))


def on_device(config: LanguageModelConfig, device: Device) -> LmTraining:
    """A training whose network lies on a device."""
    vocabulary = LmVocabulary(WORDS, shapes=True)
    network = build_network(config, len(vocabulary))
    move(network, device.torch)
    table = WordTable([BOUNDARY, *WORDS], vocabulary, config)
    streams = Streams([Memory(text(40, 1))], streams=4, window=5, backward=False, seed=1)
    return LmTraining(network, table, streams, text(40, 3), config, Intervals(5, 20), device)


def evaluate(training: LmTraining, device: torch.device) -> None:
    """What is done with a network on held-out text."""
    network, table = training._network.eval(), training._table
    words = distinct_words(network, table, np.arange(24).reshape(6, 4) % 30)
    states, state = network(*words, network.zero_state(4))
    assert state.cell.device == device
    losses = block_losses(network.softmax, states.flatten(0, 1), torch.arange(24).to(device))
    assert (losses.device, losses.dtype) == (device, torch.float64)
    with torch.no_grad():
        assert sentence_states(network, table, pad(text(8, 3)), network.zero_state(1)).device == device


@pytest.mark.parametrize("name", MODELS)
def test_a_whole_step_stays_on_its_device(fake: FakeTensorMode, name: str) -> None:
    """The training's loss, backward, clipping, optimiser, then held-out text.

    The device is called meta: backward asks the device of a gradient for its streams, and a build of torch without
    CUDA has nobody to answer for `cuda:0`. A tensor left on the CPU raises all the same.
    """
    training, device = on_device(MODELS[name], Device("meta", 1)), torch.device("meta")
    training.model.train()
    for _ in range(2):  # the second step starts from the state of the first
        training.loss().backward()
    gradients = [parameter.grad for parameter in training.model.parameters() if parameter.grad is not None]
    assert {gradient.device for gradient in gradients} == {device}
    nn.utils.clip_grad_norm_(
        [p for p in training.model.parameters() if p.grad is not None and not p.grad.is_sparse], 1.0
    )
    for optimizer in training.optimizers:
        for group in optimizer.param_groups:  # rows without numbers cannot be added up
            group["params"] = [p for p in group["params"] if p.grad is None or not p.grad.is_sparse]
        optimizer.step()
    evaluate(training, device)


def test_the_tests_above_notice_a_tensor_on_the_wrong_device(fake: FakeTensorMode) -> None:
    """A target that was left on the CPU is not let through."""
    training = on_device(MODELS["tied"], Device("meta", 1))
    training._device = Device("cpu", 1)  # uploads nothing
    with pytest.raises(Exception, match="same device"):
        training.loss()


def test_precision_is_refused_where_the_hardware_lacks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says why and what to set; auto is float32 on a CPU."""
    monkeypatch.setattr(devices, "native_bfloat16", lambda: False)
    with pytest.raises(ConfigError, match=r"bfloat16.*300 times slower.*run\.precision=auto"):
        open_device("cpu", 1, precision="bfloat16")
    with pytest.raises(ConfigError, match="only CUDA devices"):
        open_device("cpu", 1, precision="tf32")
    assert open_device("cpu", 1, precision="auto").describe()["precision"] == "float32"


def test_cuda_precision_follows_the_compute_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    """From 8.0 on auto is bfloat16; before, float32, and asking for more is refused."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Tesla V100")
    for capability, found in (((8, 0), "bfloat16"), ((9, 0), "bfloat16"), ((7, 0), "float32")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, its=capability: its)
        assert devices._precision("auto", "cuda", 0) == found
    for wanted in ("tf32", "bfloat16"):
        with pytest.raises(ConfigError, match=r"V100 has 7\.0"):
            devices._precision(wanted, "cuda", 0)


@pytest.mark.skipif(not native_bfloat16(), reason="this CPU has no bfloat16 instructions")
@pytest.mark.parametrize("name", MODELS)
def test_bfloat16_trains_to_nearly_the_same_loss(name: str) -> None:
    """Weights, gradients, losses and cell states stay float32; held-out perplexity is measured in float32."""
    config = MODELS[name].model_copy(update={"steps": 40, "learning_rate": 0.02, "dropout": 0.0})
    exact, rounded = new_training(config), new_training(config, precision="bfloat16")
    assert exact.heldout_perplexity() == rounded.heldout_perplexity()
    for _ in range(config.steps):
        losses = [take_step(training) for training in (exact, rounded)]
        exact.step, rounded.step = exact.step + 1, rounded.step + 1
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
    assert {part.dtype for part in rounded._state} == {torch.float32}
    assert {p.grad.dtype for p in rounded.model.parameters() if p.grad is not None} == {torch.float32}
    assert rounded.heldout_perplexity() == pytest.approx(exact.heldout_perplexity(), rel=0.1)


def test_compiling_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Said before training begins."""
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ConfigError, match=r"C\+\+ compiler.*run\.compile=false"):
        open_device("cpu", 1, compiled=True)


@pytest.mark.filterwarnings("ignore")  # the compiler meets warnings of its own, which would be errors
@pytest.mark.skipif(devices._cpp_compiler() is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize(
    ("name", "backend"),
    [
        ("char-cnn, adaptive", "eager"),
        pytest.param("char-cnn, adaptive", "inductor", marks=pytest.mark.real),
        pytest.param("tied", "inductor", marks=pytest.mark.real),
    ],
)
def test_compiled_parts_give_the_same_losses(name: str, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Highway layers and softmax compiled: the losses of the eager ones up to rounding, and it is recorded.

    `make test` traces the parts and runs what was traced; `make test-real` has C++ made of it, which takes 20 s.
    """
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    config = MODELS[name].model_copy(update={"steps": 6, "dropout": 0.0})
    eager, compiled = new_training(config), new_training(config, compiled=True)
    for _ in range(config.steps):
        losses = [take_step(training) for training in (eager, compiled)]
        eager.step, compiled.step = eager.step + 1, compiled.step + 1
        assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert compiled.heldout_perplexity() == pytest.approx(eager.heldout_perplexity(), rel=1e-5)
    assert compiled._device.describe()["compiled"] == 1


@CUDA
def test_generators_of_cuda_are_kept() -> None:
    """Dropout on a CUDA device goes on alike after its state was put back."""
    states = devices.generator_states()
    torch.zeros(1, device="cuda")
    states = devices.generator_states()
    drawn = torch.rand(3, device="cuda")
    devices.set_generator_states(states)
    assert torch.equal(torch.rand(3, device="cuda"), drawn)


@CUDA
@pytest.mark.parametrize("precision", ["float32", "auto"])
@pytest.mark.parametrize("name", MODELS)
def test_cuda_comes_to_nearly_the_loss_of_the_cpu(name: str, precision: str) -> None:
    """The same training on both, no dropout."""
    config = MODELS[name].model_copy(update={"steps": 20, "learning_rate": 0.02, "dropout": 0.0})
    cpu, cuda = new_training(config), new_training(config, precision=precision, where="cuda")
    for _ in range(config.steps):
        losses = [take_step(training) for training in (cpu, cuda)]
        cpu.step, cuda.step = cpu.step + 1, cuda.step + 1
    assert losses[1] == pytest.approx(losses[0], rel=0.01 if precision == "float32" else 0.05)
    assert cuda._state.cell.dtype == torch.float32
