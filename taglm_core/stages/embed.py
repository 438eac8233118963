"""Embed: language-model states, and word vectors, of the tokens of each labelled split."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from taglm_core.corpus.parquet import load_sentences
from taglm_core.corpus.word_vectors import read_vectors, write_vectors
from taglm_core.errors import Interrupted
from taglm_core.lm.cache import INDEX, part_name, read_part, write_index, write_part
from taglm_core.lm.extraction import Indexer, embed_sentences, map_tokens, to_float16
from taglm_core.lm.model import TrainedLm, load_language_model
from taglm_core.stages.building import Bench, Built
from taglm_core.training.devices import exclusive, open_device

Labelled = Sequence[tuple[tuple[str, ...], tuple[str, ...] | None]]
COVERAGE = "coverage.json"


def build_embeddings(bench: Bench) -> Built:
    """Top-layer states of every token of a corpus; finished shards outlive a kill."""
    device = open_device(bench.run.device, bench.run.threads)
    parts = bench.work / "parts"
    parts.mkdir(exist_ok=True)
    labelled = load_sentences(bench.inputs["corpus"].path)
    sentences = [tokens for tokens, _ in labelled]
    indexer = Indexer(bench.config["shard_sentences"], bench.config["token_map"])
    largest, rows = 0.0, 0
    with exclusive(device, bench.locks):
        lm = load_language_model(bench.inputs["language-model"].path, device.torch)
        for shard in indexer.shards(sentences):
            path, tokens = parts / part_name(shard.number), sum(map(len, shard.sentences))
            rows += tokens
            states = read_part(path, tokens, lm.size)
            if states is None:
                if bench.stop.requested:
                    raise Interrupted(f"stopped after {shard.number} shards ({bench.stop.reason}); run again to go on")
                exact = embed_sentences(lm, shard.sentences, bench.config["batch_sentences"])
                states = np.concatenate([to_float16(s, words) for s, words in zip(exact, shard.sentences, strict=True)])
                write_part(path, states)
                read = len(indexer.entries)
                bench.journal.progress(shard.number, read, len(sentences), f"embedded {read:,} of {len(sentences):,}")
            largest = max(largest, float(np.abs(states).max()))  # as stored: the same for a shard found and one made
    for path in sorted(parts.iterdir()):
        shutil.move(path, bench.out / path.name)
    metadata = {
        "language_model": bench.inputs["language-model"].ref.digest,
        "corpus": bench.inputs["corpus"].ref.digest,
        "direction": str(lm.direction),
        "layer": "top",
        "size": lm.size,
        "precision": "float16",
    }
    write_index(bench.out / INDEX, indexer.entries, metadata)
    counts = {"sentences": len(sentences), "tokens": sum(map(len, sentences)), "rows": rows, "size": lm.size}
    metrics = {"largest_state": largest, **unknown_rates(lm, labelled, bench.config["token_map"])}
    return Built(counts, metrics, machine=device.describe())


def unknown_rates(lm: TrainedLm, labelled: Labelled, token_map: Mapping[str, str]) -> dict[str, float]:
    """Share of tokens that the language model's vocabulary lacks, over all and over those of entities."""
    tokens = [token for sentence, _ in labelled for token in map_tokens(sentence, token_map)]
    inside = np.array([tag != "O" for sentence, tags in labelled for tag in tags or ["O"] * len(sentence)], bool)
    unknown = lm.vocabulary.is_unknown(lm.vocabulary.ids(tokens))
    rates = {"unknown_rate": float(unknown.mean()) if len(unknown) else 0.0}
    return rates | ({"unknown_rate_entities": float(unknown[inside].mean())} if inside.any() else {})


def build_word_vectors(bench: Bench) -> Built:
    """The rows of a vector file that the words of one split look up, with a coverage report."""
    counts = Counter(token for tokens, _ in load_sentences(bench.inputs["corpus"].path) for token in tokens)
    (path,) = bench.files["vectors"]
    vectors = read_vectors(path, counts.keys(), counts=counts)
    write_vectors(vectors, bench.out)
    (bench.out / COVERAGE).write_text(json.dumps(vectors.coverage, indent=1, sort_keys=True), encoding="utf-8")
    return Built({"rows": len(vectors.words), "size": vectors.dim}, not_payload=(COVERAGE,))
