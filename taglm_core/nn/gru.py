"""Both directions of a GRU layer at once, over packed sequences, on processors without cuDNN.

A step multiplies only what the recurrence forces it to; the inputs before it and the weight gradients after it are one
product each. torch's GRU keeps an autograd graph of every step instead. `benchmarks/gru.py` compares the two. An LSTM
gains nothing in this way (1.03 times as fast).

Axes: M tokens of all sequences, N sequences, D input, U units; 2 directions, each in its own reading order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from taglm_core.nn.gates import tanh_, through_sigmoid, through_tanh
from taglm_core.nn.packing import PackedBatch, take_rows
from taglm_core.nn.products import add_product, autocast_type, product


class _Weights(NamedTuple):
    """Weights of one direction, as torch's GRU holds them: inputs [3U, D], recurrent [3U, U], biases [3U]; r, z, n."""

    inputs: Tensor
    recurrent: Tensor
    input_bias: Tensor
    recurrent_bias: Tensor

    @classmethod
    def of(cls, rnn: nn.GRU, suffix: str = "") -> _Weights:
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        return cls(*(getattr(rnn, name + suffix) for name in names))


def read_both_ways(x: Tensor, packed: PackedBatch, forward: nn.GRU, backward: nn.GRU | None) -> tuple[Tensor, Tensor]:
    """Return the states of both directions after each token, [M, U] each.

    Under autocast matrices are multiplied in its type; gates and states keep the type of the weights.

    Args:
        x: inputs [M, D], in the order of `packed`.
        packed: the sequences.
        forward: layer of the forward direction.
        backward: layer of the backward direction; None if `forward` is bidirectional.
    """
    reverse = _Weights.of(forward, "_reverse") if backward is None else _Weights.of(backward)
    directions, units = (_Weights.of(forward), reverse), forward.hidden_size
    inputs = (x, take_rows(x, packed.reverse_index))
    recurrent = torch.stack([weights.recurrent for weights in directions])
    # Order n, r, z: r and z, which input and recurrent part share, then lie between the two parts of n.
    gates = [
        functional.linear(h, _n_first(weights.inputs, units), _early_bias(weights, units)).to(recurrent.dtype)
        for h, weights in zip(inputs, directions, strict=True)
    ]
    bias = torch.stack([weights.recurrent_bias[None, 2 * units :] for weights in directions])
    low = autocast_type()
    with torch.autocast("cpu", enabled=False):
        states: Tensor = _Recurrence.apply(*gates, recurrent, bias, packed.batch_sizes, low)
    return states[0], take_rows(states[1], packed.reverse_index)


def _n_first(gates: Tensor, units: int) -> Tensor:
    return torch.cat((gates[2 * units :], gates[: 2 * units]))


def _early_bias(weights: _Weights, units: int) -> Tensor:
    """Return what is added before the recurrence; the recurrent bias of n comes later, because r scales it."""
    common = weights.input_bias[: 2 * units] + weights.recurrent_bias[: 2 * units]
    return torch.cat((weights.input_bias[2 * units :], common))


class _Recurrence(torch.autograd.Function):
    """Steps of a GRU: gates n, r, z before the recurrence, [M, 3U] of each direction -> states [2, M, U].

    With m = W_n h + b, and r and z after their sigmoid: n = tanh(n + r m), h' = n + z (h - n). Matrices are multiplied
    in the type `low` unless it is None; everything else keeps its type.
    """

    @staticmethod
    def forward(
        ctx: Any,
        forward_gates: Tensor,
        backward_gates: Tensor,
        recurrent: Tensor,
        bias: Tensor,
        batch_sizes: Sequence[int],
        low: torch.dtype | None,
    ) -> Tensor:
        gates, units = torch.stack((forward_gates, backward_gates)), recurrent.shape[2]
        recurrent = recurrent if low is None else recurrent.to(low)
        before, memory, states = (gates.new_zeros(2, gates.shape[1], units) for _ in range(3))
        weight = recurrent.transpose(1, 2)
        for step, here, earlier in _steps(batch_sizes):
            n, gate = gates[:, here, :units], gates[:, here, units:]
            h, m = before[:, here], memory[:, here]
            if step:
                h.copy_(states[:, earlier])
                part = torch.bmm(h.to(weight.dtype), weight)
                gate.add_(part[:, :, : 2 * units])
                torch.add(part[:, :, 2 * units :], bias, out=m)
            else:
                m.copy_(bias.expand_as(m))
            gate.sigmoid_()
            tanh_(n.addcmul_(gate[:, :, :units], m))
            torch.lerp(n, h, gate[:, :, units:], out=states[:, here])
        ctx.save_for_backward(gates, before, memory, recurrent)
        ctx.batch_sizes = batch_sizes
        return states

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # only under create_graph=True
            raise NotImplementedError("GRU layers have no second derivative; call backward without create_graph=True")
        gates, before, memory, recurrent = ctx.saved_tensors
        units = recurrent.shape[2]
        d_gates = gates.new_empty(2, gates.shape[1], 4 * units)  # of n, r, z, m: either part of the gates is one slice
        d_states = gates.new_zeros(2, ctx.batch_sizes[0], units)
        for step, here, _ in _steps(ctx.batch_sizes)[::-1]:
            n, r, z = gates[:, here].split(units, 2)
            d_n, d_r, d_z, d_m = d_gates[:, here].split(units, 2)
            d_h = d_states[:, : ctx.batch_sizes[step]].add_(gradients[0][:, here])
            through_sigmoid(torch.sub(before[:, here], n).mul_(d_h), z, d_z)
            through_tanh(torch.addcmul(d_h, d_h, z, value=-1), n, d_n)
            torch.mul(d_n, r, out=d_m)
            through_sigmoid(d_n * memory[:, here], r, d_r)
            if step:
                add_product(d_h.mul_(z), d_gates[:, here, units:], recurrent)
        d_recurrent = product(d_gates[:, :, units:].transpose(1, 2), before.to(recurrent.dtype))
        d_bias = d_gates[:, :, 3 * units :].sum(1, keepdim=True)
        return d_gates[0, :, : 3 * units], d_gates[1, :, : 3 * units], d_recurrent, d_bias, None, None


class _Step(NamedTuple):
    """One step: its number, the rows of its tokens, and the rows of the tokens before them."""

    number: int
    here: slice
    earlier: slice


def _steps(batch_sizes: Sequence[int]) -> list[_Step]:
    steps, begin, before = [], 0, 0
    for number, size in enumerate(batch_sizes):
        steps.append(_Step(number, slice(begin, begin + size), slice(before, before + size)))
        before, begin = begin, begin + size
    return steps
