"""One direction of the bidirectional language model (PAPER: section 2).

Axes: B streams or sentences, T tokens, N distinct words of a batch, C characters, D word vector, P projection, U units.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


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
    """

    def __init__(self, vocabulary: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.table = nn.Embedding(vocabulary, size, sparse=True)
        nn.init.normal_(self.table.weight, std=0.1)

    def forward(self, words: Tensor) -> Tensor:
        """Words [N] of vocabulary ids -> [N, D]."""
        vectors: Tensor = self.table(words)
        return vectors


class LanguageModel(nn.Module):
    """Word encoder, LSTM with projection, softmax.

    The top-layer output after reading a word is that word's LM embedding. A backward model is the same module
    fed with reversed sentences; the two directions share nothing.

    Args:
        encoder: distinct words [N, ...] -> word vectors [N, D].
        softmax: states [N, P], targets [N] -> negative log-probabilities [N].
        size: D, width of the word vectors.
        units: U, LSTM units.
        projection: P, width of the projected state; equal to units for none.
        layers: LSTM layers.
        dropout: before and after each LSTM layer, never recurrent (Jozefowicz et al. 2016).
    """

    def __init__(
        self,
        encoder: nn.Module,
        softmax: nn.Module,
        *,
        size: int,
        units: int,
        projection: int,
        layers: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.encoder, self.softmax = encoder, softmax
        self.units, self.projection, self.layers = units, projection, layers
        self.dropout = nn.Dropout(dropout)
        self.lstm = nn.LSTM(
            size,
            units,
            num_layers=layers,
            proj_size=projection if projection < units else 0,
            dropout=dropout if layers > 1 else 0.0,
        )
        _initialise(self.lstm)

    def zero_state(self, batch: int) -> LmState:
        """The state before anything was read."""
        weight = next(self.lstm.parameters())
        return LmState(
            weight.new_zeros(self.layers, batch, self.projection), weight.new_zeros(self.layers, batch, self.units)
        )

    def vectors(self, distinct: Tensor, index: Tensor) -> Tensor:
        """Word vectors of a batch, each distinct word encoded once: distinct [N, ...], index [T, B] -> [T, B, D]."""
        return functional.embedding(index, self.encoder(distinct))

    def forward(self, vectors: Tensor, state: LmState) -> tuple[Tensor, LmState]:
        """Top-layer states after each word: vectors [T, B, D] -> [T, B, P], and the state after the last one."""
        outputs, (hidden, cell) = self.lstm(self.dropout(vectors), (state.hidden, state.cell))
        return self.dropout(outputs), LmState(hidden, cell)


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
