"""Paths of a linear-chain CRF: the best (Viterbi), the n best, and the probability of a given path token by token.

Arguments, axes and errors are those of `taglm_core.nn.crf.crf_loss`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from taglm_core.nn.crf_chains import boundary_potentials, log_marginals, log_shares, path_scores
from taglm_core.nn.crf_checks import checked_tags, checked_tokens, same_dtype

_NORMALISE = 8  # tokens between two subtractions of the best state's score


@torch.no_grad()
def crf_decode(
    emissions: Tensor, mask: Tensor, transitions: Tensor, start: Tensor | None = None, end: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Find the best path of each sentence (Viterbi); of equal paths, the one with the lower tags at the end.

    Args as in `crf_loss`.

    Returns:
        Tags [B, T], int64, 0 at padding, and the paths' scores [B], -inf where every path is forbidden.
    """
    tokens = checked_tokens(emissions, mask, transitions, start, end)
    emissions, transitions, start, end = same_dtype(emissions, transitions, start, end)
    potentials = boundary_potentials(emissions, start, end, tokens)  # [T, B, K]
    scores = _below_zero(potentials, -1).transpose(1, 2).contiguous()  # [T, K, B]: maxima run over the first axis
    links = _below_zero(transitions, (0, 1)).unsqueeze(-1)  # [from, to, 1]
    steps, tags, batch = scores.shape
    candidates = scores.new_empty(tags, tags, batch)
    states = torch.empty_like(scores)
    last = states[0].copy_(scores[0])
    for t, (state, score) in enumerate(zip(states[1:].unbind(), scores[1:].unbind(), strict=True)):
        torch.add(last.unsqueeze(1), links, out=candidates)
        torch.amax(candidates, 0, out=state)
        state += score
        if t % _NORMALISE == 0:
            state.copy_(_below_zero(state, 0))  # keeps long sentences exact
        last = state
    ends = tokens.lengths - 1
    final = states[ends, :, torch.arange(batch, device=ends.device)].argmax(-1)  # [B]
    last_token = (torch.arange(steps, device=ends.device)[:, None] == ends).long()  # [T, B]
    views = ((final * last_token)[:-1].unbind(), (1 - last_token)[:-1].unbind())
    current, path = final, [final]
    links = links.squeeze(-1)
    for state, begin, inside in zip(*(reversed(view) for view in (states[:-1].unbind(), *views)), strict=True):
        current = (state + links.index_select(1, current)).argmax(0)  # the same sums as on the way there
        current = torch.addcmul(begin, current, inside)  # a sentence's path begins at its last token
        path.append(current)
    best_tags = torch.stack(path[::-1], dim=1).masked_fill_(~mask, 0)
    return best_tags, path_scores(potentials, transitions, best_tags, tokens).to(emissions.dtype)


def _below_zero(x: Tensor, axes: int | tuple[int, ...]) -> Tensor:
    """Subtract from scores the largest along some axes; scores of -inf alone stay as they are."""
    peak = x.amax(axes, keepdim=True)
    return x - peak.masked_fill_(peak.isneginf(), 0.0)


@torch.no_grad()
def crf_n_best(
    emissions: Tensor,
    mask: Tensor,
    transitions: Tensor,
    start: Tensor | None = None,
    end: Tensor | None = None,
    *,
    n: int,
) -> tuple[Tensor, Tensor]:
    """Find the n best paths of each sentence, best first (parallel list Viterbi; Seshadri and Sundberg 1994).

    Args as in `crf_loss`, and the number of paths n.

    Returns:
        Tags [B, n, T], int64, 0 at padding, and the paths' scores [B, n], falling. If a sentence has fewer than n
        allowed paths, the others have score -inf and meaningless tags.

    Raises:
        ValueError: as `crf_loss`, or n below 1.
    """
    if n < 1:
        raise ValueError(f"n is {n}; expected at least 1")
    tokens = checked_tokens(emissions, mask, transitions, start, end)
    emissions, transitions, start, end = same_dtype(emissions, transitions, start, end)
    potentials = boundary_potentials(emissions, start, end, tokens)  # [T, B, K]
    steps, batch, tags = potentials.shape
    standing = torch.arange(tags * n, device=emissions.device)  # at padding a state comes from itself
    states = potentials.new_full((batch, tags, n), -torch.inf)
    states[:, :, 0] = potentials[0]
    origins: list[Tensor] = []  # of each token but the first: [B, K n], the state before as tag * n + rank
    for t in range(1, steps):
        candidates = (states.unsqueeze(-1) + transitions.unsqueeze(1)).flatten(1, 2)  # [B, K n, K]
        best, origin = candidates.topk(n, dim=1)  # [B, n, K]
        best = best.transpose(1, 2) + potentials[t].unsqueeze(-1)
        peak = best.amax((1, 2), keepdim=True)
        best = best - torch.where(peak.isinf(), 0.0, peak)  # keeps long sentences exact
        present = tokens.present[t, :, None]
        states = torch.where(present.unsqueeze(-1), best, states)
        origins.append(torch.where(present, origin.transpose(1, 2).flatten(1), standing))
    current = states.flatten(1).topk(n, dim=1)
    found, state = ~current.values.isneginf(), current.indices  # [B, n]
    path = [state]
    for origin in reversed(origins):
        state = origin.gather(1, state)
        path.append(state)
    paths = (torch.stack(path[::-1], dim=2) // n).masked_fill_(~mask.unsqueeze(1), 0)  # [B, n, T]
    scores = torch.stack([path_scores(potentials, transitions, paths[:, rank], tokens) for rank in range(n)], dim=1)
    return paths, torch.where(found, scores, -torch.inf).to(emissions.dtype)


@torch.no_grad()
def crf_path_log_probs(
    emissions: Tensor,
    path: Tensor,
    mask: Tensor,
    transitions: Tensor,
    start: Tensor | None = None,
    end: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Compute log P(y_t | x) and log P(y_t | y_(t-1), x) for the tags of one path, [B, T] each, 0 at padding.

    In a linear chain a stretch s..e of the path has the probability
    P(y_s | x) P(y_(s+1) | y_s, x) ... P(y_e | y_(e-1), x), which is the confidence of a span. The first token has no
    tag before it: both values are log P(y_1 | x).

    Args as in `crf_loss`, with the path [B, T] in place of the gold tags.
    """
    tokens = checked_tokens(emissions, mask, transitions, start, end)
    path = checked_tags(path, mask, emissions.shape[2]).t()  # [T, B]
    emissions, transitions, start, end = same_dtype(emissions.double(), transitions, start, end)
    marginals, right = log_marginals(boundary_potentials(emissions, start, end, tokens), transitions, tokens)
    alone = marginals.gather(2, path.unsqueeze(-1)).squeeze(-1)  # [T, B]
    after = alone.clone()
    onward = transitions[path[:-1]] + right[1:]  # [T - 1, B, K]: from the path's tag to every tag
    after[1:] = log_shares(onward).gather(2, path[1:].unsqueeze(-1)).squeeze(-1)
    return alone.t().masked_fill(~mask, 0.0), after.t().masked_fill(~mask, 0.0)
