"""An exported tagger with random weights: two language models, word vectors, and two versions of its answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from taglm_core.config.embedding import EmbeddingConfig
from taglm_core.config.language_model import Direction
from taglm_core.config.raw_text import TextConfig
from taglm_core.config.tagger import TaggerConfig
from taglm_core.corpus.vector_table import write_vector_table
from taglm_core.corpus.word_vectors import read_vectors
from taglm_core.lm.lm_vocabulary import LmVocabulary
from taglm_core.lm.model import TrainedLm, build_network, save_language_model
from taglm_core.tagging.exported import TAGGER, VectorsIncluded, seal_export, spelling_of, write_export
from taglm_core.tagging.online_vectors import samples
from taglm_core.tagging.trained import (
    FrozenVectors,
    LmInput,
    TaggerSpec,
    save_tagger,
    start_vectors,
)
from taglm_core.tagging.trained import build_network as build_tagger
from taglm_core.tagging.words import TaggerWords
from taglm_core.text.segmenter import TokenizerRecord
from taglm_core.training.randomness import seed_torch
from tests.lm.conftest import small_config

TRAINED = [("Anna", "saw", "Rome", "."), ('"', "It", "is", "Bert", "'s", '"', ",", "she", "said", ".")]
TAGS = ("O", "B-LOC", "E-LOC", "I-LOC", "S-LOC", "B-PER", "E-PER", "I-PER", "S-PER")
TEXT = 'Anna Smith met Bert in Rome. "It is Carla\'s dog," she said (twice).\n\nThen Emil left New York.'
VECTOR_WORDS = ("anna", "saw", "rome", "bert", "carla", "emil", "new", "york", "0000", "dog", "Émile")


def vector_file(folder: Path, scale: float = 2.0) -> Path:
    """A file of word vectors, most of them of words that training lacks."""
    generator = np.random.default_rng(5)
    rows = {word: (scale * generator.normal(size=6)).round(4) for word in VECTOR_WORDS}
    path = folder / "vectors.txt"
    path.write_text("".join(f"{word} {' '.join(map(str, row))}\n" for word, row in rows.items()), encoding="utf-8")
    return path


def tiny_export(
    folder: Path,
    *,
    context: str = "sentence",
    lm: bool = True,
    vectors: VectorsIncluded | None = VectorsIncluded.TABLE,
    text: TextConfig | None = None,
) -> Path:
    """Write the export of an untrained tagger; return its folder."""
    work, export = folder / "work", folder / "export"
    work.mkdir(parents=True)
    config = TaggerConfig.model_validate(
        {"units": [8, 8], "words": {"size": 6}, "characters": {"kind": "cnn", "dim": 4, "filters": 6}}
    )
    sources = tuple(LmInput("main", direction, 10) for direction in ("backward", "forward")) if lm else ()
    words = TaggerWords.count(TRAINED, 1)
    embedding = EmbeddingConfig.model_validate({"context": context})
    spec = TaggerSpec(config, TAGS, words, 6, sources, embedding)
    file = vector_file(work)
    found = [read_vectors(file, {token for sentence in TRAINED for token in sentence})] if vectors else []
    seed_torch(3, "tagger")
    network = build_tagger(spec, start_vectors(spec, found, 3, {})[0], FrozenVectors.none(6))
    torch.nn.init.normal_(network.dense.weight, std=3)
    (work / TAGGER).mkdir()
    save_tagger(network, spec, {"parameters": 1, "dev_f1": 0.5, "vector_samples": samples(found)}, work / TAGGER)
    models = {(source.name, source.direction): _language_model(work, source.direction) for source in sources}
    table = None
    if vectors is VectorsIncluded.TABLE:
        table = work / "table"
        write_vector_table(file, table)
    write_export(
        export, work / TAGGER, models, digest="d" * 32, table=table, vectors=vectors or VectorsIncluded.TABLE,
        text=TokenizerRecord.of(text or TextConfig(), spelling_of(work / TAGGER)), facts={"label": "tiny/tagger"},
    )  # fmt: skip
    seal_export(export)
    return export


def _language_model(folder: Path, direction: str) -> Path:
    vocabulary, small = LmVocabulary(("anna", "Rome", "saw", "the"), shapes=True), small_config("char-cnn")
    seed_torch(7, direction)
    network = build_network(small, len(vocabulary)).eval()
    state = network.zero_state(1)
    for part in state:
        part.normal_()
    path = folder / direction
    path.mkdir()
    save_language_model(TrainedLm(network, vocabulary, small, Direction(direction), state), path)
    return path
