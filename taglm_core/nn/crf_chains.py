"""Sums over all paths of a linear chain: the forward and the backward recursion, side by side in one loop.

The recursions use scaled probabilities if the transitions lie within `_SAFE_RANGE` of each other and each token has a
possible tag. Otherwise (for instance with a forbidden transition, -inf) they use log space. Scaling is exact for
emissions of any size: every tag is reached from the likeliest one with a factor of at least exp(-range), so a value
that underflows (below exp(-87) of the likeliest) is at most exp(range - 87) of any sum that lacks it.

Axes: T tokens, B sentences, K tags, time first; transitions are [from, to].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from taglm_core.nn.crf_checks import Tokens

_Run = Callable[[Tensor, Tensor, Tokens], tuple[Tensor, Tensor, Tensor]]

_SAFE_RANGE = 30.0
_BLOCK = 1 << 22  # elements of one [rows, K, K] block in log space


class Chains(NamedTuple):
    """Result of the chains; `left` and `right` are logarithms unless `scaled`, and empty without the backward chain.

    P(y[t-1] = i, y[t] = j) = left[t-1, i] * link[i, j] * right[t, j], with link = exp(A - max A), or A as a logarithm.
    """

    log_z: Tensor  # [B], float64
    marginals: Tensor  # [T, B, K], zero at padding
    left: Tensor  # [T, B, K]
    right: Tensor  # [T, B, K]
    scaled: bool


def run_chains(potentials: Tensor, transitions: Tensor, tokens: Tokens, *, both: bool) -> Chains:
    """Run the forward chain, and with `both` the backward chain beside it.

    Args:
        potentials: [T, B, K], start and end scores included (`boundary_potentials`).
        transitions: A [K, K].
        tokens: positions of the tokens.
        both: whether to compute marginals.
    """
    narrow = transitions.amax() - transitions.amin() <= _SAFE_RANGE  # False for nan and -inf
    scaled = bool(narrow & ~potentials.amax(-1).isneginf().any())  # a token without a possible tag has no scale
    run = _scaled if scaled else _logarithmic
    if not both:
        log_z = run(potentials.unsqueeze(1), transitions.unsqueeze(0), tokens)[2]
        none = potentials[:0]
        return Chains(log_z, none, none, none, scaled)
    before, left, right, log_z = _both_ways(run, potentials, transitions, tokens)
    if scaled:
        right = right / (before * right).sum(-1, keepdim=True)
        marginals = before * right
    else:
        marginals = (before + right).softmax(-1)
        right = right - (before + right).logsumexp(-1, keepdim=True)
    return Chains(log_z, marginals.masked_fill_(~tokens.present.unsqueeze(-1), 0.0), left, right, scaled)


def log_marginals(potentials: Tensor, transitions: Tensor, tokens: Tokens) -> tuple[Tensor, Tensor]:
    """Return log P(y[t] | x), and the log-sum over all that follows y[t], itself included: [T, B, K] each.

    Always in log space: values that underflow in `run_chains` have a logarithm here. Meaningless at padding.
    """
    before, _, right, _ = _both_ways(_logarithmic, potentials, transitions, tokens)
    return log_shares(before + right), right


def log_shares(scores: Tensor) -> Tensor:
    """Subtract from scores [..., K] the logarithm of their sum; rows of -inf alone stay as they are."""
    whole = scores.logsumexp(-1, keepdim=True)
    return scores - whole.masked_fill_(whole.isneginf(), 0.0)


def _both_ways(
    run: _Run, potentials: Tensor, transitions: Tensor, tokens: Tokens
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return sums before and through each token from the left, through it from the right [T, B, K], and log Z [B]."""
    steps, batch, tags = potentials.shape
    time = torch.arange(steps, device=potentials.device)[:, None]
    sources = torch.where(tokens.present, tokens.lengths - 1 - time, time)  # reverses each sentence
    rows = (sources * batch + torch.arange(batch, device=potentials.device)).reshape(-1)

    def reverse(x: Tensor) -> Tensor:
        return x.reshape(-1, tags).index_select(0, rows).view(steps, batch, tags)

    # The backward chain is a forward chain over the reversed sentence.
    chains = torch.stack((potentials, reverse(potentials)), dim=1)  # [T, 2, B, K]
    before, through, log_z = run(chains, torch.stack((transitions, transitions.t())), tokens)
    return before[:, 0], through[:, 0], reverse(through[:, 1]), log_z


def _scaled(potentials: Tensor, links: Tensor, tokens: Tokens) -> tuple[Tensor, Tensor, Tensor]:
    """Return probabilities before and through each token [T, 2, B, K] for links [2, K, K], and log Z [B], float64."""
    peak = potentials.amax(-1, keepdim=True)
    factors = (potentials - peak).exp_()
    top = links.amax()
    links = (links - top).exp_()
    before, through = torch.ones_like(factors), torch.empty_like(factors)
    sums = torch.empty_like(peak)
    torch.sum(factors[0], -1, keepdim=True, out=sums[0])
    torch.div(factors[0], sums[0], out=through[0])
    last = through[0]
    # All views at once: indexing inside the loop would cost as much as the arithmetic.
    views = (x[1:].unbind() for x in (before, through, factors, sums))
    for ahead, state, factor, total in zip(*views, strict=True):
        torch.bmm(last, links, out=ahead)
        torch.mul(ahead, factor, out=state)
        torch.sum(state, -1, keepdim=True, out=total)
        last = state.div_(total)
    log_scales = sums[:, 0, :, 0].double().log_() + peak[:, 0, :, 0]
    log_scales[1:] += top
    return before, through, log_scales.masked_fill_(~tokens.present, 0.0).sum(0)


def _logarithmic(potentials: Tensor, links: Tensor, tokens: Tokens) -> tuple[Tensor, Tensor, Tensor]:
    """Do what `_scaled` does, in logarithms; every state stays below 0, so that long sentences stay exact."""
    before, through = torch.zeros_like(potentials), torch.empty_like(potentials)
    peaks = torch.empty_like(potentials[..., :1])
    for t in range(len(potentials)):
        if t:
            torch.logsumexp(through[t - 1].unsqueeze(-1) + links.unsqueeze(1), -2, out=before[t])
        torch.add(before[t], potentials[t], out=through[t])
        torch.amax(through[t], -1, keepdim=True, out=peaks[t])
        peaks[t].masked_fill_(peaks[t].isneginf(), 0.0)  # no tag is allowed here: all stays at -inf
        through[t] -= peaks[t]
    # log Z at token t is the peaks up to t plus the last sum.
    ends = peaks[:, 0, :, 0].double().cumsum(0) + through[:, 0].double().logsumexp(-1)  # [T, B]
    return before, through, ends.gather(0, (tokens.lengths - 1).unsqueeze(0)).squeeze(0)


def pair_sums(left: Tensor, right: Tensor, transitions: Tensor, weights: Tensor, *, scaled: bool) -> Tensor:
    """Return the expected counts of each bigram [K, K], weighted by weights [T, B] (0 at padding)."""
    tags = left.shape[-1]
    left, right, weights = left[:-1].reshape(-1, tags), right[1:].reshape(-1, tags), weights[1:].reshape(-1, 1)
    if scaled:
        return (transitions - transitions.amax()).exp_() * (left.t() @ (right * weights))
    present = weights.squeeze(1) != 0
    left, right, weights = left[present], right[present], weights[present]
    total = torch.zeros_like(transitions)
    rows = max(1, _BLOCK // tags**2)
    for i in range(0, len(left), rows):
        pairs = (left[i : i + rows, :, None] + transitions + right[i : i + rows, None, :]).exp_()
        total += (pairs * weights[i : i + rows, None]).sum(0)
    return total


def boundary_potentials(emissions: Tensor, start: Tensor | None, end: Tensor | None, tokens: Tokens) -> Tensor:
    """Add start and end scores to emissions [B, T, K]; return them time first, zero at padding: [T, B, K]."""
    potentials = torch.where(tokens.present.unsqueeze(-1), emissions.transpose(0, 1), 0.0)
    if start is not None:
        potentials[0] += start
    if end is not None:
        potentials[tokens.lengths - 1, torch.arange(len(tokens.lengths), device=end.device)] += end
    return potentials


def path_scores(potentials: Tensor, transitions: Tensor, path: Tensor, tokens: Tokens) -> Tensor:
    """Return the scores of paths [B, T] (0 at padding): [B], float64."""
    path = path.t()  # [T, B]
    scores = potentials.gather(2, path.unsqueeze(-1)).squeeze(-1).double()  # zero at padding
    scores[1:] += torch.where(tokens.present[1:], transitions[path[:-1], path[1:]], 0.0)
    return scores.sum(0)
