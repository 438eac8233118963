"""Training steps on a GPU, alone there: language models at V = 50,000 in bfloat16, and the paper's NER tagger.

python benchmarks/accelerator.py [cpu]     from the root; on a CPU it only shows that it runs
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from lm import V, ours
from record import write

from taglm_core.config.tagger import TaggerConfig
from taglm_core.lm.cache_parts import CacheKey
from taglm_core.lm.online import OnlineStates
from taglm_core.tagging.dataset import training_batches
from taglm_core.tagging.tagger_training import TaggerTraining
from taglm_core.tagging.trained import FrozenVectors, LmInput, TaggerSpec, build_network, encode, start_vectors
from taglm_core.tagging.words import TaggerWords, tags_of
from taglm_core.training.devices import open_device
from taglm_core.training.loop import take_step
from taglm_core.training.randomness import numpy_generator, seed_torch

PRESETS = {"lstm-512-256": (64, 256), "char-cnn-small": (64, 256), "char-cnn-large": (256,)}
WINDOW = 40
STATE = 256  # numbers of a direction's state
SENTENCES, TAGS = 1_500, ("O", "S-PER", "S-LOC", "S-ORG", "S-MISC")


def tagger(where: str, precision: str) -> tuple[Callable[[], object], int]:
    """One step of it, and the tokens of a step on average."""
    draw = np.random.default_rng(1)
    lengths = np.minimum(1 + draw.geometric(1 / 14, SENTENCES), 60).tolist()
    words = ["".join(draw.choice(list("abcdefgh"), draw.integers(1, 11))) for _ in range(5_000)]
    tokens = [tuple(words[int(place * 4_999)] for place in draw.random(length) ** 3) for length in lengths]
    tags = [tuple(TAGS[number] for number in draw.integers(0, len(TAGS), length)) for length in lengths]
    config = TaggerConfig.model_validate({"preset": "paper-ner", "words": {"size": 100}})
    lms = tuple(LmInput("main", direction, STATE) for direction in ("forward", "backward"))
    device = open_device(where, 1, precision=precision)
    spec = TaggerSpec(config, tags_of(tags), TaggerWords.count(tokens, 1), 100, lms)
    seed_torch(1, "bench")
    network = build_network(spec, start_vectors(spec, [], 1, {})[0], FrozenVectors.none(100)).to(device.torch)
    key = CacheKey("", "", (1,), STATE, "float16", "sentence", {}, 0)
    states = OnlineStates(key, [draw.normal(size=(length, STATE)).astype(np.float16) for length in lengths])
    data = encode(spec, FrozenVectors.none(100), tokens, [states] * 2, tags)
    nothing = torch.zeros(0, dtype=torch.int64)
    training = TaggerTraining(network, data, (data, tags), spec.tags, config, 1, nothing, device=device)
    batches = len(training_batches(data.lengths, config.batch_size, numpy_generator(1, "batches", 0)))

    def step() -> None:
        take_step(training)
        training._done = (training._done + 1) % batches  # without the look at dev that ends an epoch

    network.train()
    return step, round(sum(lengths) / batches)


def milliseconds(step: Callable[[], object], where: str) -> float:
    """Median over blocks of steps, each waited for."""
    found, block = [], 10 if where == "cuda" else 1
    for number in range(6 if where == "cuda" else 2):
        begun = time.perf_counter()
        for _ in range(block):
            step()
        if where == "cuda":
            torch.cuda.synchronize()
        found += [1e3 * (time.perf_counter() - begun) / block] if number else []  # the first warms up
    return statistics.median(found)


def main() -> None:
    """One row a model."""
    where = sys.argv[1] if len(sys.argv) > 1 else "cuda"
    rows: list[dict[str, Any]] = []

    def measure(name: str, step: Callable[[], object], tokens: int) -> None:
        spent = milliseconds(step, where)
        rows.append(
            {"model": name, "milliseconds a step": round(spent, 1), "tokens a second": round(1e3 * tokens / spent)}
        )
        sys.stdout.write(f"{rows[-1]}\n")

    for preset, streams in PRESETS.items():
        for count in streams:
            settings = {"preset": preset, "vocabulary_size": V, "min_count": 1, "unknown": "single", "streams": count,
                        "window": WINDOW}  # fmt: skip
            step, training = ours(settings, "auto", where)
            training.model.train()
            measure(f"{preset}, {count} x {WINDOW}", step, training.step_tokens)
    for precision in ("float32", "bfloat16") if where == "cuda" else ("float32",):
        measure(f"paper-ner with LM vectors, {precision}", *tagger(where, precision))
    if where == "cuda":
        note = f"Alone on {torch.cuda.get_device_name()}, language models in bfloat16"
        sys.stdout.write(f"{write('accelerator', 'On a GPU', rows, note)}\n")


if __name__ == "__main__":
    main()
