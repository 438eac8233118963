"""Peak memory of training lstm-512-256 (128 streams of 20 tokens) by vocabulary and softmax.

    python memory.py [--vocabulary 50000 793471] [--softmax sampled adaptive] [--steps 4]

Each in a process of its own, one after the other: the training of `taglm pretrain` over generated sentences of
generated words, its measurement of the machine, some steps, a look at held-out text, a checkpoint. Memory is the most
anonymous memory (RssAnon) of the process in each part, sampled every 5 ms. Beside it what no training goes without:
the bytes of parameters, optimiser and averaged weights.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from record import AnonymousMemory, write

SENTENCES, HELDOUT, LENGTH = 20_000, 1_600, 24
NOTE = """Peak anonymous memory (RssAnon) of the training process in MB, interpreter and libraries included. The lower
bound is the bytes of parameters, optimiser and averaged weights."""


class Memory:
    """A shard of sentences whose words follow Zipf's law."""

    def __init__(self, sentences: int, words: int, seed: int) -> None:
        draws = np.exp(np.random.default_rng(seed).random((sentences, LENGTH)) * np.log(words)).astype(np.int32)
        self._sentences = np.minimum(draws, words)

    def __len__(self) -> int:
        return len(self._sentences)

    def sentence(self, index: int) -> np.ndarray:
        """Numbers of its words."""
        return self._sentences[index]


def train(vocabulary_size: int, softmax: str, steps: int) -> dict[str, float]:
    """In a process of its own: megabytes by part."""
    from taglm_core.config.language_model import LanguageModelConfig
    from taglm_core.corpus.token_bytes import BOUNDARY
    from taglm_core.lm.lm_training import Intervals, LmTraining
    from taglm_core.lm.lm_vocabulary import LmVocabulary
    from taglm_core.lm.model import WordTable, build_network
    from taglm_core.lm.streams import Streams
    from taglm_core.training.checkpoints import Checkpoints
    from taglm_core.training.devices import open_device
    from taglm_core.training.journal import Journal
    from taglm_core.training.loop import LoopSettings
    from taglm_core.training.loop import train as loop
    from taglm_core.training.randomness import seed_torch
    from taglm_core.training.stopping import StopRequest

    settings = {"preset": "lstm-512-256", "vocabulary_size": vocabulary_size, "softmax": {"kind": softmax},
                "steps": steps, "unknown": "single", "directions": ["forward"]}  # fmt: skip
    config = LanguageModelConfig.model_validate(settings)
    open_device("cpu", 1)
    found: dict[str, float] = {}
    with AnonymousMemory() as memory:
        found["before the model"] = memory.now() / 1e6
        words = [f"word-{number}" for number in range(vocabulary_size - 2)]
        vocabulary = LmVocabulary(tuple(words), shapes=False)
        seed_torch(1, "bench")
        network = build_network(config, len(vocabulary))
        shards: list[Any] = [Memory(SENTENCES, len(words), 1)]
        streams = Streams(shards, streams=config.streams, window=config.window, backward=False, seed=1)
        held = Memory(HELDOUT, len(words), 2)
        sentences = [held.sentence(number) for number in range(len(held))]
        table = WordTable([BOUNDARY, *words], vocabulary, config)
        never = Intervals(10**9, 10**9)
        training = LmTraining(network, table, streams, sentences, config, never)
        found["set up"] = _since(memory)
        training.measure()
        found["measuring"] = _since(memory)
        with tempfile.TemporaryDirectory(prefix="taglm-memory-") as folder:
            checkpoints, journal = Checkpoints(Path(folder, "checkpoints"), 1), Journal(Path(folder, "events.jsonl"))
            never_saved = LoopSettings(1e9)
            loop(training, checkpoints=checkpoints, journal=journal, stop=StopRequest(), settings=never_saved)
            found["steps and held-out text"] = _since(memory)
            from taglm_core.training.loop import _pack

            checkpoints.save(training.step, _pack(training))
            found["checkpoint"] = _since(memory)
            journal.close()
    tensors = [*network.state_dict().values(), *training._average.values()]
    for optimizer in training.optimizers:
        tensors += [part for state in optimizer.state_dict()["state"].values() for part in state.values()]
    found["lower bound"] = sum(tensor.nbytes for tensor in tensors if hasattr(tensor, "nbytes")) / 1e6
    return found


def _since(memory: AnonymousMemory) -> float:
    """Megabytes at the most since this was asked last."""
    peak, memory.peak = max(memory.peak, memory.now()), memory.now()
    return peak / 1e6


def main() -> None:
    """Measure every vocabulary and softmax."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabulary", type=int, nargs="+", default=[50_000, 793_471])
    parser.add_argument("--softmax", nargs="+", default=["sampled", "adaptive"])
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        sys.stdout.write(json.dumps(train(given.vocabulary[0], given.softmax[0], given.steps)))
        return
    rows: list[dict[str, Any]] = []
    for size in given.vocabulary:
        for softmax in given.softmax:
            command = [sys.executable, __file__, "--one", "--vocabulary", str(size), "--softmax", softmax,
                       "--steps", str(given.steps)]  # fmt: skip
            found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            bound = found.pop("lower bound")
            rows.append({"vocabulary": size, "softmax": softmax, **{name: round(mb) for name, mb in found.items()},
                         "lower bound": round(bound),
                         "peak against bound": round(max(found.values()) / bound, 2)})  # fmt: skip
            sys.stdout.write(f"{rows[-1]}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{write('memory', 'Memory of training lstm-512-256', rows, ' '.join(NOTE.split()))}\n")


if __name__ == "__main__":
    main()
