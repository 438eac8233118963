"""Tagging on one thread: baseline, TagLM with cached and with online embeddings, flair's tagger beside its like."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from extraction import model
from record import write
from tagger_epoch import fill_cache, specify
from tagger_training import Flair, Text

from taglm_core.config.language_model import Direction
from taglm_core.config.tagger import TaggerConfig
from taglm_core.nn.tagger_network import Tagger
from taglm_core.tagging.prediction import Predictor
from taglm_core.tagging.tagger_training import DECODING_BATCH, decode_all
from taglm_core.tagging.trained import FrozenVectors, LmInput, TaggerSpec, build_network, encode, start_vectors
from taglm_core.training.devices import open_device
from taglm_core.training.randomness import seed_torch

RUNS, EPOCHS = 5, 3
SAME, LIKE = "characters", "TagLM, flair's architecture"
NOTE = """{sentences:,} sentences of CoNLL-2003 train, {tokens:,} tokens, in batches of {batch}; the processor's seconds
of one thread, medians of {runs} rounds. TagLM's time begins with strings and ends with tags. flair's time is that of
`predict` on prepared sentences, after {epochs} epochs of training; an untrained tagger would find and write far more
spans. The first three taggers have the default settings. TagLM has a forward and a backward char-cnn-small with random
weights; their embeddings come from a filled cache (`cached`) or are computed (`online`). The last two taggers are
`characters` of `tagger_training.py`."""


def network_of(spec: TaggerSpec) -> Tagger:
    """A network for a spec, as it is before training."""
    seed_torch(1, "tagger")
    start, _ = start_vectors(spec, [], 1, {})
    return build_network(spec, start, FrozenVectors.none(spec.word_size)).eval()


def candidates(text: Text, folder: Path) -> dict[str, Callable[[], object]]:
    """Everything of ours, ready to tag all sentences."""
    words = list(dict.fromkeys(token for sentence in text.tokens for token in sentence))
    pair = [model("char-cnn-small", words, direction) for direction in Direction]
    caches = [fill_cache(lm, lambda: ((tokens, 0) for tokens in text.tokens), folder / lm.direction) for lm in pair]
    baseline = specify(text.tokens, text.tags, [], TaggerConfig())
    taglm = replace(baseline, lm=tuple(LmInput("main", str(lm.direction), lm.size) for lm in pair))
    joined, same = network_of(taglm), text.spec(SAME)

    def cached() -> None:
        data = encode(taglm, FrozenVectors.none(taglm.word_size), text.tokens, caches)
        decode_all(joined, data, taglm.tags)

    return {
        "baseline": partial(Predictor(network_of(baseline), baseline, []).tag, text.tokens),
        "TagLM, cached": cached,
        "TagLM, online": partial(Predictor(joined, taglm, pair).tag, text.tokens),
        LIKE: partial(Predictor(network_of(same), same, []).tag, text.tokens),
    }


def timed(run: Callable[[], object]) -> float:
    """Seconds of the processor."""
    begun = time.process_time()
    run()
    return time.process_time() - begun


def main() -> None:
    """All by turns; the first turn does not count."""
    open_device("cpu", 1)
    text = Text()
    tokens = sum(map(len, text.tokens))
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as folder, Flair(text) as flair:
        turns = {name: partial(timed, run) for name, run in candidates(text, Path(folder)).items()}
        for _ in range(EPOCHS):
            flair.train(SAME)
        turns["flair"] = lambda: flair.tag(SAME, DECODING_BATCH)
        seconds: dict[str, list[float]] = {name: [] for name in turns}
        for turn in range(1 + RUNS):
            for name, run in turns.items():
                spent = run()
                if turn:
                    seconds[name].append(spent)
    speeds = {name: tokens / statistics.median(spent) for name, spent in seconds.items()}
    rows: list[dict[str, Any]] = [{"tagger": name, "tokens a second": round(speed)} for name, speed in speeds.items()]
    for row in rows:
        if row["tagger"] == LIKE:
            row["against flair"] = round(speeds[LIKE] / speeds["flair"], 2)
        sys.stdout.write(f"{row}\n")
    note = " ".join(NOTE.split()).format(sentences=len(text.tokens), tokens=tokens, batch=DECODING_BATCH, runs=RUNS,
                                         epochs=EPOCHS)  # fmt: skip
    sys.stdout.write(f"{write('tagger_tagging', 'Tagging, and flair', rows, note)}\n")


if __name__ == "__main__":
    main()
