"""A whole training step of a word language model at V = 50,000, LSTM-512-256, 128 streams of 20 tokens, one thread.

Against the usual word-LM example: nn.LSTM of 512 units without projection, full softmax, SGD over dense gradients.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from record import interleaved, write
from torch import nn

from taglm_core.config.language_model import LanguageModelConfig
from taglm_core.corpus.vocabulary import BOUNDARY
from taglm_core.lm.job import Intervals, LmJob
from taglm_core.lm.model import WordTable, build_network
from taglm_core.lm.streams import Streams
from taglm_core.lm.vocabulary import LmVocabulary
from taglm_core.training.devices import open_device
from taglm_core.training.loop import take_step
from taglm_core.training.randomness import seed_torch

V, B, T = 50_000, 128, 20
SENTENCES, LENGTH = 4_000, 24
WORD = {"input": {"kind": "word", "size": 256}, "units": 512, "projection": 256, "vocabulary_size": V,
        "min_count": 1, "streams": B, "window": T, "average": None, "loss_scale": 1.0, "unknown": "single"}  # fmt: skip


class Memory:
    """A shard of sentences whose words follow Zipf's law."""

    def __init__(self, seed: int) -> None:
        generator = np.random.default_rng(seed)
        draws = np.exp(generator.random((SENTENCES, LENGTH)) * np.log(V - 2)).astype(np.int32)
        self._sentences = np.minimum(draws, V - 3) + 1

    def __len__(self) -> int:
        return SENTENCES

    def sentence(self, index: int) -> np.ndarray:
        """Numbers of its words."""
        return self._sentences[index]


def ours(settings: dict[str, Any]) -> tuple[Callable[[], object], LmJob]:
    """One step of our training: reading, word vectors, LSTM, softmax, clipping, optimiser."""
    config = LanguageModelConfig.model_validate(settings)
    words = [f"w{number}" for number in range(V - 2)]
    vocabulary = LmVocabulary(tuple(words), shapes=False)
    seed_torch(1, "bench")
    network = build_network(config, len(vocabulary))
    streams = Streams([Memory(1)], streams=config.streams, window=config.window, backward=False, seed=1)  # type: ignore[list-item]
    table = WordTable([BOUNDARY, *words], vocabulary, config)
    job = LmJob(network, table, streams, [], config, Intervals(10**9, 10**9))

    def step() -> None:
        take_step(job)
        job.step += 1

    return step, job


class Usual(nn.Module):
    """The word language model of many tutorials."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.lstm, self.decoder = nn.Embedding(V, 256), nn.LSTM(256, 512), nn.Linear(512, V)


def usual() -> Callable[[], object]:
    """One step of it: dense gradients of both tables, clipping over all of them, plain SGD."""
    torch.manual_seed(1)
    model, shard = Usual(), Memory(2)
    text = torch.from_numpy(np.concatenate([shard.sentence(number) for number in range(SENTENCES)]).astype(np.int64))
    columns = text[: len(text) // B * B].view(B, -1).t()
    optimizer, place, state = torch.optim.SGD(model.parameters(), lr=1.0), [0], [None]

    def step() -> None:
        start = place[0]
        place[0] = (start + T) % (len(columns) - T - 1)
        outputs, (hidden, cell) = model.lstm(model.table(columns[start : start + T]), state[0])
        state[0] = (hidden.detach(), cell.detach())
        scores = model.decoder(outputs).flatten(0, 1)
        loss = nn.functional.cross_entropy(scores, columns[start + 1 : start + T + 1].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        optimizer.step()

    return step


def gemm_rate() -> float:
    """Fused multiply-adds a second, times two, of a large float32 matrix product."""
    a, b = torch.randn(1_024, 1_024), torch.randn(1_024, 1_024)
    return 2 * 1_024**3 / interleaved({"gemm": lambda: torch.mm(a, b)}, 11)["gemm"]


def operations(config: LanguageModelConfig, classes: float) -> float:
    """Floating-point operations a token that a step cannot do without: LSTM and softmax, forward and twice backward."""
    inside = 2 * 4 * config.units * (config.input.size + config.projection) + 2 * config.units * config.projection
    return 3 * (inside + 2 * config.projection * classes)


def main(names: Sequence[str]) -> None:
    """Measure all softmaxes, or those named."""
    open_device("cpu", 1)
    softmaxes: dict[str, tuple[dict[str, Any], float]] = {
        "adaptive": ({"softmax": {"kind": "adaptive"}}, 0.0),
        "sampled": ({"softmax": {"kind": "sampled"}, "optimizer": "adagrad"}, 8_192 + 1),
        "full": ({"softmax": {"kind": "full"}}, V),
    }
    rate = gemm_rate()
    candidates, configs = {"usual": usual()}, {}
    for name in names or softmaxes:
        settings, classes = softmaxes[name]
        candidates[name], job = ours({**WORD, **settings})
        configs[name] = (job._config, classes)
    seconds = interleaved(candidates, 5)
    rows = []
    for name, spent in seconds.items():
        row: dict[str, Any] = {"model": name, "tokens a second": round(B * T / spent),
                               "against usual": round(seconds["usual"] / spent, 2)}  # fmt: skip
        if name in configs and configs[name][1]:
            share = operations(*configs[name]) * B * T / spent / rate
            row["share of the GEMM rate"] = round(share, 3)
        rows.append(row)
        sys.stdout.write(f"{row}\n")
    sys.stdout.write(f"GEMM {rate / 1e9:.1f} GFLOP/s\n{write('lm', 'Training step of a word language model', rows)}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
