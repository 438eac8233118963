"""A whole training step of a language model at V = 50,000, one thread: LSTM-512-256 over 128 streams of 20 tokens, and
`char-cnn-small` over its 64.

Against the usual word-LM example: nn.LSTM of 512 units without projection, full softmax, SGD over dense gradients.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from record import interleaved, write
from torch import nn

from taglm_core.config.language_model import LanguageModelConfig
from taglm_core.corpus.token_bytes import BOUNDARY
from taglm_core.lm.lm_training import Intervals, LmTraining
from taglm_core.lm.lm_vocabulary import LmVocabulary
from taglm_core.lm.model import WordTable, build_network
from taglm_core.lm.streams import Streams
from taglm_core.training.devices import native_bfloat16, open_device
from taglm_core.training.loop import take_step
from taglm_core.training.randomness import seed_torch

V, B, T = 50_000, 128, 20
SENTENCES, LENGTH = 4_000, 24
WORD = {"input": {"kind": "word", "size": 256}, "units": 512, "projection": 256, "vocabulary_size": V,
        "min_count": 1, "streams": B, "window": T, "average": None, "loss_scale": 1.0, "unknown": "single"}  # fmt: skip
SETTINGS: dict[str, dict[str, Any]] = {
    "adaptive": {**WORD, "softmax": {"kind": "adaptive"}},
    "sampled": {**WORD, "softmax": {"kind": "sampled"}, "optimizer": "adagrad"},
    "full": {**WORD, "softmax": {"kind": "full"}},
    "char-cnn-small": {"vocabulary_size": V, "min_count": 1},
}
BFLOAT16 = "-bfloat16"  # after a name: products in bfloat16, on processors that have it
ROUNDS = 3


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


def ours(
    settings: dict[str, Any], precision: str = "float32", where: str = "cpu"
) -> tuple[Callable[[], object], LmTraining]:
    """One step of our training: reading, word vectors, LSTM, softmax, clipping, optimiser."""
    config = LanguageModelConfig.model_validate(settings)
    words = [f"w{number}" for number in range(V - 2)]
    vocabulary = LmVocabulary(tuple(words), shapes=False)
    seed_torch(1, "bench")
    device = open_device(where, 1, precision=precision)
    network = device.prepared(build_network(config, len(vocabulary)))
    streams = Streams([Memory(1)], streams=config.streams, window=config.window, backward=False, seed=1)  # type: ignore[list-item]
    table = WordTable([BOUNDARY, *words], vocabulary, config)
    training = LmTraining(network, table, streams, [], config, Intervals(10**9, 10**9), device)

    def step() -> None:
        take_step(training)
        training.step += 1

    return step, training


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


def measure(names: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of our models: they and the machine's matrix product take turns."""
    precisions = {name: "bfloat16" if name.endswith(BFLOAT16) else "float32" for name in names}
    trainings = {name: ours(SETTINGS[name.removesuffix(BFLOAT16)], precisions[name]) for name in names}
    a, b = torch.randn(1_024, 1_024), torch.randn(1_024, 1_024)
    candidates: dict[str, Callable[[], object]] = {name: step for name, (step, _) in trainings.items()}
    seconds = interleaved({"gemm": lambda: torch.mm(a, b), **candidates}, 7)
    rate = 2 * 1_024**3 / seconds.pop("gemm")
    rows = []
    for name, spent in seconds.items():
        training = trainings[name][1]
        operations = training.count_operations()
        rows.append({"model": name, "tokens a second": round(training.step_tokens / spent),
                     "share of the GEMM rate": round(operations / spent / rate, 3),
                     "million operations a token": round(operations / training.step_tokens / 1e6, 1),
                     "GEMM (GFLOP/s)": round(rate / 1e9, 1)})  # fmt: skip
    return rows


def measure_usual() -> dict[str, Any]:
    """The usual example, in a process as people start it: our settings for memory are not its."""
    torch.set_num_threads(1)
    spent = interleaved({"usual": usual()}, 5)["usual"]
    return {"model": "usual", "tokens a second": round(B * T / spent)}


def main() -> None:
    """Ours and the usual example by turns, each in a process of its own; medians over the rounds."""
    rounds: dict[str, list[dict[str, Any]]] = {}
    for _ in range(ROUNDS):
        fast = [name + BFLOAT16 for name in ("adaptive", "char-cnn-small") if native_bfloat16()]
        for argument in ("usual", *SETTINGS, *fast):
            command = [sys.executable, __file__, argument]
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            rounds.setdefault(argument, []).append(json.loads(output))
    rows = [sorted(found, key=lambda row: row["tokens a second"])[len(found) // 2] for found in rounds.values()]
    for row in rows:
        row["against usual"] = round(row["tokens a second"] / rows[0]["tokens a second"], 2)
        sys.stdout.write(f"{row}\n")
    sys.stdout.write(f"{write('lm', 'Training step of a language model, V = 50,000', rows)}\n")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        found = measure_usual() if sys.argv[1] == "usual" else measure([sys.argv[1]])[0]
        sys.stdout.write(json.dumps(found))
    else:
        main()
