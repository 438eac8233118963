"""Speed of a training compared with the speed of the machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

_SIDE, _RUNS = 768, 5


def gemm_rate(device: torch.device, dtype: torch.dtype = torch.float32) -> float:
    """Measure the floating-point operations a second of a large matrix product: the most the machine can do.

    The rate is the median over a few products of 768 x 768 matrices, with the threads of torch.
    """
    a, b = (torch.ones(_SIDE, _SIDE, device=device, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(_RUNS + 1):  # the first run warms up
        begun = time.perf_counter()
        float(torch.mm(a, b)[0, 0])  # also waits for an accelerator
        seconds.append(time.perf_counter() - begun)
    return 2.0 * _SIDE**3 / statistics.median(seconds[1:])


def count_operations(work: Callable[[], object]) -> int:
    """Do a piece of work once, and count the floating-point operations of its products and convolutions."""
    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: _in_place}) as counter:
        work()
    return int(counter.get_total_flops())


def _in_place(_: Any, a: Any, b: Any, **__: Any) -> int:
    """Count the operations of `addmm_`, which torch's counter does not know: shapes [m, k] and [k, n]."""
    return int(2 * a[0] * a[1] * b[1])
