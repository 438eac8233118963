"""Output layers of a language model: both give exact negative log-probabilities per token."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class FullSoftmax(nn.Module):
    """One matrix over the whole vocabulary.

    Args:
        size: D, width of the states.
        vocabulary: V, number of words.
    """

    def __init__(self, size: int, vocabulary: int) -> None:
        super().__init__()
        self.linear = nn.Linear(size, vocabulary)
        nn.init.normal_(self.linear.weight, std=size**-0.5)
        nn.init.zeros_(self.linear.bias)

    def forward(self, states: Tensor, targets: Tensor) -> Tensor:
        """Negative log-probability of each target: states [N, D], targets [N] -> [N]."""
        return functional.cross_entropy(self.linear(states), targets, reduction="none")


class AdaptiveSoftmax(nn.Module):
    """Frequent words in the head, rarer ones in clusters of falling size (Grave et al. 2017).

    A normalised distribution like the full softmax, so its perplexity is exact; words must be sorted by frequency.

    Args:
        size: D, width of the states.
        vocabulary: V, number of words.
        cutoffs: first word of each tail cluster, rising, all below V.
        shrink: each cluster's inner size is the previous one's divided by this.
    """

    def __init__(self, size: int, vocabulary: int, *, cutoffs: Sequence[int], shrink: float) -> None:
        super().__init__()
        self.clusters = nn.AdaptiveLogSoftmaxWithLoss(
            size, vocabulary, cutoffs=list(cutoffs), div_value=shrink, head_bias=True
        )

    def forward(self, states: Tensor, targets: Tensor) -> Tensor:
        """Negative log-probability of each target: states [N, D], targets [N] -> [N]."""
        return -self.clusters(states, targets).output


def build_softmax(size: int, vocabulary: int, *, cutoffs: Sequence[int] | None, shrink: float) -> nn.Module:
    """An adaptive softmax with the cutoffs that lie inside the vocabulary; a full one where none does (or for None)."""
    inside = [cutoff for cutoff in cutoffs or () if cutoff < vocabulary - 1]
    if not inside:
        return FullSoftmax(size, vocabulary)
    return AdaptiveSoftmax(size, vocabulary, cutoffs=inside, shrink=shrink)


def block_losses(softmax: nn.Module, states: Tensor, targets: Tensor, block: int = 2_048) -> Tensor:
    """Negative log-probabilities in blocks of rows, in float64, so that large vocabularies fit in memory.

    Args:
        softmax: an output layer of this module.
        states: [N, D].
        targets: [N].
        block: rows at once.

    Returns:
        [N] float64.
    """
    with torch.no_grad():
        parts = [
            softmax(states[start : start + block], targets[start : start + block]).double()
            for start in range(0, len(targets), block)
        ]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)
