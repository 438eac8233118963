"""Checks of the inputs of a CRF: shapes, masks without gaps, one floating-point type."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Tokens(NamedTuple):
    """Positions of the tokens of a batch: lengths [B], int64, and present [T, B], bool."""

    lengths: Tensor
    present: Tensor


def same_dtype(
    emissions: Tensor, transitions: Tensor, start: Tensor | None, end: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Convert all to the widest type, at least float32: half precision cannot hold log Z of a sentence."""
    dtype = torch.promote_types(torch.promote_types(emissions.dtype, transitions.dtype), torch.float32)
    start = None if start is None else start.to(dtype)
    end = None if end is None else end.to(dtype)
    return emissions.to(dtype), transitions.to(dtype), start, end


def checked_tokens(
    emissions: Tensor, mask: Tensor, transitions: Tensor, start: Tensor | None, end: Tensor | None
) -> Tokens:
    """Check shapes and mask; return the positions of the tokens."""
    if emissions.dim() != 3 or 0 in emissions.shape:
        raise ValueError(
            f"emissions have shape {list(emissions.shape)}; expected [sentences, tokens, tags], one of each at least"
        )
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
    first = torch.arange(steps, device=mask.device) < lengths[:, None]  # [B, T], all tokens first
    if not torch.equal(mask, first):
        raise ValueError(f"mask: rows {shown_rows((mask != first).any(1))} have padding before a token; expected all "
                         "tokens first")  # fmt: skip
    if int(lengths.amin()) == 0:
        raise ValueError(f"mask: rows {shown_rows(lengths == 0)} have no token; leave empty sentences out of the batch")
    return Tokens(lengths, first.t())


def checked_tags(tags: Tensor, mask: Tensor, count: int) -> Tensor:
    """Check gold tags; return them with 0 at padding."""
    if tags.shape != mask.shape:
        raise ValueError(f"tags have shape {list(tags.shape)}; the mask {list(mask.shape)}")
    tags = tags.masked_fill(~mask, 0)
    low, high = (int(extreme) for extreme in torch.aminmax(tags))
    if low < 0 or high >= count:
        raise ValueError(f"rows {shown_rows(((tags < 0) | (tags >= count)).any(1))} have tags outside 0..{count - 1}")
    return tags


def shown_rows(where: Tensor) -> str:
    """Format the first rows that are True, for a message."""
    rows = where.nonzero().flatten().tolist()
    return ", ".join(map(str, rows[:8])) + (f" and {len(rows) - 8} more" if len(rows) > 8 else "")
