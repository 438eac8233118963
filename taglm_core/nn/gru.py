"""Both directions of a GRU layer at once, over sequences of several lengths, on processors without cuDNN.

The sequences lie step after step, the longest first: at step t the first `counts[t]` of them have a token, and nothing
is computed for padding. What a step multiplies is what the recurrence forces it to; inputs before it and weight
gradients after it are one product each. torch's own GRU keeps an autograd graph of every step instead: a training step
of the paper's NER tagger takes 1.22 times as long with it. Of an LSTM there is nothing to gain here (1.03 times).

Axes: M tokens of all sequences, N sequences, D input, U units; 2 directions, in reading order each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from taglm_core.nn.gates import tanh_, through_sigmoid, through_tanh
from taglm_core.nn.products import add_product, autocast_type, product


class Steps(NamedTuple):
    """Where the tokens of right-padded sequences [N, T] lie when they are read step after step, the longest first.

    Attributes:
        counts: sequences that have a token at each step.
        rows: place of each token in the padded batch, row after row [M].
        mirror: which token stands as far from its sequence's end as this one from its beginning [M].
        last: last token of each sequence, in the order of the batch [N].
    """

    counts: list[int]
    rows: Tensor
    mirror: Tensor
    last: Tensor

    @classmethod
    def of(cls, lengths: Tensor, width: int) -> Steps:
        """Of sequences of these lengths [N], each 1 at least, padded to so many."""
        order = lengths.argsort(descending=True, stable=True)
        falling = lengths[order]
        steps = torch.arange(int(falling[0]), device=lengths.device)
        inside = steps[:, None] < falling  # [T, N]
        counts = inside.sum(1)
        begins = counts.cumsum(0) - counts
        step, place = inside.nonzero(as_tuple=True)
        rows = order[place] * width + step
        mirror = begins[falling[place] - 1 - step] + place
        last = torch.empty_like(order)
        last[order] = begins[falling - 1] + torch.arange(len(order), device=order.device)
        return cls(counts.tolist(), rows, mirror, last)


class Weights(NamedTuple):
    """Weights of one direction as torch's GRU holds them: gates r, z, n.

    Attributes:
        inputs: [3U, D].
        recurrent: [3U, U].
        input_bias: [3U].
        recurrent_bias: [3U].
    """

    inputs: Tensor
    recurrent: Tensor
    input_bias: Tensor
    recurrent_bias: Tensor

    @classmethod
    def of(cls, rnn: nn.GRU, suffix: str = "") -> Weights:
        """Those of one layer of one direction; suffix "_reverse" for the backward one of a bidirectional layer."""
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        return cls(*(getattr(rnn, name + suffix) for name in names))


def read_both_ways(x: Tensor, steps: Steps, ahead: Weights, back: Weights) -> tuple[Tensor, Tensor]:
    """States of both directions after each token.

    Args:
        x: inputs [M, D], in the order of `steps`.
        steps: the sequences.
        ahead: weights of the direction that reads them as they are.
        back: weights of the direction that reads them from their ends.

    Returns:
        Two of [M, U], both in reading order: row p of the second is the state at token `mirror[p]`. Under autocast
        matrices are multiplied in its type; gates and states keep that of the weights.
    """
    directions, units = (ahead, back), ahead.recurrent.shape[1]
    inputs = (x, take_rows(x, steps.mirror))
    recurrent = torch.stack([weights.recurrent for weights in directions])
    # n first: r and z, which both parts of the gates share, then lie between the n of the one and that of the other
    gates = [
        functional.linear(h, _n_first(weights.inputs, units), _early_bias(weights, units)).to(recurrent.dtype)
        for h, weights in zip(inputs, directions, strict=True)
    ]
    bias = torch.stack([weights.recurrent_bias[None, 2 * units :] for weights in directions])
    low = autocast_type()
    with torch.autocast("cpu", enabled=False):
        states: Tensor = _Recurrence.apply(*gates, recurrent, bias, steps.counts, low)
    return states[0], states[1]


def take_rows(x: Tensor, rows: Tensor) -> Tensor:
    """Rows of x, none of them twice."""
    taken: Tensor = _Rows.apply(x, rows)
    return taken


def _n_first(gates: Tensor, units: int) -> Tensor:
    return torch.cat((gates[2 * units :], gates[: 2 * units]))


def _early_bias(weights: Weights, units: int) -> Tensor:
    """What is added before the recurrence: the recurrent bias of n is scaled by r, so it comes later."""
    common = weights.input_bias[: 2 * units] + weights.recurrent_bias[: 2 * units]
    return torch.cat((weights.input_bias[2 * units :], common))


def put_rows(rows_of: Tensor, rows: Tensor, count: int) -> Tensor:
    """A matrix of so many rows that holds these where `rows` says, and zeros."""
    return rows_of.new_zeros(count, rows_of.shape[1]).index_copy(0, rows, rows_of)


class _Rows(torch.autograd.Function):
    """Rows of a matrix, each once at most: their gradients are put where they came from, not added up one by one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.count = len(x)
        return x.index_select(0, rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        (rows,) = ctx.saved_tensors
        return gradient.new_zeros(ctx.count, gradient.shape[1]).index_copy_(0, rows, gradient), None


class _Recurrence(torch.autograd.Function):
    """Steps of a GRU: gates n, r, z before the recurrence, [M, 3U] of each direction -> states [2, M, U].

    With m = W_n h + b, r and z after their sigmoid: n = tanh(n + r m), h' = n + z (h - n). Matrices are multiplied in
    `low`, where it is given; everything else keeps its type.
    """

    @staticmethod
    def forward(
        ctx: Any,
        ahead: Tensor,
        back: Tensor,
        recurrent: Tensor,
        bias: Tensor,
        counts: Sequence[int],
        low: torch.dtype | None,
    ) -> Tensor:
        gates, units = torch.stack((ahead, back)), recurrent.shape[2]
        recurrent = recurrent if low is None else recurrent.to(low)
        before, memory, states = (gates.new_zeros(2, len(ahead), units) for _ in range(3))
        weight = recurrent.transpose(1, 2)
        for step, here, earlier in _steps(counts):
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
        ctx.counts = counts
        return states

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        _refuse_second_derivative()
        gates, before, memory, recurrent = ctx.saved_tensors
        units = recurrent.shape[2]
        found = gates.new_empty(2, gates.shape[1], 4 * units)  # of n, r, z, m: both parts lie in one piece
        d_states = gates.new_zeros(2, ctx.counts[0], units)
        for step, here, _ in _steps(ctx.counts)[::-1]:
            n, r, z = gates[:, here].split(units, 2)
            d_n, d_r, d_z, d_m = found[:, here].split(units, 2)
            d_h = d_states[:, : ctx.counts[step]].add_(gradients[0][:, here])
            through_sigmoid(torch.sub(before[:, here], n).mul_(d_h), z, d_z)
            through_tanh(torch.addcmul(d_h, d_h, z, value=-1), n, d_n)
            torch.mul(d_n, r, out=d_m)
            through_sigmoid(d_n * memory[:, here], r, d_r)
            if step:
                add_product(d_h.mul_(z), found[:, here, units:], recurrent)
        d_recurrent = product(found[:, :, units:].transpose(1, 2), before.to(recurrent.dtype))
        d_bias = found[:, :, 3 * units :].sum(1, keepdim=True)
        return found[0, :, : 3 * units], found[1, :, : 3 * units], d_recurrent, d_bias, None, None


class _Step(NamedTuple):
    """One step: its number, where its tokens lie, and where the tokens before them lie."""

    number: int
    here: slice
    earlier: slice


def _steps(counts: Sequence[int]) -> list[_Step]:
    steps, begin, before = [], 0, 0
    for number, count in enumerate(counts):
        steps.append(_Step(number, slice(begin, begin + count), slice(before, before + count)))
        before, begin = begin, begin + count
    return steps


def _refuse_second_derivative() -> None:
    if torch.is_grad_enabled():  # only under create_graph=True
        raise NotImplementedError("these layers have no second derivative; call backward without create_graph=True")
