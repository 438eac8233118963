"""CRF loss (forward and backward) and decoding against pytorch-crf: same scores and lengths, one thread."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

import torch
from record import interleaved, write
from torch import Tensor
from torchcrf import CRF

from taglm_core.nn.crf import Crf

SHAPES = ((32, 20, 17), (32, 50, 17), (64, 124, 23))
RUNS, REPEAT = 21, 5


def trained(loss: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """A loss and its gradients."""
    value = loss(*inputs)
    value.backward()
    return value.detach()


def pair(K: int) -> tuple[Crf, CRF]:
    """Both libraries' layers with the same scores."""
    ours, peer = Crf(K, start_end=True), CRF(K, batch_first=True)
    with torch.no_grad():
        ours.transitions.copy_(peer.transitions)
        ours.start.copy_(peer.start_transitions)
        ours.end.copy_(peer.end_transitions)
    return ours, peer


def main() -> None:
    """Measure every shape, after checking that both give the same."""
    torch.set_num_threads(1)
    rows = []
    for B, T, K in SHAPES:
        generator = torch.Generator().manual_seed(1)
        emissions = torch.randn(B, T, K, generator=generator, requires_grad=True)
        tags = torch.randint(K, (B, T), generator=generator)
        lengths = torch.randint(T // 2, T + 1, (B,), generator=generator)
        lengths[0] = T
        mask = torch.arange(T) < lengths[:, None]
        ours, peer = pair(K)
        losses = {
            "ours": partial(trained, lambda *inputs, crf=ours: crf.loss(*inputs).sum(), emissions, tags, mask),
            "pytorch-crf": partial(trained, lambda *inputs, crf=peer: -crf(*inputs), emissions, tags, mask),
        }
        decoders = {
            "ours": partial(lambda crf, *inputs: crf.decode(*inputs)[0].tolist(), ours, emissions, mask),
            "pytorch-crf": partial(peer.decode, emissions, mask),
        }
        torch.testing.assert_close(losses["ours"](), losses["pytorch-crf"](), rtol=1e-4, atol=1e-2)
        found = [row[:n] for row, n in zip(decoders["ours"](), lengths.tolist(), strict=True)]
        assert found == decoders["pytorch-crf"](), "the best paths differ"
        for what, candidates in (("loss, forward and backward", losses), ("decoding", decoders)):
            seconds = interleaved(candidates, RUNS, REPEAT)
            rows.append({"what": what, "shape": [B, T, K],
                         "milliseconds": {name: round(1000 * s, 2) for name, s in seconds.items()},
                         "ratio": round(seconds["pytorch-crf"] / seconds["ours"], 2)})  # fmt: skip
            sys.stdout.write(f"{rows[-1]}\n")
    sys.stdout.write(f"{write('crf', 'CRF against pytorch-crf (batch x tokens x tags)', rows)}\n")


if __name__ == "__main__":
    main()
