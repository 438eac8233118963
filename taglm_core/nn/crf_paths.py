"""Paths of a linear-chain CRF: the best (Viterbi), the n best, and how probable a given one is, token by token.

Arguments, axes and errors are those of `taglm_core.nn.crf.crf_loss`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from taglm_core.nn.crf_chains import boundary_potentials, path_scores, run_chains
from taglm_core.nn.crf_checks import checked_lengths, checked_tags, same_dtype


@torch.no_grad()
def crf_decode(
    emissions: Tensor, mask: Tensor, transitions: Tensor, start: Tensor | None = None, end: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Best path of each sentence (Viterbi); of equal paths, the one with the lower tags at the end.

    Args as in `crf_loss`.

    Returns:
        Tags [B, T], int64, 0 at padding, and the paths' scores [B], -inf where every path is forbidden.
    """
    lengths = checked_lengths(emissions, mask, transitions, start, end)
    emissions, transitions, start, end = same_dtype(emissions, transitions, start, end)
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
    """The n best paths of each sentence, best first (list Viterbi; Seshadri and Sundberg 1994, the parallel form).

    Args as in `crf_loss`, and n, how many.

    Returns:
        Tags [B, n, T], int64, 0 at padding, and the paths' scores [B, n], falling; -inf where a sentence has fewer
        than n paths that are allowed, and the tags there mean nothing.

    Raises:
        ValueError: as `crf_loss`, or n below 1.
    """
    if n < 1:
        raise ValueError(f"n is {n}; expected at least 1")
    lengths = checked_lengths(emissions, mask, transitions, start, end)
    emissions, transitions, start, end = same_dtype(emissions, transitions, start, end)
    potentials = boundary_potentials(emissions, start, end, lengths)  # [T, B, K]
    steps, batch, tags = potentials.shape
    standing = torch.arange(tags * n, device=emissions.device)  # where a state comes from at padding: itself
    states = potentials.new_full((batch, tags, n), -torch.inf)
    states[:, :, 0] = potentials[0]
    origins: list[Tensor] = []  # of each token but the first: [B, K n], the state before as tag * n + rank
    for t in range(1, steps):
        candidates = (states.unsqueeze(-1) + transitions.unsqueeze(1)).flatten(1, 2)  # [B, K n, K]
        best, origin = candidates.topk(n, dim=1)  # [B, n, K]
        best = best.transpose(1, 2) + potentials[t].unsqueeze(-1)
        peak = best.amax((1, 2), keepdim=True)
        best = best - torch.where(peak.isinf(), 0.0, peak)  # keeps long sentences exact
        present = (t < lengths)[:, None]
        states = torch.where(present.unsqueeze(-1), best, states)
        origins.append(torch.where(present, origin.transpose(1, 2).flatten(1), standing))
    current = states.flatten(1).topk(n, dim=1)
    found, state = ~current.values.isneginf(), current.indices  # [B, n]
    path = [state]
    for origin in reversed(origins):
        state = origin.gather(1, state)
        path.append(state)
    paths = (torch.stack(path[::-1], dim=2) // n).masked_fill_(~mask.unsqueeze(1), 0)  # [B, n, T]
    scores = torch.stack([path_scores(potentials, transitions, paths[:, rank], lengths) for rank in range(n)], dim=1)
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
    """Log-probabilities log P(y_t | x) and log P(y_t | y_(t-1), x) of the tags of one path, [B, T] each, 0 at padding.

    A linear chain has no longer memory, so a stretch s..e of the path has the probability
    P(y_s | x) P(y_(s+1) | y_s, x) ... P(y_e | y_(e-1), x): the confidence of a span. The first token has no tag before
    it and carries log P(y_1 | x) in both.

    Args as in `crf_loss`, with the path [B, T] in place of the gold tags.
    """
    lengths = checked_lengths(emissions, mask, transitions, start, end)
    path = checked_tags(path, mask, emissions.shape[2]).t()  # [T, B]
    emissions, transitions, start, end = same_dtype(emissions, transitions, start, end)
    chains = run_chains(boundary_potentials(emissions, start, end, lengths), transitions, lengths, both=True)
    alone = chains.marginals.gather(2, path.unsqueeze(-1)).squeeze(-1).log()  # [T, B]
    left = chains.left[:-1].gather(2, path[:-1].unsqueeze(-1)).squeeze(-1)
    right = chains.right[1:].gather(2, path[1:].unsqueeze(-1)).squeeze(-1)
    if chains.scaled:
        left, right, transitions = left.log(), right.log(), transitions - transitions.amax()
    after = alone.clone()
    after[1:] = (left + transitions[path[:-1], path[1:]] + right - alone[:-1]).clamp(max=0)
    return tuple(x.t().masked_fill(~mask, 0.0) for x in (alone, after))  # type: ignore[return-value]
