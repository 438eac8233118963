"""Recurrent layers over right-padded batches.

Axes: B sentences, T tokens, D features.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Cell = Literal["gru", "lstm"]

_CELLS: dict[str, type[nn.GRU] | type[nn.LSTM]] = {"gru": nn.GRU, "lstm": nn.LSTM}


def build_rnn(inputs: int, units: int, cell: Cell, *, bidirectional: bool = False) -> nn.GRU | nn.LSTM:
    """One initialised recurrent layer, batch first.

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
    """Xavier input weights and orthogonal recurrent weights, gate by gate; biases 0, forget gate of an LSTM 1.

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


def reverse_within(x: Tensor, lengths: Tensor) -> Tensor:
    """Reverse each row of x [B, T, ...] within its own length; padding stays where it is."""
    steps = torch.arange(x.shape[1], device=x.device)
    index = lengths[:, None] - 1 - steps  # [B, T]
    index = torch.where(index >= 0, index, steps)
    return x[torch.arange(x.shape[0], device=x.device)[:, None], index]
