"""All differences between devices live here."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from taglm_core.errors import ConfigError
from taglm_core.store.durable import locked

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


@dataclass(frozen=True, slots=True)
class Device:
    """Where a training process computes.

    Attributes:
        name: `cpu` or `cuda`.
        threads: threads of one operation on the CPU.
    """

    name: str
    threads: int

    @property
    def torch(self) -> torch.device:
        """For torch."""
        return torch.device(self.name)

    def describe(self) -> dict[str, str | int]:
        """What decides the bits of a result beside config and libraries: recorded in every manifest."""
        capability = torch.backends.cpu.get_cpu_capability()
        accelerator = torch.cuda.get_device_name(0) if self.name == "cuda" else ""
        return {"device": accelerator or "cpu", "instruction_set": capability, "threads": self.threads}


def open_device(wanted: str, threads: int) -> Device:
    """Set this process up for a device: threads, determinism, and nothing left to chance.

    Args:
        wanted: `auto`, `cpu` or `cuda`.
        threads: CPU threads.

    Raises:
        ConfigError: cuda is wanted and there is none.
    """
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise ConfigError("run.device is cuda, but torch sees no CUDA device here; set run.device=auto or cpu")
    torch.set_num_threads(threads)
    _keep_freed_memory()
    # cuBLAS is deterministic only with a fixed workspace; must be set before the first CUDA call
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    # torch says once a process that projected LSTMs leave oneDNN on CPU: known (DESIGN: 8), and at one thread faster
    warnings.filterwarnings("ignore", message="LSTM with projections is not supported with oneDNN")
    # our sparse gradients come from torch's own embeddings; it warns unless told whether to check them
    torch.sparse.check_sparse_tensor_invariants.disable()
    return Device("cuda" if available and wanted != "cpu" else "cpu", threads)


def _keep_freed_memory() -> None:
    """Have glibc hand freed memory out again instead of giving it back to the system.

    By default every tensor of some megabytes is mapped anew and cleared page by page when it is first written: a
    quarter of a language model's step on CPU (docs/decisions/0005). Elsewhere than on glibc nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


def generator_states() -> dict[str, Tensor]:
    """States of torch's global generators, as bytes, by device: dropout draws from that of the device it runs on."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def set_generator_states(states: Mapping[str, Tensor]) -> None:
    """Inverse of `generator_states`; a state of a device that is not here is left out."""
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])


@contextlib.contextmanager
def exclusive(device: Device, locks: Path) -> Iterator[None]:
    """Hold an accelerator for one process at a time; CPUs are shared."""
    if device.name == "cpu":
        yield
        return
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    with locked(locks / f"device-cuda-{visible}.lock"):
        yield
