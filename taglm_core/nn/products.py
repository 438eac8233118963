"""Matrix products in the type that autocast asks for, inside functions that have a backward pass of their own.

Autocast does not reach those: they multiply in `autocast_type()` themselves, and keep everything else in its type.
"""

from __future__ import annotations

import torch
from torch import Tensor


def autocast_type() -> torch.dtype | None:
    """Return the type in which autocast multiplies on the CPU; None outside of autocast."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None


def product(a: Tensor, b: Tensor) -> Tensor:
    """Multiply a @ b, matrices or batches of them, in the type of b; return the product in the type of a."""
    return a @ b if a.dtype == b.dtype else (a.to(b.dtype) @ b).to(a.dtype)


def add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """Add a @ b, of matrices or of batches of them, multiplied in the type of b."""
    if a.dtype != b.dtype:
        total += a.to(b.dtype) @ b
    elif total.dim() == 3:
        total.baddbmm_(a, b)
    else:
        total.addmm_(a, b)
