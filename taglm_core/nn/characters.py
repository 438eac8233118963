"""Character encoders: the characters of one word to one vector, N words at a time.

    CharCnn   convolutions of several widths, maximum over the word, highway layers, projection
    CharRnn   stacked bidirectional GRU or LSTM, last states of both directions

Both read `chars [N, C]`: one row per distinct word of a batch, symbol 0 is padding on the right, and each word brings
its own begin and end symbols. A word's vector depends on that word alone, never on the width of its batch.

Axes: N words, C characters, D features of one character, M windows of all words together, F filters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from taglm_core.nn.packing import PackedBatch, take_rows
from taglm_core.nn.rnn import Cell, build_rnn, read_packed

Activation = Literal["relu", "tanh"]

_ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh}

# A fresh highway layer passes 88 % of its input through: sigmoid(2).
_CARRY_BIAS = 2.0


class CharCnn(nn.Module):
    """Convolutions over the characters of each word, then the maximum over its positions.

    A window starts at every character of a word, the end symbol included, and windows that reach past the end read
    zeros there. So the shortest word fits under the widest filter, and padding has no window of its own.

    Args:
        symbols: number of character symbols, the padding symbol 0 included.
        dim: D, size of a character embedding.
        filters: (width in characters, number of filters) for each width.
        activation: "relu" or "tanh", after the maximum (both are monotone, so the result is the same as before it).
        highway: number of highway layers (Srivastava et al. 2015, equation 3).
        output: size of a last linear projection, or None for none.
        dropout: rate on the character embeddings, in training only.

    Attributes:
        size: length of a word's vector.

    Source: Kim et al. 2016, section 2.2; Jozefowicz et al. 2016, section 3.1.
    """

    def __init__(
        self,
        symbols: int,
        dim: int,
        filters: Sequence[tuple[int, int]],
        *,
        activation: Activation,
        highway: int = 0,
        output: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if activation not in _ACTIVATIONS:
            raise ValueError(f"activation is {activation!r}; expected one of {sorted(_ACTIVATIONS)}")
        if not filters or any(width < 1 or count < 1 for width, count in filters):
            raise ValueError(f"filters are {list(filters)}; expected (width, count) pairs of positive numbers")
        self.filters = tuple((int(width), int(count)) for width, count in filters)
        self.activation = activation
        self.dropout = dropout
        total = sum(count for _, count in self.filters)
        self.embedding = nn.Embedding(symbols, dim, padding_idx=0)
        self.kernels = nn.ParameterList(nn.Parameter(torch.empty(count, width * dim)) for width, count in self.filters)
        self.bias = nn.Parameter(torch.empty(total))
        self.highway = nn.ModuleList(Highway(total, activation) for _ in range(highway))
        self.projection = None if output is None else nn.Linear(total, output)
        self.size = total if output is None else output
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw embeddings and kernels (uniform, variance 1 / fan-in) and projection (Xavier); set biases to 0."""
        _init_embedding(self.embedding)
        for kernel in self.kernels:
            bound = math.sqrt(3 / kernel.shape[1])
            nn.init.uniform_(kernel, -bound, bound)
        nn.init.zeros_(self.bias)
        if self.projection is not None:
            nn.init.xavier_uniform_(self.projection.weight)
            nn.init.zeros_(self.projection.bias)

    def forward(self, chars: Tensor) -> Tensor:
        """Encode words.

        Args:
            chars: symbols [N, C], int64, 0 = padding on the right. Best on the CPU: lengths and order are found
                before they are moved, so nothing waits for an accelerator.

        Returns:
            Vectors [N, size].
        """
        device = self.bias.device
        order, counts = _longest_first(chars)
        chars = chars.to(device, non_blocking=True)
        embedded = functional.dropout(self.embedding(chars), self.dropout, self.training)  # [N, C, D]
        windows = _windows(embedded, order, counts, max(width for width, _ in self.filters))
        best = _ConvolveMax.apply(windows, counts, *self.kernels)  # [N, F], longest word first
        features = _ACTIVATIONS[self.activation](best[order.argsort().to(device)] + self.bias)
        for layer in self.highway:
            features = layer(features)
        return features if self.projection is None else self.projection(features)


class Highway(nn.Module):
    """y = t * g(W x + b) + (1 - t) * x with t = sigmoid(W_t x + b_t).

    Args:
        size: length of x and y.
        activation: g.

    Source: Srivastava et al. 2015, equation 3; b_t starts negative, so that the layer first carries its input.
    """

    def __init__(self, size: int, activation: Activation) -> None:
        super().__init__()
        self.activation = activation
        self.linear = nn.Linear(size, 2 * size)  # rows: W, then W_t
        nn.init.xavier_uniform_(self.linear.weight[:size])
        nn.init.xavier_uniform_(self.linear.weight[size:])
        nn.init.zeros_(self.linear.bias)
        with torch.no_grad():
            self.linear.bias[size:] = -_CARRY_BIAS

    def forward(self, x: Tensor) -> Tensor:
        """Map x [N, F] to y [N, F]."""
        value, gate = self.linear(x).chunk(2, dim=-1)
        return x + torch.sigmoid(gate) * (_ACTIVATIONS[self.activation](value) - x)


class CharRnn(nn.Module):
    """Stacked bidirectional RNN over the characters; the last states of both directions of the top layer.

    Args:
        symbols: number of character symbols, the padding symbol 0 included.
        dim: D, size of a character embedding.
        units: state size of one direction.
        layers: number of stacked bidirectional layers.
        cell: "gru" or "lstm".
        dropout: rate on the input of each layer, never on recurrent connections, in training only.

    Attributes:
        size: length of a word's vector, 2 * units.

    Source: Yang et al. 2017; Peters et al. 2017, section 3.
    """

    def __init__(self, symbols: int, dim: int, units: int, layers: int, *, cell: Cell, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.size = 2 * units
        self.embedding = nn.Embedding(symbols, dim, padding_idx=0)
        self.layers = nn.ModuleList(
            build_rnn(dim if layer == 0 else 2 * units, units, cell, bidirectional=True) for layer in range(layers)
        )
        _init_embedding(self.embedding)

    def forward(self, chars: Tensor) -> Tensor:
        """Encode words.

        Args:
            chars: symbols [N, C], int64, 0 = padding on the right.

        Returns:
            Vectors [N, 2 * units]: forward state after the last character, backward state after the first.
        """
        packed = PackedBatch.of(_lengths(chars), chars.shape[1])
        x = self.embedding(chars.reshape(-1)[packed.rows])  # [M, D]
        for layer in self.layers:
            forward, backward = read_packed(layer, functional.dropout(x, self.dropout, self.training), packed)
            x = torch.cat((forward, backward), dim=1)
        return torch.cat((take_rows(forward, packed.last), take_rows(backward, packed.first)), dim=1)


def _init_embedding(embedding: nn.Embedding) -> None:
    """Draw uniform vectors of variance 1 / D (Ma and Hovy 2016, section 3.1); zeros for padding."""
    bound = math.sqrt(3 / embedding.embedding_dim)
    nn.init.uniform_(embedding.weight, -bound, bound)
    with torch.no_grad():
        embedding.weight[0] = 0


def _lengths(chars: Tensor) -> Tensor:
    """Return the number of characters of each word [N]."""
    if chars.dim() != 2 or chars.shape[0] == 0:
        raise ValueError(f"characters have shape {list(chars.shape)}; expected [words, characters], one word at least")
    present = chars != 0
    lengths = present.sum(1)
    inside = torch.arange(chars.shape[1], device=chars.device) < lengths[:, None]  # [N, C]
    if int(lengths.min()) == 0 or not torch.equal(inside, present):
        wrong = ((inside != present).any(1) | (lengths == 0)).nonzero().flatten().tolist()
        raise ValueError(f"rows {wrong[:8]} are empty or have padding (symbol 0) before a character")
    return lengths


def _longest_first(chars: Tensor) -> tuple[Tensor, list[int]]:
    """Return the words by falling length [N], and the number of words that have a character at each position."""
    order = _lengths(chars).argsort(descending=True, stable=True)
    return order, [count for count in (chars != 0).sum(0).tolist() if count]


def _windows(embedded: Tensor, order: Tensor, counts: Sequence[int], width: int) -> Tensor:
    """Return all windows [M, width * D]: at position 0 those of all words, longest first, then at position 1, ..."""
    positions, dim = embedded.shape[1:]
    padded = functional.pad(embedded, (0, 0, 0, width - 1)).reshape(-1, dim)
    row = positions + width - 1
    device = embedded.device
    starts = torch.cat([order[:count] * row + position for position, count in enumerate(counts)])  # [M]
    index = starts.to(device)[:, None] + torch.arange(width, device=device)
    return padded.index_select(0, index.view(-1)).view(-1, width * dim)


class _ConvolveMax(torch.autograd.Function):
    """Maximum of windows @ kernel.T over the windows of each word, for kernels of several widths at once.

    There are no windows of padding, and the gradient of the maximum is one scatter. On one CPU thread this takes a
    quarter of the time of conv1d with masking.
    """

    @staticmethod
    def forward(ctx: Any, windows: Tensor, counts: Sequence[int], *kernels: Tensor) -> Tensor:
        total = sum(kernel.shape[0] for kernel in kernels)
        scores = windows.new_empty(windows.shape[0], total)  # [M, F]
        column = 0
        for kernel in kernels:
            count, width = kernel.shape
            torch.mm(windows[:, :width], kernel.t(), out=scores[:, column : column + count])
            column += count
        words = counts[0]
        best = scores[:words].clone()
        needed = any(ctx.needs_input_grad)
        rows = torch.zeros(words, total, dtype=torch.int64, device=windows.device)
        offset = words
        for count in counts[1:]:
            here = scores[offset : offset + count]
            if needed:
                rows[:count].masked_fill_(here > best[:count], offset)  # ties: the first window gets the gradient
            torch.maximum(best[:count], here, out=best[:count])
            offset += count
        if needed:
            rows += torch.arange(words, device=windows.device)[:, None]
            ctx.save_for_backward(windows, rows, *kernels)
        return best

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # only under create_graph=True
            raise NotImplementedError("CharCnn has no second derivative; call backward without create_graph=True")
        windows, rows, *kernels = ctx.saved_tensors
        scores = gradient.new_zeros(windows.shape[0], gradient.shape[1]).scatter_(0, rows, gradient)  # [M, F]
        d_windows = torch.zeros_like(windows)
        d_kernels = []
        column = 0
        for kernel in kernels:
            count, width = kernel.shape
            d_scores = scores[:, column : column + count]
            d_kernels.append(d_scores.t() @ windows[:, :width])
            d_windows[:, :width].addmm_(d_scores, kernel)
            column += count
        return d_windows, None, *d_kernels
