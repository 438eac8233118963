"""Devices: everything that differs between CPU and CUDA."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, dtype

from taglm_core.errors import ConfigError
from taglm_core.nn.characters import Highway
from taglm_core.nn.lm_network import LanguageModel
from taglm_core.nn.softmax import Softmax
from taglm_core.store.durable import one_locked
from taglm_core.training.ranks import ALONE, Ranks

PRECISIONS = ("float32", "tf32", "bfloat16")
_TENSOR_CORES = 8  # lowest CUDA compute capability with TF32 and bfloat16 (Ampere)

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


@dataclass(frozen=True, slots=True)
class Device:
    """Device and precision of a training process.

    Weights, normalisation, losses, cell states, gradients and optimiser state are float32 in every precision; only
    matrix products in training differ.

    Attributes:
        name: `cpu` or `cuda`.
        threads: threads of one operation on the CPU.
        index: number of the CUDA device.
        precision: one of PRECISIONS.
        compiled: whether torch.compile is used.
        ranks: processes that train together.
    """

    name: str
    threads: int
    index: int = 0
    precision: str = "float32"
    compiled: bool = False
    ranks: int = 1

    @property
    def torch(self) -> torch.device:
        """The device as torch names it."""
        return torch.device(self.name, self.index) if self.name == "cuda" else torch.device(self.name)

    @property
    def multiplies_in(self) -> dtype:
        """Type of matrix products in training."""
        return torch.bfloat16 if self.precision == "bfloat16" else torch.float32

    def describe(self) -> dict[str, str | int]:
        """Return what decides the bits of a result beside config and libraries; every manifest records it."""
        capability = torch.backends.cpu.get_cpu_capability()
        accelerator = torch.cuda.get_device_name(self.index) if self.name == "cuda" else ""
        return {
            "device": accelerator or "cpu",
            "instruction_set": capability,
            "threads": self.threads,
            "precision": self.precision,
            "compiled": int(self.compiled),
            "ranks": self.ranks,
        }

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Multiply in this device's precision in forward passes in here, and in their backward passes."""
        if self.precision != "bfloat16":
            return contextlib.nullcontext()  # open_device has set TF32 for the process
        return torch.autocast(self.name, torch.bfloat16)

    @contextlib.contextmanager
    def exact(self) -> Iterator[None]:
        """Compute in float32 in here, whatever the precision of training; perplexity is measured so."""
        with torch.autocast(self.name, enabled=False):
            _allow_tf32(False)
            try:
                yield
            finally:
                _allow_tf32(self.precision != "float32")

    def prepared(self, network: LanguageModel) -> LanguageModel:
        """Move a network here; with `run.compile`, compile its highway layers and its softmax.

        Not compiled: the LSTM (one call of a library kernel), convolutions (an autograd function of our own, over a
        number of windows that changes with each batch), the sampled softmax (numpy draws its samples).
        """
        network = network.to(self.torch)
        if self.compiled:
            for part in network.modules():
                if isinstance(part, Highway) or (isinstance(part, Softmax) and not part.samples):
                    part.compile(dynamic=True)
        return network

    def upload(self, numbers: Tensor) -> Tensor:
        """Copy a CPU tensor to this device; an accelerator need not finish its work first."""
        return upload(numbers, self.torch)


def upload(numbers: Tensor, device: torch.device) -> Tensor:
    """Copy a CPU tensor to a device; an accelerator takes it from pinned memory while Python goes on."""
    return pinned(numbers, device).to(device, non_blocking=True)


def pinned(numbers: Tensor, device: torch.device) -> Tensor:
    """Return a CPU tensor in memory from which a device can copy by itself."""
    return numbers.pin_memory() if device.type == "cuda" else numbers


PLAIN = Device("cpu", 1)


def open_device(
    wanted: str, threads: int, *, precision: str = "float32", compiled: bool = False, ranks: Ranks = ALONE
) -> Device:
    """Set this process up for a device: threads, determinism, precision.

    Args:
        wanted: `auto`, `cpu` or `cuda`.
        threads: CPU threads.
        precision: `auto`, or one of PRECISIONS; `auto` is bfloat16 on CUDA devices that have it, float32 elsewhere.
        compiled: whether torch.compile is to be used.
        ranks: the processes that train together on this machine; each has a CUDA device of its own.

    Raises:
        ConfigError: no CUDA device, or fewer than ranks; the hardware lacks the precision; no compiler for
            torch.compile.
    """
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise ConfigError("run.device is cuda, but torch sees no CUDA device here; set run.device=auto or cpu")
    name = "cuda" if available and wanted != "cpu" else "cpu"
    if name == "cuda" and ranks.size > torch.cuda.device_count():
        raise ConfigError(
            f"run.ranks is {ranks.size}, and torch sees {torch.cuda.device_count()} CUDA devices here; set run.ranks "
            "to that number at most, or run.device=cpu"
        )
    if compiled and _cpp_compiler() is None:
        raise ConfigError(
            "run.compile needs a C++ compiler, and there is no g++, clang++ or $CXX here; install one, or set "
            "run.compile=false"
        )
    torch.set_num_threads(threads)
    _keep_freed_memory()
    # cuBLAS is deterministic only with a fixed workspace; must be set before the first CUDA call
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if compiled:  # sets torch's compiler, too; the import of that takes 1.6 s
        torch.use_deterministic_algorithms(True)
    else:
        torch.set_deterministic_debug_mode("error")
    # not needed: nothing here reads uninitialised memory (tests check it); saves 7 % of a tagger's step on CPU
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    # torch warns once a process that projected LSTMs do not use oneDNN on CPU; with one thread that is faster
    warnings.filterwarnings("ignore", message="LSTM with projections is not supported with oneDNN")
    # our sparse gradients come from torch's own embeddings; without a choice here torch warns
    torch.sparse.check_sparse_tensor_invariants.disable()
    index = ranks.rank if name == "cuda" else 0
    if name == "cuda":
        torch.cuda.set_device(index)
    device = Device(name, threads, index, _precision(precision, name, index), compiled, ranks.size)
    _allow_tf32(device.precision != "float32")
    return device


def _precision(wanted: str, name: str, index: int) -> str:
    if name == "cuda":
        modern = torch.cuda.get_device_capability(index)[0] >= _TENSOR_CORES
        if wanted == "auto":
            return "bfloat16" if modern else "float32"
        if wanted != "float32" and not modern:
            found = ".".join(map(str, torch.cuda.get_device_capability(index)))
            raise ConfigError(
                f"run.precision is {wanted}, which CUDA devices have from compute capability {_TENSOR_CORES}.0 on; "
                f"{torch.cuda.get_device_name(index)} has {found}; set run.precision=auto"
            )
        return wanted
    if wanted == "tf32":
        raise ConfigError("run.precision is tf32, which only CUDA devices have; set run.precision=auto or float32")
    if wanted == "bfloat16" and not native_bfloat16():
        raise ConfigError(
            "run.precision is bfloat16, and this CPU has no instructions for it (avx512_bf16, amx_bf16): it would be "
            "some 300 times slower than float32; set run.precision=auto or float32"
        )
    return "float32" if wanted == "auto" else wanted


def native_bfloat16() -> bool:
    """Return whether this CPU multiplies bfloat16 in hardware."""
    known = torch.cpu.get_capabilities()
    return any(bool(known.get(name)) for name in ("avx512_bf16", "amx_bf16", "bf16", "arm_bf16"))


def _allow_tf32(allowed: bool) -> None:
    """Allow or forbid TF32 in both libraries: cuDNN would use it by default."""
    precision = "tf32" if allowed else "ieee"
    switches: list[Any] = [torch.backends.cuda.matmul, torch.backends.cudnn]
    for switch in (switches[0], switches[1].rnn, switches[1].conv):
        switch.fp32_precision = precision


def _cpp_compiler() -> str | None:
    named = os.environ.get("CXX")
    names = [named] if named else ["g++", "clang++", "c++"]
    return next((path for name in names if (path := shutil.which(name)) is not None), None)


def _keep_freed_memory() -> None:
    """Make glibc reuse freed memory instead of returning it to the system.

    By default every tensor of some megabytes is mapped anew and cleared page by page at its first write, which takes a
    quarter of a language model's step on CPU (docs/decisions/0005). Without glibc nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


def generator_states() -> dict[str, Tensor]:
    """Return the states of torch's global generators, as bytes, by device: dropout draws from that of its device."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def set_generator_states(states: Mapping[str, Tensor]) -> None:
    """Restore what `generator_states` returned; skip devices that this machine lacks."""
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])


@contextlib.contextmanager
def reserved(
    device: Device, locks: Path, share: int, ranks: Ranks = ALONE, check_stop: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Hold one of the `share` slots of an accelerator (`run.device_share`); CPUs have no limit.

    With several ranks the main rank takes the slots of all, in order: ranks that take their own could deadlock with
    those of another training. `check_stop` is called repeatedly during the wait, and raises to end it.
    """
    if device.name == "cpu":
        yield
        return
    with contextlib.ExitStack() as held:
        if ranks.is_main:
            for index in range(ranks.size) if ranks.several else [device.index]:
                slots = [locks / f"device-cuda-{_visible(index)}-{slot}.lock" for slot in range(share)]
                held.enter_context(one_locked(slots, check_stop))
        ranks.barrier()
        yield


def _visible(index: int) -> str:
    """Return the machine's name of the device with this number in this process."""
    names = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return names[index] if index < len(names) else str(index)
