"""A trained tagger: its network, its files, and the encoding of sentences for it.

config.json           settings, tags, sizes, best dev epoch
words.json            trainable words
weights.safetensors   parameters
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from taglm_core.config.embedding import EmbeddingConfig
from taglm_core.config.tagger import CharCnnEncoder, NoCharacters, TaggerConfig
from taglm_core.corpus.schemes import Scheme, allowed_tags
from taglm_core.corpus.token_bytes import N_SYMBOLS
from taglm_core.corpus.word_vectors import WordVectors
from taglm_core.nn.characters import CharCnn, CharRnn
from taglm_core.nn.crf import Crf
from taglm_core.nn.lm_embedding_mixer import LmEmbeddingMixer, LmSource
from taglm_core.nn.tagger_network import Dropout, Tagger, random_word_vectors
from taglm_core.nn.uninitialised import Uninitialised
from taglm_core.store.durable import write_json
from taglm_core.tagging.dataset import Dataset, States
from taglm_core.tagging.words import FIRST_WORD_ID, UNKNOWN_ID, TaggerWords, normalise
from taglm_core.training.randomness import numpy_generator


class LmInput(NamedTuple):
    """One language model whose embeddings a tagger reads.

    Attributes:
        name: name in the experiment.
        direction: `forward` or `backward`.
        size: P, width of one layer's state.
        layers: layers whose states are joined, counted from 1.
    """

    name: str
    direction: str
    size: int
    layers: tuple[int, ...] = (1,)

    @property
    def width(self) -> int:
        """Numbers a token."""
        return self.size * len(self.layers)


@dataclass(frozen=True, slots=True)
class TaggerSpec:
    """Everything about a tagger but its parameters.

    Attributes:
        config: settings of the variant.
        tags: K tags by code.
        words: trainable words.
        word_size: size of the word embeddings.
        lm: the language models whose embeddings it reads, in order.
        embedding: settings of the embeddings.
    """

    config: TaggerConfig
    tags: tuple[str, ...]
    words: TaggerWords
    word_size: int
    lm: tuple[LmInput, ...]
    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)

    @property
    def lm_size(self) -> int:
        """L: width of all LM embeddings side by side; 0 for a baseline."""
        return sum(source.width for source in self.lm)


@dataclass(frozen=True)
class FrozenVectors:
    """Vectors of tokens that the trainable table lacks: they are read, never trained.

    Attributes:
        rows: row of each token, counted after the trainable table.
        matrix: [n, D] float32.
    """

    rows: dict[str, int]
    matrix: NDArray[np.float32]

    @classmethod
    def none(cls, size: int) -> FrozenVectors:
        """Return no frozen vectors."""
        return cls({}, np.zeros((0, size), np.float32))

    @classmethod
    def of(cls, words: TaggerWords, vectors: Sequence[WordVectors]) -> FrozenVectors:
        """Collect the vectors of tokens whose normalised form is no trainable word."""
        found = {
            token: row
            for part in vectors
            for token, row in zip(part.words, part.matrix, strict=True)
            if normalise(token) not in words.ids
        }
        matrix = np.stack(list(found.values())) if found else np.zeros((0, vectors[0].dim), np.float32)
        return cls({token: len(words) + number for number, token in enumerate(found)}, matrix)


def build_network(spec: TaggerSpec, word_vectors: Tensor, frozen: FrozenVectors) -> Tagger:
    """Build the network of a spec; torch's global generator initialises all but the word vectors [V, D]."""
    config = spec.config
    only = config.lm.position == "only"
    follow, first, last = _constraints(spec.tags) if config.constraints else (None, None, None)
    crf = Crf(len(spec.tags), bigrams=config.output == "crf", start_end=config.start_end, constraints=follow,
              allowed_start=first, allowed_end=last)  # fmt: skip
    return Tagger(
        crf,
        characters=None if only else build_characters(config),
        word_vectors=None if only else word_vectors,
        frozen_vectors=torch.from_numpy(frozen.matrix) if len(frozen.matrix) and not only else None,
        units=() if only else config.units,
        cell=config.cell,
        dropout=Dropout(config.dropout, config.locked_dropout, config.dropout_output, config.word_dropout),
        lm=build_lm_mixer(config, spec.lm) if spec.lm else None,
        lm_layer=config.lm.layers_below,
    )


def build_characters(config: TaggerConfig) -> CharCnn | CharRnn | None:
    """Build the character encoder of a configuration."""
    encoder = config.characters
    if isinstance(encoder, NoCharacters):
        return None
    if isinstance(encoder, CharCnnEncoder):
        filters = ((encoder.width, encoder.filters),)
        return CharCnn(N_SYMBOLS, encoder.dim, filters, activation="tanh", dropout=encoder.dropout)
    return CharRnn(
        N_SYMBOLS, encoder.dim, encoder.units, encoder.layers, cell=encoder.kind, dropout=encoder.dropout
    )  # fmt: skip


def build_lm_mixer(config: TaggerConfig, inputs: Sequence[LmInput]) -> LmEmbeddingMixer:
    """Build the mixer that prepares the embeddings of these language models."""
    entry, sources = config.lm, [LmSource(source.size, len(source.layers)) for source in inputs]
    return LmEmbeddingMixer(
        sources,
        mix=entry.mix if entry.mix is not None else not entry.scale and any(source.layers > 1 for source in sources),
        norm=entry.norm,
        scale=entry.scale,
        projection=entry.projection,
        activation=entry.activation,
        dropout=entry.dropout,
    )


def _constraints(tags: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
    """Return what BIOES allows: transitions [K, K], first tags [K], last tags [K]."""
    allowed = allowed_tags(tags, Scheme.BIOES)
    return torch.tensor(allowed.follow), torch.tensor(allowed.start), torch.tensor(allowed.end)


def start_vectors(
    spec: TaggerSpec, vectors: Sequence[WordVectors], seed: int, counts: Mapping[str, int]
) -> tuple[Tensor, set[int]]:
    """Return initial word vectors [V, D] (from the files if they have the word, else random) and the rows from files.

    Forms that share a row (`The`, `the`; `1996`, `1997`) may have different vectors: the row gets that of the form most
    frequent in training. The random vectors depend on the seed alone, so all variants of a comparison start equal.

    Args:
        spec: specification of the tagger.
        vectors: vectors of the words of train and dev as written.
        seed: seed of the tagger.
        counts: frequency of each word as written in the training sentences.
    """
    generator = torch.Generator().manual_seed(int(numpy_generator(seed, "words").integers(2**62)))
    table = random_word_vectors(len(spec.words), spec.word_size, generator)
    known: set[int] = set()
    found = {token: vector for part in vectors for token, vector in zip(part.words, part.matrix, strict=True)}
    for token in sorted(found, key=lambda token: (-counts.get(token, 0), token)):
        row = spec.words.ids.get(normalise(token), UNKNOWN_ID)
        if row >= FIRST_WORD_ID and row not in known:
            table[row] = torch.from_numpy(found[token])
            known.add(row)
    return table, known


def encode(
    spec: TaggerSpec,
    frozen: FrozenVectors,
    tokens: Sequence[Sequence[str]],
    states: Sequence[States],
    tags: Sequence[Sequence[str]] | None = None,
) -> Dataset:
    """Encode sentences for a tagger; tags are for training alone."""
    return Dataset.encode(
        tokens,
        words=spec.words,
        frozen=frozen.rows,
        max_bytes=spec.config.max_bytes,
        states=states,
        tags=tags,
        tag_ids={tag: code for code, tag in enumerate(spec.tags)},
    )


def save_tagger(network: Tagger, spec: TaggerSpec, facts: dict[str, Any], folder: Path) -> None:
    """Write all files of a tagger; `facts` (parameters, best dev F1, epoch) go into the config."""
    sources = [source._asdict() for source in spec.lm]
    data = {"settings": spec.config.model_dump(mode="json"), "tags": spec.tags, "word_size": spec.word_size,
            "lm": sources, "embedding": spec.embedding.model_dump(mode="json"), **facts}  # fmt: skip
    write_json(folder / "config.json", data, sort_keys=True, ensure_ascii=True)
    (folder / "words.json").write_text(json.dumps(asdict(spec.words), ensure_ascii=False), encoding="utf-8")
    tensors = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
    save_file(tensors, folder / "weights.safetensors")


def load_spec(folder: Path) -> tuple[TaggerSpec, dict[str, Any]]:
    """Return a tagger's spec, and all entries of its config file."""
    data = json.loads((folder / "config.json").read_bytes())
    words = json.loads((folder / "words.json").read_bytes())
    spec = TaggerSpec(
        TaggerConfig.model_validate(data["settings"]),
        tuple(data["tags"]),
        TaggerWords(tuple(words["words"]), words["single"]),
        data["word_size"],
        tuple(LmInput(**{**source, "layers": tuple(source["layers"])}) for source in data["lm"]),
        EmbeddingConfig.model_validate(data["embedding"]),
    )
    return spec, data


def load_network(folder: Path, spec: TaggerSpec, frozen: FrozenVectors, device: torch.device) -> Tagger:
    """Load a tagger's network, in evaluation mode."""
    with Uninitialised():
        network = build_network(spec, torch.zeros(len(spec.words), spec.word_size), frozen)
    network.load_state_dict(load_file(folder / "weights.safetensors"))
    return network.to(device).eval()
