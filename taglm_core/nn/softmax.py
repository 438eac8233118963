"""Output layers of a language model. All of them score exactly; the sampled one trains on an approximation.

A layer has two readings: `forward` gives exact negative log-probabilities (what perplexity is made of),
`training_losses` what training minimises. They are the same for the full and the adaptive softmax.

Axes: N states, P state size, V vocabulary, S samples.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

_BLOCK = 1 << 25  # elements of one [rows, V] block of exact scores: 128 MiB


class Softmax(nn.Module):
    """What every output layer does."""

    samples = 0  # words that a training step samples; 0: its loss is exact
    width = 1  # scores a row of `forward` needs at once

    def forward(self, states: Tensor, targets: Tensor) -> Tensor:
        """Return the exact negative log-probability of each target: states [N, P], targets [N] -> [N]."""
        raise NotImplementedError

    def training_losses(
        self,
        states: Tensor,
        targets: Tensor,
        generator: np.random.Generator,  # noqa: ARG002  for layers that sample
    ) -> Tensor:
        """Return the losses to minimise: states [N, P], targets [N] -> [N]."""
        losses: Tensor = self(states, targets)
        return losses


class NoSoftmax(Softmax):
    """Stands where a language model is read, and predicts nothing: a large softmax takes gigabytes."""

    def forward(self, states: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG002
        """Refuse."""
        raise RuntimeError("this language model was loaded to be read, without its softmax; load it with predicts=True")


class FullSoftmax(Softmax):
    """One matrix over the whole vocabulary.

    Args:
        size: P, width of the states.
        vocabulary: V, number of words.
        table: word vectors [V, P] that serve as the matrix, too (weight tying; Press and Wolf 2017), or None.
    """

    def __init__(self, size: int, vocabulary: int, *, table: nn.Embedding | None = None) -> None:
        super().__init__()
        self.width = vocabulary
        self._table = (table,)  # in a tuple: the encoder has it among its parameters, and saves it
        if table is None:
            self.weight = nn.Parameter(torch.empty(vocabulary, size))
            nn.init.normal_(self.weight, std=size**-0.5)
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def forward(self, states: Tensor, targets: Tensor) -> Tensor:
        """Return the negative log-probability of each target: states [N, P], targets [N] -> [N]."""
        table = self._table[0]
        weight = self.weight if table is None else table.weight
        scores = functional.linear(states, weight, self.bias).float()  # under autocast they are bfloat16
        return functional.cross_entropy(scores, targets, reduction="none")


class AdaptiveSoftmax(Softmax):
    """Frequent words in the head, rarer ones in clusters of falling size (Grave et al. 2017).

    A normalised distribution like the full softmax, so its perplexity is exact; words must be sorted by frequency.

    Args:
        size: P, width of the states.
        vocabulary: V, number of words.
        cutoffs: first word of each tail cluster, rising, all below V.
        shrink: each cluster's inner size is the previous one's divided by this.
    """

    def __init__(self, size: int, vocabulary: int, *, cutoffs: Sequence[int], shrink: float) -> None:
        super().__init__()
        edges = [*cutoffs, vocabulary]
        self.width = max(cutoffs[0] + len(cutoffs), *(high - low for low, high in itertools.pairwise(edges)))
        self.clusters = nn.AdaptiveLogSoftmaxWithLoss(
            size, vocabulary, cutoffs=list(cutoffs), div_value=shrink, head_bias=True
        )
        for scores in (self.clusters.head, *(list(tail.children())[-1] for tail in self.clusters.tail)):
            scores.register_forward_hook(_in_float32)  # under autocast they are bfloat16; normalisation is not

    def forward(self, states: Tensor, targets: Tensor) -> Tensor:
        """Return the negative log-probability of each target: states [N, P], targets [N] -> [N]."""
        # not by the module's own forward: on CUDA with deterministic algorithms it fails at a cluster with one target
        states, clusters = states.float(), self.clusters
        columns, inner = targets.clone(), states.new_zeros(len(targets))  # of the head; log-probability in a cluster
        for number, (low, high) in enumerate(itertools.pairwise(clusters.cutoffs)):
            rows = ((targets >= low) & (targets < high)).nonzero().flatten()
            if len(rows) == 0:
                continue
            columns.index_fill_(0, rows, clusters.shortlist_size + number)
            scores = functional.log_softmax(clusters.tail[number](states.index_select(0, rows)), dim=1)
            words = targets.index_select(0, rows) - low
            inner.index_copy_(0, rows, scores.gather(1, words.unsqueeze(1)).squeeze(1))
        outer = functional.log_softmax(clusters.head(states), dim=1)
        return -(inner + outer.gather(1, columns.unsqueeze(1)).squeeze(1))


class SampledSoftmax(Softmax):
    """A full softmax that trains on the targets and a sample of the other words, the same for all states of a step.

    Words are drawn without repetition, log-uniformly over the ranks of a vocabulary sorted by frequency; each score is
    lowered by the logarithm of how often its word was to be expected, and a sample that is the target of a state is
    left out there. Gradients of the two tables are sparse.

    Args:
        size: P, width of the states.
        vocabulary: V, number of words.
        samples: S, words drawn in a step, below V.

    Raises:
        ValueError: as many samples as words, or more.

    Source: Jean et al. 2015; the recipe of Jozefowicz et al. 2016.
    """

    def __init__(self, size: int, vocabulary: int, *, samples: int) -> None:
        super().__init__()
        if not 0 < samples < vocabulary:
            raise ValueError(
                f"softmax: {samples:,} samples of a vocabulary of {vocabulary:,} words; expected fewer samples than "
                "words; lower softmax.samples, or take softmax.kind full or adaptive"
            )
        self.samples, self.width = samples, vocabulary
        self.weight = nn.Embedding(vocabulary, size, sparse=True)
        self.bias = nn.Embedding(vocabulary, 1, sparse=True)
        nn.init.normal_(self.weight.weight, std=size**-0.5)
        nn.init.zeros_(self.bias.weight)

    def forward(self, states: Tensor, targets: Tensor) -> Tensor:
        """Return the negative log-probability of each target by all V scores: states [N, P], targets [N] -> [N]."""
        scores = functional.linear(states, self.weight.weight, self.bias.weight[:, 0]).float()
        return functional.cross_entropy(scores, targets, reduction="none")

    def training_losses(self, states: Tensor, targets: Tensor, generator: np.random.Generator) -> Tensor:
        """Return the loss of each target among itself and the samples [N]. No perplexity: it is lower."""
        words, tries = draw_log_uniform(self.width, self.samples, generator)
        drawn = torch.from_numpy(words).to(states.device)
        # The samples' scores are one matrix product; the targets' rows are looked up one by one.
        scores = functional.linear(
            states, self.weight(drawn), self.bias(drawn)[:, 0] - self._log_expected(drawn, tries)
        ).float()
        rows, columns = _hits(targets, drawn)
        scores[rows, columns] = -torch.inf  # [N, S]
        own = (states * self.weight(targets)).sum(1) + self.bias(targets)[:, 0] - self._log_expected(targets, tries)
        return torch.logaddexp(own, scores.logsumexp(1)) - own

    def _log_expected(self, words: Tensor, tries: int) -> Tensor:
        """Return the logarithm of the probability that `tries` draws meet a word at least once."""
        ranks = words.double()
        p = torch.log((ranks + 2) / (ranks + 1)) / math.log(self.width + 1)
        return (-torch.expm1(tries * torch.log1p(-p))).log().float()


def _in_float32(_module: nn.Module, _inputs: tuple[Tensor, ...], scores: Tensor) -> Tensor:
    return scores.float()


def _hits(targets: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
    """Find which targets [N] were drawn [S], and where; comparing all pairs would cost a tenth of a step."""
    order = drawn.argsort()
    place = torch.searchsorted(drawn[order], targets).clamp_(max=len(drawn) - 1)
    column = order[place]
    rows = (drawn[column] == targets).nonzero().squeeze(1)
    return rows, column[rows]


def draw_log_uniform(vocabulary: int, samples: int, generator: np.random.Generator) -> tuple[np.ndarray, int]:
    """Draw ranks with P(k) = log((k + 2) / (k + 1)) / log(V + 1) until enough different ones were met.

    Args:
        vocabulary: V; ranks are 0..V-1.
        samples: S, different ranks wanted, below V.
        generator: chance.

    Returns:
        The ranks [S], int64, in the order of their first appearance, and the number of draws.
    """
    draws = np.empty(0, np.int64)
    while True:
        more = np.exp(generator.random(max(2 * samples, len(draws))) * math.log(vocabulary + 1)).astype(np.int64) - 1
        draws = np.concatenate([draws, np.minimum(more, vocabulary - 1)])
        words, first = np.unique(draws, return_index=True)
        if len(words) >= samples:
            order = np.argsort(first)[:samples]
            return words[order], int(first[order[-1]]) + 1


def block_losses(softmax: Softmax, states: Tensor, targets: Tensor, block: int | None = None) -> Tensor:
    """Compute exact negative log-probabilities in float64, in blocks of rows: large vocabularies fit in memory.

    Args:
        softmax: an output layer of this module.
        states: [N, P].
        targets: [N].
        block: rows at once; None for as many as 128 MiB of scores hold.

    Returns:
        [N] float64.
    """
    block = max(1, min(2_048, _BLOCK // softmax.width)) if block is None else block
    with torch.no_grad():
        parts = [
            softmax(states[start : start + block], targets[start : start + block]).double()
            for start in range(0, len(targets), block)
        ]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)
