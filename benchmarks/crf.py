"""CRF loss, forward and backward: our hand-written gradient against autograd through the recursion. One thread."""

from __future__ import annotations

import sys

import torch
from record import interleaved, write
from torch import Tensor

from taglm_core.nn.crf import crf_loss

SHAPES = ((32, 20, 17), (32, 50, 17), (64, 124, 23))


def by_autograd(emissions: Tensor, tags: Tensor, transitions: Tensor) -> Tensor:
    """The usual loop over time with logsumexp, differentiated by autograd; full-length rows."""
    alpha = emissions[:, 0]
    gold = emissions.gather(2, tags.unsqueeze(2)).squeeze(2).sum(1) + transitions[tags[:, :-1], tags[:, 1:]].sum(1)
    for t in range(1, emissions.shape[1]):
        alpha = torch.logsumexp(alpha.unsqueeze(2) + transitions, dim=1) + emissions[:, t]
    return torch.logsumexp(alpha, dim=1) - gold


def main() -> None:
    """Measure every shape."""
    torch.set_num_threads(1)
    rows = []
    for B, T, K in SHAPES:
        generator = torch.Generator().manual_seed(1)
        emissions = torch.randn(B, T, K, generator=generator, requires_grad=True)
        transitions = torch.randn(K, K, generator=generator, requires_grad=True)
        tags, mask = torch.randint(K, (B, T), generator=generator), torch.ones(B, T, dtype=torch.bool)

        def ours(e: Tensor = emissions, t: Tensor = tags, m: Tensor = mask, a: Tensor = transitions) -> None:
            crf_loss(e, t, m, a).sum().backward()

        def loop(e: Tensor = emissions, t: Tensor = tags, a: Tensor = transitions) -> None:
            by_autograd(e, t, a).sum().backward()

        difference = (crf_loss(emissions, tags, mask, transitions) - by_autograd(emissions, tags, transitions)).abs()
        seconds = interleaved({"ours": ours, "autograd loop": loop})
        rows.append({"shape": [B, T, K], "milliseconds": {name: 1000 * s for name, s in seconds.items()},
                     "ratio": seconds["autograd loop"] / seconds["ours"],
                     "difference": float(difference.max())})  # fmt: skip
        sys.stdout.write(f"{rows[-1]}\n")
    sys.stdout.write(f"{write('crf', rows)}\n")


if __name__ == "__main__":
    main()
