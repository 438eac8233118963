"""Gate functions and their gradients, in the forms that are fastest on CPU."""

from __future__ import annotations

import torch
from torch import Tensor


def tanh_(x: Tensor) -> Tensor:
    """Apply tanh in place, as 2 sigmoid(2x) - 1: on CPU torch's tanh takes six times as long as its sigmoid."""
    return x.mul_(2).sigmoid_().mul_(2).sub_(1)


def through_sigmoid(gradient: Tensor, value: Tensor, out: Tensor) -> Tensor:
    """Return the gradient before a sigmoid with the given value; on CPU sigmoid_backward takes three times as long.

    The gradient may not be `out` itself.
    """
    return torch.addcmul(value, value, value, value=-1, out=out).mul_(gradient)


def through_tanh(gradient: Tensor, value: Tensor, out: Tensor) -> Tensor:
    """Return the gradient before a tanh with the given value. The gradient may be `out` itself."""
    return torch.ops.aten.tanh_backward.grad_input(gradient, value, grad_input=out)
