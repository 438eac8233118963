"""Linear-chain conditional random field: loss, partition, marginals, and the layer (paths: `crf_paths`).

    score(y | x) = sum_k s_k(y_k) + sum_{k >= 2} A[y_{k-1}, y_k] (+ start[y_1] + end[y_n])
    loss         = log sum_{y'} exp score(y') - score(y)                        (Lample et al. 2016, 2.2)

The gradient of log Z is the marginals (Lafferty et al. 2001), so the loss is one autograd function: a forward chain and
a backward chain (the same recursion over the reversed sentence with A transposed) run side by side in one loop, a few
operations a token, and nothing is recorded for autograd.

Axes: B sentences, T tokens, K tags. Transitions are [from, to]. Masks are True on tokens, and tokens come first.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from taglm_core.nn.crf_chains import boundary_potentials, pair_sums, path_scores, run_chains
from taglm_core.nn.crf_checks import Tokens, checked_tags, checked_tokens, same_dtype, shown_rows
from taglm_core.nn.crf_paths import crf_decode, crf_n_best, crf_path_log_probs


def crf_loss(
    emissions: Tensor,
    tags: Tensor,
    mask: Tensor,
    transitions: Tensor,
    start: Tensor | None = None,
    end: Tensor | None = None,
) -> Tensor:
    """Compute the negative log-likelihood of each sentence, once differentiable.

    Args:
        emissions: s [B, T, K].
        tags: gold tags [B, T], int64; any value at padding.
        mask: [B, T], bool, True on tokens.
        transitions: A [K, K], from and to; -inf forbids.
        start: scores of the first tag [K], or None.
        end: scores of the last tag [K], or None.

    Returns:
        Losses [B]; infinite where the gold path or every path is forbidden.

    Raises:
        ValueError: shapes do not fit, a row of the mask is empty or has a gap, or a gold tag is outside 0..K-1.
    """
    tokens = checked_tokens(emissions, mask, transitions, start, end)
    tags = checked_tags(tags, mask, emissions.shape[2])
    return _LogPartition.apply(*same_dtype(emissions, transitions, start, end), tokens, tags)


def crf_log_partition(
    emissions: Tensor, mask: Tensor, transitions: Tensor, start: Tensor | None = None, end: Tensor | None = None
) -> Tensor:
    """Compute log Z, the log-partition function, of each sentence [B], once differentiable; arguments as in `crf_loss`.

    It is -inf where every path is forbidden.
    """
    tokens = checked_tokens(emissions, mask, transitions, start, end)
    return _LogPartition.apply(*same_dtype(emissions, transitions, start, end), tokens, None)


@torch.no_grad()
def crf_marginals(
    emissions: Tensor, mask: Tensor, transitions: Tensor, start: Tensor | None = None, end: Tensor | None = None
) -> Tensor:
    """Compute P(y_k = tag | x) [B, T, K], zero at padding; arguments as in `crf_loss`.

    Raises:
        ValueError: as `crf_loss`, or the scores forbid every path of a sentence.
    """
    tokens = checked_tokens(emissions, mask, transitions, start, end)
    emissions, transitions, start, end = same_dtype(emissions, transitions, start, end)
    chains = run_chains(boundary_potentials(emissions, start, end, tokens), transitions, tokens, both=True)
    if bool((impossible := chains.log_z.isneginf()).any()):
        rows = shown_rows(impossible)
        raise ValueError(f"rows {rows}: the scores forbid every path, so no tag has a probability; correct the scores")
    return chains.marginals.transpose(0, 1).contiguous()


class _LogPartition(torch.autograd.Function):
    """log Z, or the loss if gold tags are given."""

    @staticmethod
    def forward(
        ctx: Any,
        emissions: Tensor,
        transitions: Tensor,
        start: Tensor | None,
        end: Tensor | None,
        tokens: Tokens,
        gold: Tensor | None,
    ) -> Tensor:
        potentials = boundary_potentials(emissions, start, end, tokens)
        chains = run_chains(potentials, transitions, tokens, both=any(ctx.needs_input_grad))
        if any(ctx.needs_input_grad):
            ctx.scaled = chains.scaled
            ctx.save_for_backward(chains.marginals, chains.left, chains.right, transitions, *tokens, gold)
        result = chains.log_z
        if gold is not None:
            result = result - path_scores(potentials, transitions, gold, tokens)
            result = result.masked_fill_(
                chains.log_z.isneginf(), torch.inf
            )  # without an allowed path gold is forbidden, too
        return result.to(emissions.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # only under create_graph=True
            raise NotImplementedError("the CRF has no second derivative; call backward without create_graph=True")
        marginals, left, right, transitions, lengths, present, gold = ctx.saved_tensors
        weights = gradient * present  # [T, B]
        d_potentials = marginals * weights.unsqueeze(-1)
        d_transitions = pair_sums(left, right, transitions, weights, scaled=ctx.scaled)
        if gold is not None:
            gold = gold.t()  # [T, B]
            d_potentials.scatter_add_(2, gold.unsqueeze(-1), -weights.unsqueeze(-1))
            pairs = (gold[:-1] * len(transitions) + gold[1:]).reshape(-1)
            d_transitions.view(-1).index_add_(0, pairs, -weights[1:].reshape(-1))
        d_start = d_potentials[0].sum(0) if ctx.needs_input_grad[2] else None
        last = d_potentials[lengths - 1, torch.arange(len(lengths), device=lengths.device)]  # [B, K]
        d_end = last.sum(0) if ctx.needs_input_grad[3] else None
        return d_potentials.transpose(0, 1), d_transitions, d_start, d_end, None, None


class Crf(nn.Module):
    """A CRF layer: bigram scores, optional start and end scores, optional constraints.

    Without bigram scores, A = 0, all of the above factorises over tokens: the layer is a softmax per token, with
    loss = sum_k -log softmax(s_k)[y_k], marginals softmax(s_k) and the arg max of each s_k as the best path.

    Args:
        tags: K.
        bigrams: whether bigram scores are learned; otherwise they are zero and no parameters.
        start_end: whether the first and the last tag have scores of their own.
        constraints: allowed transitions [K, K], from and to, bool; None allows all.
        allowed_start: allowed first tags [K], bool, or None.
        allowed_end: allowed last tags [K], bool, or None.

    Scores start at zero; the random initialisation of the emissions breaks the symmetry. The constraints hold in the
    loss, the marginals and decoding, and are not saved with the weights.
    """

    transitions: Tensor
    allowed: Tensor | None
    allowed_start: Tensor | None
    allowed_end: Tensor | None

    def __init__(
        self,
        tags: int,
        *,
        bigrams: bool = True,
        start_end: bool = False,
        constraints: Tensor | None = None,
        allowed_start: Tensor | None = None,
        allowed_end: Tensor | None = None,
    ) -> None:
        super().__init__()
        if bigrams:
            self.transitions = nn.Parameter(torch.zeros(tags, tags))
        else:
            self.register_buffer("transitions", torch.zeros(tags, tags), persistent=False)
        self.start = nn.Parameter(torch.zeros(tags)) if start_end else None
        self.end = nn.Parameter(torch.zeros(tags)) if start_end else None
        for name, allowed, shape in (
            ("allowed", constraints, [tags, tags]),
            ("allowed_start", allowed_start, [tags]),
            ("allowed_end", allowed_end, [tags]),
        ):
            if allowed is not None and (list(allowed.shape) != shape or allowed.dtype != torch.bool):
                raise ValueError(f"{name}: {allowed.dtype} of shape {list(allowed.shape)}; expected torch.bool {shape}")
            self.register_buffer(name, allowed, persistent=False)

    def scores(self) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return transitions [K, K], start [K] and end [K], with -inf where forbidden."""
        transitions: Tensor = self.transitions
        if self.allowed is not None:
            transitions = transitions.masked_fill(~self.allowed, -torch.inf)
        return (
            transitions,
            _forbid(self.start, transitions[0], self.allowed_start),
            _forbid(self.end, transitions[0], self.allowed_end),
        )

    def loss(self, emissions: Tensor, tags: Tensor, mask: Tensor) -> Tensor:
        """Return negative log-likelihoods [B]; see `crf_loss`. NaN emissions give a NaN loss.

        Raises:
            ValueError: as `crf_loss`, or the constraints forbid a gold path.
        """
        losses = crf_loss(emissions, tags, mask, *self.scores())
        self._refuse_forbidden(torch.isposinf(losses), "the gold tags take a forbidden transition")
        return losses

    def decode(self, emissions: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the best tags [B, T] and their scores [B]; see `crf_decode`."""
        tags, scores = crf_decode(emissions, mask, *self.scores())
        self._refuse_forbidden(torch.isneginf(scores), "every path takes a forbidden transition")
        return tags, scores

    def n_best(self, emissions: Tensor, mask: Tensor, n: int) -> tuple[Tensor, Tensor]:
        """Return the n best paths [B, n, T] and their scores [B, n], -inf for missing ones; see `crf_n_best`."""
        return crf_n_best(emissions, mask, *self.scores(), n=n)

    def log_partition(self, emissions: Tensor, mask: Tensor) -> Tensor:
        """Return log Z of each sentence [B]; see `crf_log_partition`."""
        return crf_log_partition(emissions, mask, *self.scores())

    def marginals(self, emissions: Tensor, mask: Tensor) -> Tensor:
        """Return P(tag) [B, T, K]; see `crf_marginals`."""
        return crf_marginals(emissions, mask, *self.scores())

    def path_log_probs(self, emissions: Tensor, path: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-probabilities of a path's tags, alone and given the tag before; see `crf_path_log_probs`."""
        return crf_path_log_probs(emissions, path, mask, *self.scores())

    def _refuse_forbidden(self, rows: Tensor, reason: str) -> None:
        constrained = any(allowed is not None for allowed in (self.allowed, self.allowed_start, self.allowed_end))
        if constrained and bool(rows.any()):
            raise ValueError(f"rows {shown_rows(rows)}: {reason}; correct the tags or the constraints")


def _forbid(scores: Tensor | None, like: Tensor, allowed: Tensor | None) -> Tensor | None:
    """Set scores to -inf where not allowed; `like` gives shape and type if there are no scores."""
    if allowed is None:
        return scores
    return (torch.zeros_like(like) if scores is None else scores).masked_fill(~allowed, -torch.inf)
