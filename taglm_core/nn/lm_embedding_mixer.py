"""LM embeddings on their way into the tagger: mixed over layers, scaled, normalised, projected, dropped out.

    h_j            layer j of one source (one direction of a language model)
    norm           (h_j - mean) / deviation, with learned gain and bias, each layer alone
    mix            gamma * sum_j softmax(s)_j h_j            Peters et al. 2018, equation 1
    scale          gamma * [h_1 ; h_2 ; ...]
    projection     activation(W [source ; source ; ...] + b) LD-Net (Liu et al. 2018) has it with ReLU

By default the module joins the embeddings unchanged, as the paper does.

Axes: B sentences, T tokens, P features of one layer of one source, L features of all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Activation = Literal["none", "relu", "tanh"]

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"none": lambda x: x, "relu": torch.relu, "tanh": torch.tanh}


@dataclass(frozen=True, slots=True)
class LmSource:
    """The embedding of a token by one direction of a language model: [layer 1 ; layer 2 ; ...].

    Attributes:
        size: P, length of one layer's vector.
        layers: number of layers.
    """

    size: int
    layers: int = 1

    @property
    def width(self) -> int:
        """Length of all layers side by side."""
        return self.layers * self.size


class LmEmbeddingMixer(nn.Module):
    """Prepares the LM embeddings of several sources for the tagger.

    Args:
        sources: parts of the input, in this order.
        mix: whether the layers of a source become their weighted mean, times a scale; initially with equal weights
            and scale 1. A single layer is only scaled.
        norm: whether each layer's vector is normalised before mixing.
        scale: whether each source is multiplied by a learned factor, initially 1.
        projection: size of a linear map of all sources together, or None.
        activation: "none", "relu" or "tanh", after the projection.
        dropout: rate on the result, in training only; None leaves dropout to the tagger.

    Attributes:
        inputs: L.
        size: length of the result.

    Initial values: Xavier projection without bias, from torch's global generator; all else is constant.

    Raises:
        ValueError: no source, or options that exclude each other.
    """

    def __init__(
        self,
        sources: Sequence[LmSource],
        *,
        mix: bool = False,
        norm: bool = False,
        scale: bool = False,
        projection: int | None = None,
        activation: Activation = "none",
        dropout: float | None = None,
    ) -> None:
        super().__init__()
        if not sources or any(source.size < 1 or source.layers < 1 for source in sources):
            raise ValueError(f"sources are {list(sources)}; expected at least one, of positive sizes")
        if mix and scale:
            raise ValueError("mix has a learned scale already; expected mix or scale, not both")
        if activation not in _ACTIVATIONS:
            raise ValueError(f"activation is {activation!r}; expected one of {sorted(_ACTIVATIONS)}")
        if activation != "none" and projection is None:
            raise ValueError(
                f"activation {activation!r} comes after a projection; expected projection's size, not None"
            )
        self.dropout, self.activation = dropout, activation
        self.inputs = sum(source.width for source in sources)
        self._widths = [source.width for source in sources]
        self.sources = nn.ModuleList(_Source(source, mix=mix, norm=norm, scale=scale) for source in sources)
        joined = sum(source.size if mix else source.width for source in sources)
        self.projection = None if projection is None else nn.Linear(joined, projection)
        if self.projection is not None:
            nn.init.xavier_uniform_(self.projection.weight)
            nn.init.zeros_(self.projection.bias)
        self.size = joined if projection is None else projection

    def forward(self, lm: Tensor) -> Tensor:
        """Map LM embeddings [B, T, L] to [B, T, size], each token by itself.

        Raises:
            ValueError: the input has another L.
        """
        if lm.dim() != 3 or lm.shape[2] != self.inputs:
            raise ValueError(f"lm has shape {list(lm.shape)}; expected [B, T, {self.inputs}]")
        parts = zip(self.sources, lm.split(self._widths, dim=2), strict=True)
        x = torch.cat([source(part) for source, part in parts], dim=2)
        if self.projection is not None:
            x = _ACTIVATIONS[self.activation](self.projection(x))
        return x if self.dropout is None else functional.dropout(x, self.dropout, self.training)


class _Source(nn.Module):
    """One source: norm, then mix or scale."""

    def __init__(self, source: LmSource, *, mix: bool, norm: bool, scale: bool) -> None:
        super().__init__()
        self._shape = (source.layers, source.size)
        self.norm = nn.LayerNorm(source.size) if norm else None
        self.weights = nn.Parameter(torch.zeros(source.layers)) if mix else None  # s of the equation, before softmax
        self.scale = nn.Parameter(torch.ones(())) if mix or scale else None  # gamma

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, T, layers * P] to [B, T, P] with mix, to its own shape without."""
        if self.norm is not None:
            x = self.norm(x.unflatten(2, self._shape)).flatten(2)
        if self.weights is not None:
            shares = self.weights.softmax(0)[:, None]  # [layers, 1]
            x = (shares * x.unflatten(2, self._shape)).sum(2)
        return x if self.scale is None else self.scale * x
