"""Memory of training from a cache of 2 GB, and of embedding one long sentence.

epoch      all batches of an epoch drawn from the cache, one in twenty trained on: how far anonymous memory grows
sentence   one sentence of 10,000 or 100,000 tokens into a shard, as the embed stage does
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from extraction import model
from record import AnonymousMemory, write
from sentences import labelled
from tagger_epoch import GIVEN, fill_cache, run_part, split_labelled, tagger, train_epoch

from taglm_core.config.embedding import Context
from taglm_core.lm.cache import INDEX, EmbeddingCache, part_name, write_index
from taglm_core.lm.cache_parts import Rows, write_part
from taglm_core.lm.extraction import Tokens, cache_key
from taglm_core.lm.shards import lay_out
from taglm_core.training.devices import open_device

CACHED_TOKENS, WIDTH, TRAINED = 1_000_000, 1_024, 20
LENGTHS = (10_000, 100_000)
NOTE = """Anonymous memory (RssAnon) of the process in MB, interpreter and libraries included: before, the peak during
the work, and the difference. Training draws every batch of an epoch from the cache and trains on one batch in twenty.
char-cnn-small embeds the sentence into a shard of float16."""


def repeated() -> tuple[list[Tokens], list[tuple[str, ...]]]:
    """The corpus again and again, until it fills the large cache."""
    tokens, tags = split_labelled()
    times = -(-CACHED_TOKENS // sum(map(len, tokens)))
    return tokens * times, tags * times


def write_large(folder: Path) -> None:
    """In a process of its own, so that what it frees is not used again by the one that is measured: a large cache."""
    tokens, _ = repeated()
    key = replace(cache_key(model("lstm-512-256", ["word"]), GIVEN, language_model="lm", corpus="corpus", version=1),
                  size=WIDTH)  # fmt: skip
    # by document, so that the same sentence again has a place of its own
    layout = lay_out(lambda: ((sentence, number) for number, sentence in enumerate(tokens)),
                     shard_tokens=GIVEN.shard_tokens, context=Context.DOCUMENT)  # fmt: skip
    generator = np.random.default_rng(1)
    for number, rows in enumerate(layout.rows):
        states = (0.1 * generator.standard_normal((rows, WIDTH), np.float32)).astype(np.float16)
        write_part(folder / part_name(number), Rows(states, np.empty((rows, 0), np.float32)), 1.0)
    write_index(folder / INDEX, layout.ranges, layout.digests, key)


def memory(folder: Path) -> dict[str, Any]:
    """In a process of its own: anonymous memory of drawing an epoch from a large cache."""
    tokens, tags = repeated()
    training = tagger(tokens, tags, [EmbeddingCache(folder)])
    with AnonymousMemory() as seen:
        before = seen.now()
        train_epoch(training, TRAINED)
    size = sum(path.stat().st_size for path in folder.iterdir())
    return memory_row(f"an epoch from a cache of {size / 1e9:.1f} GB", sum(map(len, tokens)), before, seen.peak)


def sentence(length: int) -> dict[str, Any]:
    """In a process of its own: anonymous memory of embedding one sentence."""
    words = list(dict.fromkeys(token for tokens, _ in labelled() for token in tokens))
    chosen = np.random.default_rng(1).integers(0, len(words), length)
    tokens = tuple(words[number] for number in chosen)
    lm = model("char-cnn-small", words)
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as folder, AnonymousMemory() as seen:
        before = seen.now()
        fill_cache(lm, lambda: [(tokens, 0)], Path(folder, "cache"))
    return memory_row("embedding one sentence", length, before, seen.peak)


def memory_row(what: str, tokens: int, before: int, peak: int) -> dict[str, Any]:
    """A row, in megabytes."""
    return {"what": what, "tokens": tokens, "before": round(before / 1e6), "most": round(peak / 1e6),
            "growth": round((peak - before) / 1e6)}  # fmt: skip


def main() -> None:
    """Every part in a process of its own."""
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as folder:
        subprocess.run([sys.executable, __file__, "write", folder], check=True)
        rows = [run_part(__file__, "epoch", folder)]
    rows += [run_part(__file__, "sentence", str(length)) for length in LENGTHS]
    note, title = " ".join(NOTE.split()), "Memory of training from a cache and of long sentences"
    sys.stdout.write(f"{write('tagger_memory', title, rows, note)}\n")


if __name__ == "__main__":
    open_device("cpu", 1)
    match sys.argv[1:]:
        case ["write", folder]:
            write_large(Path(folder))
        case ["epoch", folder]:
            sys.stdout.write(json.dumps(memory(Path(folder))))
        case ["sentence", length]:
            sys.stdout.write(json.dumps(sentence(int(length))))
        case _:
            main()
