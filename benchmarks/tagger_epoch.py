"""A tagger's epoch with embeddings from a cache, and with embeddings computed as it goes.

2,000 sentences of CoNLL-2003 train, the default TagLM with a pair of language models (random weights): seconds of one
training epoch from the caches, and with `embed_online` for each batch.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from extraction import model
from numpy.typing import NDArray
from record import interleaved, write
from sentences import labelled

from taglm_core.config.embedding import EmbeddingConfig
from taglm_core.config.language_model import Direction
from taglm_core.config.tagger import TaggerConfig
from taglm_core.corpus.schemes import to_bioes
from taglm_core.lm.cache import INDEX, EmbeddingCache, part_name, write_index
from taglm_core.lm.cache_parts import Scratch, write_part
from taglm_core.lm.extraction import Tokens, cache_key, embed_shard
from taglm_core.lm.model import TrainedLm
from taglm_core.lm.online import embed_online
from taglm_core.lm.shards import Corpus, lay_out, shards
from taglm_core.tagging.dataset import States
from taglm_core.tagging.tagger_training import TaggerTraining
from taglm_core.tagging.trained import FrozenVectors, LmInput, TaggerSpec, build_network, encode, start_vectors
from taglm_core.tagging.words import TaggerWords, tags_of
from taglm_core.training.devices import PLAIN, Device, open_device
from taglm_core.training.loop import take_step
from taglm_core.training.randomness import seed_torch

PRESETS = ("lstm-512-256", "char-cnn-small")
SENTENCES, RUNS = 2_000, 3
GIVEN = EmbeddingConfig()
NOTE = """Default TagLM, batches of 32, a forward and a backward model of 256 numbers a token each; the processor's
seconds of one thread, medians of 3 epochs, without evaluation. `online` computes each batch's embeddings when the batch
is drawn."""


class Online:
    """Embeddings that are computed when a batch asks for them."""

    def __init__(self, lm: TrainedLm, tokens: Sequence[Tokens]) -> None:
        self._lm, self._tokens = lm, tokens
        self.size, self.dtype = lm.size, np.dtype(np.float16)

    def gather(self, numbers: NDArray[np.int64], out: NDArray[Any]) -> None:
        """Write those of sentences to `out` [B, T, W]."""
        found = embed_online(self._lm, [self._tokens[number] for number in numbers], GIVEN)
        found.gather(range(len(numbers)), out)


def fill_cache(lm: TrainedLm, corpus: Corpus, folder: Path) -> EmbeddingCache:
    """A cache of a corpus, as the embed stage makes it."""
    folder.mkdir()
    key = cache_key(lm, GIVEN, language_model="lm", corpus="corpus", version=1)
    cut = {"shard_tokens": GIVEN.shard_tokens, "context": GIVEN.context}
    for shard in shards(corpus, **cut):
        scratch = Scratch(folder / "scratch", shard.rows, key)
        embed_shard(lm, shard, key, scratch.put, batch=GIVEN.batch_sentences)
        write_part(folder / part_name(shard.number), scratch.rows, scratch.largest)
        scratch.remove()
    layout = lay_out(corpus, **cut)
    write_index(folder / INDEX, layout.ranges, layout.digests, key)
    return EmbeddingCache(folder)


def specify(
    tokens: Sequence[Tokens], tags: Sequence[Sequence[str]], states: Sequence[States], config: TaggerConfig
) -> TaggerSpec:
    """A tagger that knows the words of these sentences and reads states like these."""
    sources = tuple(LmInput("main", str(number), part.size) for number, part in enumerate(states))
    return TaggerSpec(config, tags_of(tags), TaggerWords.count(tokens, 1), config.words.size, sources)


def tagger(
    tokens: Sequence[Tokens],
    tags: Sequence[Sequence[str]],
    states: Sequence[States],
    spec: TaggerSpec | None = None,
    device: Device = PLAIN,
) -> TaggerTraining:
    """The training of a default TagLM that reads these states, or of another tagger."""
    spec = spec or specify(tokens, tags, states, TaggerConfig())
    config = spec.config
    seed_torch(1, "tagger")
    start, _ = start_vectors(spec, [], 1, {})
    frozen = FrozenVectors.none(spec.word_size)
    network = build_network(spec, start, frozen)
    data = encode(spec, frozen, tokens, states, tags)
    nothing = torch.tensor([], dtype=torch.int64)
    return TaggerTraining(network, data, (data, tags), spec.tags, config, 1, nothing, device=device)


def train_epoch(training: TaggerTraining, one_in: int = 1) -> None:
    """Draw every batch of an epoch, and train on some."""
    training.model.train()
    for number in range(len(training._batches)):
        training._done = number
        if number % one_in:
            training._train.batch(training._batches[number].tolist())
        else:
            take_step(training)


def split_labelled() -> tuple[list[Tokens], list[tuple[str, ...]]]:
    """Tokens and BIOES tags."""
    found = labelled()
    return [tokens for tokens, _ in found], [to_bioes(tags) for _, tags in found]


def epoch(preset: str) -> dict[str, Any]:
    """In a process of its own: seconds from a cache and online."""
    tokens, tags = (part[:SENTENCES] for part in split_labelled())
    words = list(dict.fromkeys(token for sentence in tokens for token in sentence))
    pair = [model(preset, words, direction) for direction in Direction]
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as folder:
        corpus = lambda: ((sentence, 0) for sentence in tokens)  # noqa: E731
        begun = time.process_time()
        caches = [fill_cache(lm, corpus, Path(folder, lm.direction)) for lm in pair]
        filling = time.process_time() - begun
        ways = {"cached": caches, "online": [Online(lm, tokens) for lm in pair]}
        epochs = {name: partial(train_epoch, tagger(tokens, tags, states)) for name, states in ways.items()}
        seconds = interleaved(epochs, RUNS, clock=time.process_time)
    return {"language models": preset, "sentences": len(tokens), "tokens": sum(map(len, tokens)),
            "seconds of an epoch": {name: round(spent, 2) for name, spent in seconds.items()},
            "online against cached": round(seconds["online"] / seconds["cached"], 2),
            "seconds to fill the caches": round(filling, 2)}  # fmt: skip


def run_part(script: str, *arguments: str) -> dict[str, Any]:
    """The row that a script prints in a process of its own."""
    command = [sys.executable, script, *arguments]
    row: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    sys.stdout.write(f"{row}\n")
    sys.stdout.flush()
    return row


def main() -> None:
    """Every pair of language models."""
    rows = [run_part(__file__, preset) for preset in PRESETS]
    note = " ".join(NOTE.split())
    sys.stdout.write(f"{write('tagger_epoch', 'A tagger epoch: cached against online embeddings', rows, note)}\n")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        open_device("cpu", 1)
        sys.stdout.write(json.dumps(epoch(sys.argv[1])))
    else:
        main()
