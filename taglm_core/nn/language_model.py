"""One direction of the bidirectional language model (PAPER: section 2).

Axes: B streams or sentences, T tokens, N distinct words of a batch, C characters, D word vector, P projection, U units.
"""

from __future__ import annotations

import contextlib
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from taglm_core.nn.softmax import Softmax


class LmState(NamedTuple):
    """Recurrent state of all layers: hidden [layers, B, P], cell [layers, B, U]."""

    hidden: Tensor
    cell: Tensor

    def detach(self) -> LmState:
        """The same numbers, cut from the graph (truncated back-propagation)."""
        return LmState(self.hidden.detach(), self.cell.detach())

    def expand(self, batch: int) -> LmState:
        """A state of one row repeated for a batch."""
        return LmState(*(part.expand(-1, batch, -1).contiguous() for part in (self.hidden, self.cell)))


class WordEncoder(nn.Module):
    """Word vectors from a table; its gradient is sparse, so that a step touches only the rows it read.

    Args:
        vocabulary: V, rows.
        size: D.
        sparse: False for a table that is the matrix of a softmax, too, which touches every row.
    """

    def __init__(self, vocabulary: int, size: int, *, sparse: bool = True) -> None:
        super().__init__()
        self.size = size
        self.table = nn.Embedding(vocabulary, size, sparse=sparse)
        nn.init.normal_(self.table.weight, std=0.1)

    def forward(self, words: Tensor) -> Tensor:
        """Words [N] of vocabulary ids -> [N, D]."""
        vectors: Tensor = self.table(words.to(self.table.weight.device, non_blocking=True))
        return vectors


class LanguageModel(nn.Module):
    """Word encoder, LSTM layers with projection, softmax.

    The top-layer output after reading a word is that word's LM embedding. A backward model is the same module
    fed with reversed sentences; the two directions share nothing.

    Args:
        encoder: distinct words [N, ...] -> word vectors [N, D].
        softmax: states [N, P], targets [N] -> negative log-probabilities [N].
        size: D, width of the word vectors.
        units: U, LSTM units.
        projection: P, width of the projected state; equal to units for none.
        layers: LSTM layers.
        residual: whether layers from the second on add their input to their output (Peters et al. 2018).
        dropout: before and after each LSTM layer, never recurrent (Jozefowicz et al. 2016).
    """

    def __init__(
        self,
        encoder: nn.Module,
        softmax: Softmax,
        *,
        size: int,
        units: int,
        projection: int,
        layers: int = 1,
        residual: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.encoder, self.softmax = encoder, softmax
        self.units, self.projection, self.residual = units, projection, residual
        self.dropout = nn.Dropout(dropout)
        width = projection if projection < units else 0
        lstms = [nn.LSTM(projection if layer else size, units, proj_size=width) for layer in range(layers)]
        for lstm in lstms:
            _initialise(lstm)
        self.layers = nn.ModuleList(lstms)

    def zero_state(self, batch: int) -> LmState:
        """The state before anything was read."""
        weight, layers = next(self.layers.parameters()), len(self.layers)
        return LmState(weight.new_zeros(layers, batch, self.projection), weight.new_zeros(layers, batch, self.units))

    def vectors(self, distinct: Tensor, index: Tensor) -> Tensor:
        """Word vectors of a batch, each distinct word encoded once: distinct [N, ...], index [T, B] -> [T, B, D]."""
        return functional.embedding(index, self.encoder(distinct))

    def forward(self, vectors: Tensor, state: LmState) -> tuple[Tensor, LmState]:
        """Top-layer states after each word: vectors [T, B, D] -> [T, B, P], and the state after the last one."""
        states = []
        x = self.dropout(vectors)
        for number, lstm in enumerate(self.layers):
            outputs, its = _run(lstm, x, state.hidden[number : number + 1], state.cell[number : number + 1])
            outputs = self.dropout(outputs)
            x = x + outputs if self.residual and number else outputs
            states.append(its)
        return x, _joined(states)

    def read_packed(self, packed: PackedSequence, state: LmState) -> tuple[PackedSequence, LmState]:
        """The same for sentences of different lengths, without dropout; a row's state is that after its last word."""
        states = []
        for number, lstm in enumerate(self.layers):
            outputs, its = lstm(packed, (state.hidden[number : number + 1], state.cell[number : number + 1]))
            if self.residual and number:
                outputs = outputs._replace(data=packed.data + outputs.data)
            packed = outputs
            states.append(its)
        return packed, _joined(states)


def _run(lstm: nn.Module, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """One layer: x [T, B, D]. Under autocast cuDNN would round the cell state, too; there it keeps float32 (TF32)."""
    with torch.autocast("cuda", enabled=False) if x.is_cuda else contextlib.nullcontext():
        result: tuple[Tensor, tuple[Tensor, Tensor]] = lstm(x.float() if x.is_cuda else x, (hidden, cell))
    return result


def _joined(states: list[tuple[Tensor, Tensor]]) -> LmState:
    """The states of all layers as one."""
    if len(states) == 1:
        return LmState(*states[0])
    return LmState(torch.cat([hidden for hidden, _ in states]), torch.cat([cell for _, cell in states]))


def _initialise(lstm: nn.LSTM) -> None:
    """Uniform by fan-in; biases zero, the forget gates' one (PAPER: 2.3)."""
    for name, parameter in lstm.named_parameters():
        if "bias" in name:
            nn.init.zeros_(parameter)
            if "bias_ih" in name:
                with torch.no_grad():
                    parameter[lstm.hidden_size : 2 * lstm.hidden_size] = 1.0  # gate order: input, forget, cell, output
        else:
            bound = parameter.shape[1] ** -0.5
            nn.init.uniform_(parameter, -bound, bound)
