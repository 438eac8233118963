"""Right-padded sequences without their padding: all first tokens, then all second tokens, longest sequence first.

This is the order of torch's `PackedSequence`. Nothing is computed for padding, and no state sees it.

Axes: N sequences, T tokens of the longest, M tokens of all sequences, D features.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor


class PackedBatch(NamedTuple):
    """Positions of the tokens of N sequences in packed order.

    Attributes:
        batch_sizes: number of sequences that have a token at each step, as in torch's `PackedSequence`.
        rows: row of each token in the padded batch, flattened to [N * T] [M].
        reverse_index: for each token, the packed index of the token at its place in the reversed sequence [M].
        first: packed index of the first token of each sequence, in batch order [N].
        last: packed index of the last token of each sequence, in batch order [N].
    """

    batch_sizes: list[int]
    rows: Tensor
    reverse_index: Tensor
    first: Tensor
    last: Tensor

    @classmethod
    def of(cls, lengths: Tensor, width: int) -> PackedBatch:
        """Pack sequences of the given lengths [N], each at least 1, that are padded to `width` tokens."""
        order = lengths.argsort(descending=True, stable=True)
        falling = lengths[order]
        steps = torch.arange(int(falling[0]), device=lengths.device)
        present = steps[:, None] < falling  # [T, N]
        sizes = present.sum(1)
        begins = sizes.cumsum(0) - sizes
        step, sequence = present.nonzero(as_tuple=True)
        rows = order[sequence] * width + step
        reverse_index = begins[falling[sequence] - 1 - step] + sequence
        first, last = torch.empty_like(order), torch.empty_like(order)
        first[order] = torch.arange(len(order), device=order.device)
        last[order] = begins[falling - 1] + torch.arange(len(order), device=order.device)
        return cls(sizes.tolist(), rows, reverse_index, first, last)


def take_rows(x: Tensor, rows: Tensor) -> Tensor:
    """Return the given rows of x, none of them twice."""
    taken: Tensor = _Rows.apply(x, rows)
    return taken


def put_rows(values: Tensor, rows: Tensor, count: int) -> Tensor:
    """Return a matrix of `count` rows with `values` at `rows` and zeros elsewhere."""
    return values.new_zeros(count, values.shape[1]).index_copy(0, rows, values)


class _Rows(torch.autograd.Function):
    """Distinct rows of a matrix: the gradient is one copy, where torch's indexing adds row by row."""

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
