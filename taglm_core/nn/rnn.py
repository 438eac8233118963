"""Recurrent layers over right-padded batches.

Axes: B sentences, T tokens, D features.
"""

from __future__ import annotations

import math
from typing import Literal, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from taglm_core.nn.gru import read_both_ways
from taglm_core.nn.packing import PackedBatch, put_rows, take_rows

Cell = Literal["gru", "lstm"]

_CELLS: dict[str, type[nn.GRU] | type[nn.LSTM]] = {"gru": nn.GRU, "lstm": nn.LSTM}


def build_rnn(inputs: int, units: int, cell: Cell, *, bidirectional: bool = False) -> nn.GRU | nn.LSTM:
    """Build one initialised recurrent layer, batch first.

    Args:
        inputs: D, size of the input.
        units: state size of one direction.
        cell: "gru" or "lstm".
        bidirectional: whether it reads in both directions.

    Raises:
        ValueError: the cell is not known.
    """
    if cell not in _CELLS:
        raise ValueError(f"cell is {cell!r}; expected one of {sorted(_CELLS)}")
    rnn = _CELLS[cell](inputs, units, batch_first=True, bidirectional=bidirectional)
    init_rnn(rnn)
    return rnn


@torch.no_grad()
def init_rnn(rnn: nn.GRU | nn.LSTM) -> None:
    """Draw Xavier input and orthogonal recurrent weights, gate by gate; set biases to 0, LSTM forget gates to 1.

    torch keeps two bias vectors that are added; the forget gate's 1 is in the first, the second stays 0.
    """
    units = rnn.hidden_size
    for name, parameter in rnn.named_parameters():
        if name.startswith("weight_ih"):
            for gate in parameter.split(units):
                nn.init.xavier_uniform_(gate)
        elif name.startswith("weight_hh"):
            for gate in parameter.split(units):
                nn.init.orthogonal_(gate)
        else:
            nn.init.zeros_(parameter)
            if isinstance(rnn, nn.LSTM) and name.startswith("bias_ih"):
                parameter[units : 2 * units] = 1.0  # gates are stored in the order input, forget, cell, output


def read_packed(rnn: nn.Module, x: Tensor, packed: PackedBatch) -> tuple[Tensor, Tensor]:
    """Return the states of both directions of a bidirectional layer after each token, [M, units] each.

    Args:
        rnn: the GRU or LSTM layer.
        x: inputs [M, D], in the order of `packed`.
        packed: the sequences.
    """
    if has_own_pass(rnn, x):
        return read_both_ways(x, packed, rnn, None)
    with torch.autocast(x.device.type, enabled=False):  # library kernels would round cell states, too
        x = x.to(next(rnn.parameters()).dtype)
        states = rnn(PackedSequence(x, torch.tensor(packed.batch_sizes)))[0].data
    forward, backward = states.chunk(2, dim=1)
    return forward, backward


def has_own_pass(rnn: nn.Module, x: Tensor) -> TypeGuard[nn.GRU]:
    """Return whether `taglm_core.nn.gru` computes a layer instead of torch: a GRU on a processor."""
    return x.device.type == "cpu" and isinstance(rnn, nn.GRU)


class BiRnn(nn.Module):
    """One bidirectional layer over right-padded sentences: two one-directional layers of torch.

    GRUs on a processor are computed by `taglm_core.nn.gru`, except for one sentence without gradients. torch computes
    other layers, the backward one over each row reversed within its length: padding then follows every token in both
    directions, so no state has seen it.

    Args:
        inputs: D, size of the input.
        units: state size of one direction.
        cell: "gru" or "lstm".

    Attributes:
        size: length of an output vector, 2 * units.
    """

    def __init__(self, inputs: int, units: int, *, cell: Cell) -> None:
        super().__init__()
        self.inputs = inputs
        self.size = 2 * units
        # forward and backward direction; saved weights carry these names
        self.ahead = build_rnn(inputs, units, cell)
        self.back = build_rnn(inputs, units, cell)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Read sentences in both directions.

        Args:
            x: [B, T, D].
            lengths: tokens of each sentence [B], int64, 1..T.

        Returns:
            [B, T, 2 * units]: forward state after tokens 1..k, backward state after tokens n..k; zero at padding.
        """
        if x.dim() != 3 or x.shape[2] != self.inputs or list(lengths.shape) != [x.shape[0]]:
            raise ValueError(
                f"x has shape {list(x.shape)} and lengths {list(lengths.shape)}; expected [B, T, {self.inputs}] and [B]"
            )
        read_alone = x.shape[0] == 1 and not torch.is_grad_enabled()  # torch's steps then cost less
        if has_own_pass(self.ahead, x) and has_own_pass(self.back, x) and not read_alone:
            packed = PackedBatch.of(lengths, x.shape[1])
            tokens = take_rows(x.reshape(-1, self.inputs), packed.rows)
            states = torch.cat(read_both_ways(tokens, packed, self.ahead, self.back), dim=1)  # [M, 2U]
            return put_rows(states, packed.rows, x.shape[0] * x.shape[1]).view(*x.shape[:2], self.size)
        with torch.autocast(x.device.type, enabled=False):  # library kernels would round cell states, too
            x = x.to(next(self.ahead.parameters()).dtype)
            forward, _ = self.ahead(x)
            backward, _ = self.back(reverse_within(x, lengths))
        states = torch.cat((forward, reverse_within(backward, lengths)), dim=2)
        padding = torch.arange(x.shape[1], device=x.device) >= lengths[:, None]  # [B, T]
        return states.masked_fill(padding.unsqueeze(-1), 0.0)


def matching_units(inputs: int, parameters: int, *, cell: Cell) -> int:
    """Return the units per direction with which a `BiRnn` comes nearest to a number of parameters.

    For comparisons at equal size: a layer that reads LM embeddings is made as narrow as the baseline's has parameters,
    or the baseline's as wide (Peters et al. 2017, section 5.2).

    Args:
        inputs: D, size of the layer's input.
        parameters: of both directions together.
        cell: "gru" or "lstm".
    """
    gates = {"gru": 3, "lstm": 4}[cell]
    # parameters = 2 * gates * units * (inputs + units + 2), with torch's two bias vectors; its positive root
    half = (inputs + 2) / 2
    units = math.sqrt(half * half + parameters / (2 * gates)) - half
    around = (max(1, math.floor(units)), math.ceil(units))
    return min(around, key=lambda n: abs(2 * gates * n * (inputs + n + 2) - parameters))


def reverse_within(x: Tensor, lengths: Tensor) -> Tensor:
    """Reverse each row of x [B, T, D] within its own length [B]; padding stays where it is."""
    batch, steps, size = x.shape
    time = torch.arange(steps, device=x.device)
    sources = torch.where(time < lengths[:, None], lengths[:, None] - 1 - time, time)  # [B, T]
    rows = sources + steps * torch.arange(batch, device=x.device)[:, None]
    return x.reshape(-1, size).index_select(0, rows.view(-1)).view(batch, steps, size)
