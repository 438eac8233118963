"""Extracting embeddings, one thread: a shard of CoNLL-2003 read in canonical batches, and by plain padded batches.

    canonical   taglm_core.lm.extraction.read_passages: longest first, windows, what has ended leaves
    unsorted    as many sentences side by side in the order of the corpus, padded to the longest of the batch

Operations are those that no way of reading goes without: each distinct word of the shard is encoded, and its part of
the gates computed, once; the recurrence and the projection once a position (a mark before each sentence).
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from record import interleaved, write
from sentences import labelled

from taglm_core.config.embedding import Context, EmbeddingConfig
from taglm_core.config.language_model import Direction, LanguageModelConfig
from taglm_core.corpus.token_bytes import BOUNDARY
from taglm_core.lm.extraction import Passage, read_passages
from taglm_core.lm.lm_vocabulary import LmVocabulary
from taglm_core.lm.model import TrainedLm, build_network
from taglm_core.lm.reading import pad, sentence_states
from taglm_core.lm.shards import shards
from taglm_core.training.devices import open_device
from taglm_core.training.randomness import seed_torch
from taglm_core.training.speed import count_operations

PRESETS = ("lstm-512-256", "lstm-2048-512", "char-cnn-small")
V, RUNS = 50_000, 3
BATCH = EmbeddingConfig().batch_sentences
NOTE = """One shard of CoNLL-2003 train, {tokens:,} tokens in {sentences:,} distinct sentences, {batch} side by side;
random weights, no softmax, the processor's seconds of one thread. `canonical` is what the embed stage does. `unsorted`
pads the same sentences in the order of the corpus. The GEMM rate is measured twice: with torch's products of the shapes
of a step of the model (`at its shapes`), and with 1,024 x 1,024 matrices. Operations are counted once for each distinct
word of the shard."""


def passages() -> list[Passage]:
    """Those of one shard, as the embed stage cuts it."""
    given = EmbeddingConfig()
    found = shards(lambda: ((tokens, 0) for tokens, _ in labelled()), shard_tokens=given.shard_tokens,
                   context=Context.SENTENCE)  # fmt: skip
    return list(next(found).passages)


def model(preset: str, words: list[str], direction: Direction = Direction.FORWARD) -> TrainedLm:
    """A preset with random weights that knows some words, among others."""
    config = LanguageModelConfig.model_validate({"preset": preset, "vocabulary_size": V, "unknown": "single"})
    vocabulary = LmVocabulary((*words, *(f"other-{number}" for number in range(V - 2 - len(words)))), shapes=False)
    seed_torch(1, preset, direction)
    network = build_network(config, len(vocabulary), predicts=False).eval().requires_grad_(False)
    return TrainedLm(network, vocabulary, config, direction, network.zero_state(1))


def canonical(lm: TrainedLm, text: list[Passage], out: NDArray[np.float32]) -> None:
    """As the embed stage."""
    read_passages(lm, text, (lm.config.layers,), out.__setitem__, batch=BATCH)


@torch.no_grad()
def unsorted(lm: TrainedLm, text: list[Passage], out: NDArray[np.float32]) -> None:
    """Padded batches in the order of the corpus."""
    words = [BOUNDARY, *dict.fromkeys(token for passage in text for token in passage[0])]
    table, numbers = lm.table(words), {word: number for number, word in enumerate(words)}
    done = 0
    for start in range(0, len(text), BATCH):
        chosen = [tokens for (tokens,) in text[start : start + BATCH]]
        batch = pad([np.array([numbers[token] for token in tokens], np.int32) for tokens in chosen])
        states = sentence_states(lm.network, table, batch, lm.break_state).numpy()
        for column, length in enumerate((batch.lengths - 1).tolist()):
            out[done : done + length] = states[1 : length + 1, column]
            done += length


def operations_of(lm: TrainedLm, text: list[Passage]) -> int:
    """Floating-point operations that reading this text needs."""
    words = [BOUNDARY, *dict.fromkeys(token for passage in text for token in passage[0])]
    table, encoder = lm.table(words), lm.network.encoder
    positions = sum(len(tokens) + 1 for (tokens,) in text)
    size, units, projection = lm.config.input.size, lm.config.units, lm.config.projection
    gates = 2 * 4 * units * (len(words) * size + positions * projection)
    encoded = count_operations(lambda: encoder(table.distinct(np.arange(len(words)))))
    return encoded + gates + 2 * positions * units * projection


def products(lm: TrainedLm) -> tuple[Callable[[], object], int]:
    """The products of a step of this model on its own, and their operations."""
    units, projection = lm.config.units, lm.config.projection
    hidden, memory = torch.randn(BATCH, projection), torch.randn(BATCH, units)
    recurrent, back = torch.randn(4 * units, projection), torch.randn(projection, units)
    gates, state = torch.empty(BATCH, 4 * units), torch.empty(BATCH, projection)

    def run() -> None:
        torch.mm(hidden, recurrent.t(), out=gates)
        torch.mm(memory, back.t(), out=state)

    return run, 2 * BATCH * 5 * units * projection


def measure(preset: str) -> dict[str, Any]:
    """In a process of its own: the row of a preset."""
    open_device("cpu", 1)
    text = passages()
    words = list(dict.fromkeys(token for passage in text for token in passage[0]))
    lm = model(preset, words)
    tokens = sum(len(tokens) for (tokens,) in text)
    ours, plain = (np.empty((tokens, lm.size), np.float32) for _ in range(2))
    square = torch.randn(1_024, 1_024)
    step, step_operations = products(lm)
    candidates = {"canonical": partial(canonical, lm, text, ours), "unsorted": partial(unsorted, lm, text, plain),
                  "square": lambda: [square @ square for _ in range(20)],
                  "step": lambda: [step() for _ in range(200)]}  # fmt: skip
    seconds = interleaved(candidates, RUNS, clock=time.process_time)
    np.testing.assert_allclose(ours, plain, atol=1e-5)
    operations = operations_of(lm, text)
    rates = {"at its shapes": 200 * step_operations / seconds["step"],
             "1,024 square": 20 * 2 * 1_024**3 / seconds["square"]}  # fmt: skip
    shares = {name: round(operations / seconds["canonical"] / rate, 3) for name, rate in rates.items()}
    return {"model": preset, "sentences": len(text), "tokens": tokens,
            "tokens a second": {name: round(tokens / seconds[name]) for name in ("canonical", "unsorted")},
            "against unsorted": round(seconds["unsorted"] / seconds["canonical"], 2),
            "share of the GEMM rate": shares,
            "million operations a token": round(operations / tokens / 1e6, 1),
            "GFLOP/s": {name: round(rate / 1e9, 1) for name, rate in rates.items()}}  # fmt: skip


def main() -> None:
    """Every preset."""
    rows: list[dict[str, Any]] = []
    for preset in PRESETS:
        output = subprocess.run([sys.executable, __file__, preset], capture_output=True, text=True, check=True).stdout
        rows.append(json.loads(output))
        sys.stdout.write(f"{rows[-1]}\n")
        sys.stdout.flush()
    counts = {name: [row.pop(name) for row in rows].pop() for name in ("sentences", "tokens")}
    note = " ".join(NOTE.split()).format(**counts, batch=BATCH)
    sys.stdout.write(f"{write('extraction', 'Extracting embeddings', rows, note)}\n")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.stdout.write(json.dumps(measure(sys.argv[1])))
    else:
        main()
