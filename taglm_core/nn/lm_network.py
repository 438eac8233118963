"""One direction of the bidirectional language model (Peters et al. 2017, section 3.2).

Axes: B streams or sentences, T tokens, N distinct words of a batch, C characters, D word vector, P projection, U units.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence

from taglm_core.nn.lstm import LmLstm
from taglm_core.nn.softmax import Softmax


class LmState(NamedTuple):
    """Recurrent state of all layers: hidden [layers, B, P], cell [layers, B, U]."""

    hidden: Tensor
    cell: Tensor

    def detach(self) -> LmState:
        """Return the same numbers, cut from the graph (truncated back-propagation)."""
        return LmState(self.hidden.detach(), self.cell.detach())

    def first(self, rows: int) -> LmState:
        """Return the first rows."""
        return LmState(*(part[:, :rows].contiguous() for part in self))

    def expand(self, batch: int) -> LmState:
        """Repeat a state of one row for a batch."""
        return LmState(*(part.expand(-1, batch, -1).contiguous() for part in (self.hidden, self.cell)))


class WordEncoder(nn.Module):
    """Word vectors from a table; its gradient is sparse, so that a step touches only the rows it read.

    Args:
        vocabulary: V, rows.
        size: D.
        sparse: False for a table that is also the matrix of a softmax: that touches every row.
    """

    def __init__(self, vocabulary: int, size: int, *, sparse: bool = True) -> None:
        super().__init__()
        self.size = size
        self.table = nn.Embedding(vocabulary, size, sparse=sparse)
        nn.init.normal_(self.table.weight, std=0.1)

    def forward(self, words: Tensor) -> Tensor:
        """Map vocabulary ids [N] or [N, 1] to vectors [N, D]."""
        vectors: Tensor = self.table(words.flatten().to(self.table.weight.device, non_blocking=True))
        return vectors


class WithVectors(nn.Module):
    """An encoder that adds the projected vectors of a file to its word vectors; the file's vectors are not trained.

    Args:
        encoder: distinct words [N, ...] -> word vectors [N, D].
        vectors: vectors of the file [R, F]; no parameter, not saved with the weights.
    """

    vectors: Tensor

    def __init__(self, encoder: nn.Module, vectors: Tensor) -> None:
        super().__init__()
        self.encoder = encoder
        size = encoder.size
        assert isinstance(size, int)
        self.projection = nn.Linear(vectors.shape[1], size, bias=False)
        self.register_buffer("vectors", vectors, persistent=False)

    def forward(self, distinct: Tensor) -> Tensor:
        """Map [N, 1 + C], row in the file (negative for none) and encoder input, to vectors [N, D]."""
        learnt: Tensor = self.encoder(distinct[:, 1:])
        rows = distinct[:, 0].to(self.vectors.device, non_blocking=True)
        found = functional.embedding(rows.clamp(min=0), self.vectors) * (rows >= 0).unsqueeze(1)
        return learnt + self.projection(found)


class LanguageModel(nn.Module):
    """Word encoder, LSTM layers with projection, softmax.

    The top-layer output after reading a word is that word's LM embedding. A backward model is the same module
    that reads reversed sentences; the two directions share nothing.

    Args:
        encoder: distinct words [N, ...] -> word vectors [N, D].
        softmax: states [N, P], targets [N] -> negative log-probabilities [N].
        size: D, width of the word vectors.
        units: U, LSTM units.
        projection: P, width of the projected state; equal to units for none.
        layers: LSTM layers.
        residual: whether layers from the second on add their input to their output (Peters et al. 2018).
        dropout: rate before and after each LSTM layer, never recurrent (Jozefowicz et al. 2016). All occurrences of a
            word in a window share the dropout mask of the word vector (docs/decisions/0005).
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
        self.size, self.units, self.projection, self.residual = size, units, projection, residual
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(LmLstm(projection if layer else size, units, projection) for layer in range(layers))

    def _lstms(self) -> Iterator[LmLstm]:
        for layer in self.layers:
            assert isinstance(layer, LmLstm)
            yield layer

    def zero_state(self, batch: int) -> LmState:
        """Return the initial state, all zeros."""
        weight, layers = next(self.layers.parameters()), len(self.layers)
        return LmState(weight.new_zeros(layers, batch, self.projection), weight.new_zeros(layers, batch, self.units))

    def forward(self, distinct: Tensor, index: Tensor, state: LmState) -> tuple[Tensor, LmState]:
        """Return the top-layer states after each word.

        Args:
            distinct: encoder input of the distinct words [N, ...]; each is encoded once.
            index: distinct word at each position [T, B].
            state: state before the first word.

        Returns:
            States [T, B, P], and the state after the last word.
        """
        outputs, after = self.layer_states(self.encoder(distinct), index, state)
        return outputs[-1], after

    def project(self, vectors: Tensor) -> Tensor:
        """Return the part of the first layer's gates [N, 4U] that word vectors [N, D] give, without dropout."""
        return next(self._lstms()).project(vectors)

    def layer_states(
        self, vectors: Tensor, index: Tensor, state: LmState, *, projected: bool = False
    ) -> tuple[list[Tensor], LmState]:
        """Return the states of every layer after each word, for words that are encoded already.

        Args:
            vectors: word vectors of the distinct words [N, D].
            index: distinct word at each position [T, B].
            state: state before the first word.
            projected: whether the vectors are what `project` returned; for reading on the CPU.

        Returns:
            States [T, B, P] of each layer, the first one first, and the state after the last word.
        """
        states: list[tuple[Tensor, Tensor]] = []
        found: list[Tensor] = []
        x = vectors if projected else self.dropout(vectors)
        for number, lstm in enumerate(self._lstms()):
            before = state.hidden[number : number + 1], state.cell[number : number + 1]
            outputs, after = lstm.read(x, None if number else index, before, projected=projected and not number)
            outputs = self.dropout(outputs)
            x = x + outputs if self.residual and number else outputs
            found.append(x)
            states.append(after)
        return found, _joined(states)

    def last_state(self, distinct: Tensor, index: Tensor, lengths: Tensor, state: LmState) -> LmState:
        """Return the state of each row after its last word, without dropout; rows are padded on the right.

        Args:
            distinct: as in `forward`.
            index: [T, B].
            lengths: words of each row [B], on the CPU.
            state: state before the first word.
        """
        vectors = functional.embedding(index, self.encoder(distinct))
        packed = pack_padded_sequence(vectors, lengths, enforce_sorted=False)
        states = []
        for number, lstm in enumerate(self.layers):
            outputs, its = lstm(packed, (state.hidden[number : number + 1], state.cell[number : number + 1]))
            if self.residual and number:
                outputs = outputs._replace(data=packed.data + outputs.data)
            packed = outputs
            states.append(its)
        return _joined(states)


def _joined(states: list[tuple[Tensor, Tensor]]) -> LmState:
    """Join the states of all layers into one."""
    if len(states) == 1:
        return LmState(*states[0])
    return LmState(torch.cat([hidden for hidden, _ in states]), torch.cat([cell for _, cell in states]))
