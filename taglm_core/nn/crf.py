"""Linear-chain conditional random field: loss, partition, marginals, best path.

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


def crf_loss(
    emissions: Tensor,
    tags: Tensor,
    mask: Tensor,
    transitions: Tensor,
    start: Tensor | None = None,
    end: Tensor | None = None,
) -> Tensor:
    """Negative log-likelihood of each sentence, once differentiable.

    Args:
        emissions: s [B, T, K].
        tags: gold tags [B, T], int64; at padding anything.
        mask: [B, T], bool, True on tokens.
        transitions: A [K, K], from and to; -inf forbids.
        start: scores of the first tag [K], or None.
        end: scores of the last tag [K], or None.

    Returns:
        Losses [B]; infinite where the gold path is forbidden.

    Raises:
        ValueError: shapes that do not fit, a row of the mask that is empty or has a gap, a gold tag outside 0..K-1.
    """
    lengths = _checked_lengths(emissions, mask, transitions, start, end)
    tags = _checked_tags(tags, mask, emissions.shape[2])
    return _LogPartition.apply(*_same_dtype(emissions, transitions, start, end), lengths, tags)


def crf_log_partition(
    emissions: Tensor, mask: Tensor, transitions: Tensor, start: Tensor | None = None, end: Tensor | None = None
) -> Tensor:
    """Logarithm of the partition function Z of each sentence [B], once differentiable; arguments as in `crf_loss`."""
    lengths = _checked_lengths(emissions, mask, transitions, start, end)
    return _LogPartition.apply(*_same_dtype(emissions, transitions, start, end), lengths, None)


@torch.no_grad()
def crf_marginals(
    emissions: Tensor, mask: Tensor, transitions: Tensor, start: Tensor | None = None, end: Tensor | None = None
) -> Tensor:
    """P(y_k = tag | x) [B, T, K], zero at padding; arguments as in `crf_loss`."""
    lengths = _checked_lengths(emissions, mask, transitions, start, end)
    emissions, transitions, start, end = _same_dtype(emissions, transitions, start, end)
    chains = run_chains(boundary_potentials(emissions, start, end, lengths), transitions, lengths, both=True)
    return chains.marginals.transpose(0, 1).contiguous()


@torch.no_grad()
def crf_decode(
    emissions: Tensor, mask: Tensor, transitions: Tensor, start: Tensor | None = None, end: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Best path of each sentence (Viterbi); of equal paths, the one with the lower tags at the end.

    Args as in `crf_loss`.

    Returns:
        Tags [B, T], int64, 0 at padding, and the paths' scores [B], -inf where every path is forbidden.
    """
    lengths = _checked_lengths(emissions, mask, transitions, start, end)
    emissions, transitions, start, end = _same_dtype(emissions, transitions, start, end)
    potentials = boundary_potentials(emissions, start, end, lengths)  # [T, B, K]
    into = transitions.t().contiguous()  # [to, from]: the maximum runs over the last axis
    steps, batch, tags = potentials.shape
    history = torch.empty(steps, batch, tags, dtype=torch.int64, device=emissions.device)
    states = torch.empty_like(potentials)
    states[0] = potentials[0]
    for t in range(1, steps):
        best, history[t] = (states[t - 1].unsqueeze(1) + into).max(-1)
        best += potentials[t]
        torch.sub(best, best.amax(-1, keepdim=True), out=states[t])  # keeps long sentences exact
    device = emissions.device
    padding = torch.arange(steps, device=device)[:, None] >= lengths  # [T, B]
    history = torch.where(padding.unsqueeze(-1), torch.arange(tags, device=device), history)  # stand still there
    current = states[lengths - 1, torch.arange(batch, device=device)].argmax(-1, keepdim=True)  # [B, 1]
    path = [current]
    for t in range(steps - 1, 0, -1):
        current = history[t].gather(1, current)
        path.append(current)
    best_tags = torch.cat(path[::-1], dim=1).masked_fill_(padding.t(), 0)
    return best_tags, path_scores(potentials, transitions, best_tags, lengths).to(emissions.dtype)


class _LogPartition(torch.autograd.Function):
    """log Z, or the loss where gold tags are given."""

    @staticmethod
    def forward(
        ctx: Any,
        emissions: Tensor,
        transitions: Tensor,
        start: Tensor | None,
        end: Tensor | None,
        lengths: Tensor,
        gold: Tensor | None,
    ) -> Tensor:
        potentials = boundary_potentials(emissions, start, end, lengths)
        chains = run_chains(potentials, transitions, lengths, both=any(ctx.needs_input_grad))
        if any(ctx.needs_input_grad):
            ctx.scaled = chains.scaled
            ctx.save_for_backward(chains.marginals, chains.left, chains.right, transitions, lengths, gold)
        result = chains.log_z
        if gold is not None:
            result = result - path_scores(potentials, transitions, gold, lengths)
        return result.to(emissions.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # only under create_graph=True
            raise NotImplementedError("the CRF has no second derivative; call backward without create_graph=True")
        marginals, left, right, transitions, lengths, gold = ctx.saved_tensors
        present = torch.arange(len(marginals), device=lengths.device)[:, None] < lengths  # [T, B]
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
    """A CRF layer: bigram scores, and on request start and end scores and forbidden transitions.

    Args:
        tags: K.
        start_end: whether the first and the last tag have scores of their own.
        constraints: allowed transitions [K, K], from and to, bool; None allows all.
        allowed_start: allowed first tags [K], bool, or None.
        allowed_end: allowed last tags [K], bool, or None.

    Scores start at zero: nothing is known of the bigrams, and the emissions' random initialisation breaks the symmetry.
    What is forbidden is forbidden in the loss, in the marginals and in decoding, and is not saved with the weights.
    """

    allowed: Tensor | None
    allowed_start: Tensor | None
    allowed_end: Tensor | None

    def __init__(
        self,
        tags: int,
        *,
        start_end: bool = False,
        constraints: Tensor | None = None,
        allowed_start: Tensor | None = None,
        allowed_end: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.transitions = nn.Parameter(torch.zeros(tags, tags))
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
        """Transitions [K, K], start [K] and end [K] with -inf where forbidden."""
        transitions: Tensor = self.transitions
        if self.allowed is not None:
            transitions = transitions.masked_fill(~self.allowed, -torch.inf)
        return (
            transitions,
            _forbid(self.start, transitions[0], self.allowed_start),
            _forbid(self.end, transitions[0], self.allowed_end),
        )

    def loss(self, emissions: Tensor, tags: Tensor, mask: Tensor) -> Tensor:
        """Negative log-likelihoods [B]; see `crf_loss`.

        Raises:
            ValueError: as there, or a gold path that the constraints forbid.
        """
        losses = crf_loss(emissions, tags, mask, *self.scores())
        self._refuse_forbidden(torch.isposinf(losses) | losses.isnan(), "the gold tags take a forbidden transition")
        return losses

    def decode(self, emissions: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Best tags [B, T] and their scores [B]; see `crf_decode`."""
        tags, scores = crf_decode(emissions, mask, *self.scores())
        self._refuse_forbidden(torch.isneginf(scores), "every path takes a forbidden transition")
        return tags, scores

    def marginals(self, emissions: Tensor, mask: Tensor) -> Tensor:
        """P(tag) [B, T, K]; see `crf_marginals`."""
        return crf_marginals(emissions, mask, *self.scores())

    def _refuse_forbidden(self, rows: Tensor, reason: str) -> None:
        constrained = any(allowed is not None for allowed in (self.allowed, self.allowed_start, self.allowed_end))
        if constrained and bool(rows.any()):
            raise ValueError(f"rows {_rows(rows)}: {reason}; correct the tags or the constraints")


def _forbid(scores: Tensor | None, like: Tensor, allowed: Tensor | None) -> Tensor | None:
    """Scores with -inf where not allowed; `like` gives shape and type where there are no scores."""
    if allowed is None:
        return scores
    return (torch.zeros_like(like) if scores is None else scores).masked_fill(~allowed, -torch.inf)


def _same_dtype(
    emissions: Tensor, transitions: Tensor, start: Tensor | None, end: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """All of the widest type, float32 at least: half precision cannot hold log Z of a sentence."""
    dtype = torch.promote_types(torch.promote_types(emissions.dtype, transitions.dtype), torch.float32)
    start = None if start is None else start.to(dtype)
    end = None if end is None else end.to(dtype)
    return emissions.to(dtype), transitions.to(dtype), start, end


def _checked_lengths(
    emissions: Tensor, mask: Tensor, transitions: Tensor, start: Tensor | None, end: Tensor | None
) -> Tensor:
    """Lengths [B], after the shapes and the mask were found to fit."""
    if emissions.dim() != 3:
        raise ValueError(f"emissions have shape {list(emissions.shape)}; expected [sentences, tokens, tags]")
    batch, steps, tags = emissions.shape
    given = f"emissions {list(emissions.shape)}"
    if list(transitions.shape) != [tags, tags]:
        raise ValueError(f"transitions have shape {list(transitions.shape)}; {given} need [{tags}, {tags}]")
    for name, scores in (("start", start), ("end", end)):
        if scores is not None and list(scores.shape) != [tags]:
            raise ValueError(f"{name} has shape {list(scores.shape)}; {given} need [{tags}]")
    if list(mask.shape) != [batch, steps] or mask.dtype != torch.bool:
        raise ValueError(f"mask is {mask.dtype} {list(mask.shape)}; {given} need torch.bool [{batch}, {steps}]")
    lengths = mask.sum(1)
    if not bool(mask[:, :1].all()) or not torch.equal(mask, torch.arange(steps, device=mask.device) < lengths[:, None]):
        if bool((lengths == 0).any()):
            raise ValueError(f"mask: rows {_rows(lengths == 0)} have no token; leave empty sentences out of the batch")
        gaps = (mask != (torch.arange(steps, device=mask.device) < lengths[:, None])).any(1)
        raise ValueError(f"mask: rows {_rows(gaps)} have padding before a token; expected all tokens first")
    return lengths


def _checked_tags(tags: Tensor, mask: Tensor, count: int) -> Tensor:
    """Gold tags, 0 at padding."""
    if tags.shape != mask.shape:
        raise ValueError(f"tags have shape {list(tags.shape)}; the mask {list(mask.shape)}")
    tags = tags.masked_fill(~mask, 0)
    low, high = (int(extreme) for extreme in torch.aminmax(tags))
    if low < 0 or high >= count:
        raise ValueError(f"rows {_rows(((tags < 0) | (tags >= count)).any(1))} have tags outside 0..{count - 1}")
    return tags


def _rows(where: Tensor) -> str:
    """The first rows that are True, for a message."""
    rows = where.nonzero().flatten().tolist()
    return ", ".join(map(str, rows[:8])) + (f" and {len(rows) - 8} more" if len(rows) > 8 else "")
