"""A trained language model for reading: network, vocabulary, word inputs, break state; and its files.

config.json               settings that rebuild the network, direction, sizes
vocabulary.parquet        its vocabulary
vectors.arrow             word vectors of a file, if it reads any
weights.safetensors       parameters
break_state.safetensors   initial state of every sentence to be embedded
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from taglm_core.config.language_model import AdaptiveSoftmax as AdaptiveSoftmaxConfig
from taglm_core.config.language_model import CharCnnInput, Direction, LanguageModelConfig, Unknown
from taglm_core.config.language_model import FullSoftmax as FullSoftmaxConfig
from taglm_core.config.language_model import SampledSoftmax as SampledSoftmaxConfig
from taglm_core.corpus.token_bytes import N_SYMBOLS, encode_words
from taglm_core.corpus.word_vectors import VECTORS_FILE
from taglm_core.errors import ConfigError
from taglm_core.lm.lm_vocabulary import LmVocabulary
from taglm_core.lm.pretrained import PretrainedVectors
from taglm_core.nn.characters import CharCnn
from taglm_core.nn.lm_network import LanguageModel, LmState, WithVectors, WordEncoder
from taglm_core.nn.softmax import AdaptiveSoftmax, FullSoftmax, NoSoftmax, SampledSoftmax, Softmax
from taglm_core.nn.uninitialised import Uninitialised
from taglm_core.store.durable import write_json

WEIGHTS = "weights.safetensors"
SOFTMAX = "softmax."  # prefix of the names of its parameters


class WordTable:
    """Network inputs of the distinct words of a text: vocabulary entries, characters, rows of a file of vectors.

    Args:
        words: the distinct words; word number i of the text is `words[i]`.
        vocabulary: vocabulary of the model.
        config: settings of the model.
        vectors: vectors of `config.vectors`, if any.

    Raises:
        ValueError: vectors are given, but not in the settings, or the other way round.
    """

    def __init__(
        self,
        words: Sequence[str],
        vocabulary: LmVocabulary,
        config: LanguageModelConfig,
        vectors: PretrainedVectors | None = None,
    ) -> None:
        _require_vectors(config, vectors)
        self.targets = torch.from_numpy(vocabulary.ids(words))  # [n]
        self._chars: NDArray[np.int16] | None = None
        if isinstance(config.input, CharCnnInput):
            self._chars = encode_words(words, max_bytes=config.input.max_bytes)
            self._lengths = (self._chars != 0).sum(axis=1)
        self.rows: NDArray[np.int64] | None = None if vectors is None else vectors.rows(words)  # [n]

    def __len__(self) -> int:
        return len(self.targets)

    def distinct(self, numbers: NDArray[np.int64]) -> Tensor:
        """Return the encoder's input for words by number [N]: characters [N, C], or vocabulary entries [N].

        With file vectors their rows come first: [N, 1 + C] or [N, 2].
        """
        read = self._entries(numbers)
        if self.rows is None:
            return read
        return torch.cat([torch.from_numpy(self.rows[numbers])[:, None], read.reshape(len(numbers), -1)], dim=1)

    def _entries(self, numbers: NDArray[np.int64]) -> Tensor:
        if self._chars is None:
            return self.targets[torch.from_numpy(numbers)]
        width = int(self._lengths[numbers].max())
        return torch.from_numpy(self._chars[numbers, :width].astype(np.int64))


@dataclass(frozen=True, slots=True)
class TrainedLm:
    """A language model with everything that reading text needs.

    Attributes:
        network: network, in evaluation mode.
        vocabulary: its vocabulary.
        config: its settings.
        direction: forward or backward.
        break_state: mean state at sentence ends, one row.
        vectors: vectors of a file, if it reads any.
    """

    network: LanguageModel
    vocabulary: LmVocabulary
    config: LanguageModelConfig
    direction: Direction
    break_state: LmState
    vectors: PretrainedVectors | None = None

    def table(self, words: Sequence[str]) -> WordTable:
        """Return the table of the distinct words of a text."""
        return WordTable(words, self.vocabulary, self.config, self.vectors)

    @property
    def size(self) -> int:
        """P, width of the embeddings."""
        return self.config.projection


def build_network(
    config: LanguageModelConfig,
    vocabulary_size: int,
    *,
    vectors: PretrainedVectors | None = None,
    predicts: bool = True,
) -> LanguageModel:
    """Build a fresh network for a configuration, initialised by torch's global generator.

    Args:
        config: its settings.
        vocabulary_size: V.
        vectors: vectors of `config.vectors`, if any.
        predicts: False for a network without softmax, for reading alone.

    Raises:
        ConfigError: a sampled softmax draws at least as many words as there are.
        ValueError: vectors are given, but not in the settings, or the other way round.
    """
    encoder: nn.Module
    if isinstance(config.input, CharCnnInput):
        encoder = CharCnn(
            N_SYMBOLS,
            config.input.dim,
            config.input.filters,
            activation="relu",
            highway=config.input.highway,
            output=config.input.size,
        )
        table = None
    else:
        tied = isinstance(config.softmax, FullSoftmaxConfig) and config.softmax.tied
        encoder = WordEncoder(vocabulary_size, config.input.size, sparse=not tied)
        table = encoder.table if tied else None
    _require_vectors(config, vectors)
    if vectors is not None:
        encoder = WithVectors(encoder, torch.from_numpy(vectors.matrix))
    return LanguageModel(
        encoder,
        _build_softmax(config, vocabulary_size, table) if predicts else NoSoftmax(),
        size=config.input.size,
        units=config.units,
        projection=config.projection,
        layers=config.layers,
        residual=config.residual,
        dropout=config.dropout,
    )


def _require_vectors(config: LanguageModelConfig, vectors: PretrainedVectors | None) -> None:
    """Refuse file vectors that are missing or unexpected: the network would misread its inputs."""
    if (config.vectors is None) != (vectors is None):
        raise ValueError(f"settings with vectors {config.vectors!r} and {'no' if vectors is None else 'some'} vectors")


def _build_softmax(config: LanguageModelConfig, vocabulary_size: int, table: nn.Embedding | None) -> Softmax:
    size = config.projection
    match config.softmax:
        case SampledSoftmaxConfig() as sampled:
            samples = sampled.number(config.streams * config.window, vocabulary_size)
            try:
                return SampledSoftmax(size, vocabulary_size, samples=samples)
            except ValueError as error:
                raise ConfigError(f"language model: {error}") from None
        case AdaptiveSoftmaxConfig(cutoffs=cutoffs, shrink=shrink):
            inside = [cutoff for cutoff in cutoffs if cutoff < vocabulary_size - 1]
            if inside:  # otherwise the head holds the whole vocabulary
                return AdaptiveSoftmax(size, vocabulary_size, cutoffs=inside, shrink=shrink)
    return FullSoftmax(size, vocabulary_size, table=table)


def save_language_model(lm: TrainedLm, folder: Path) -> None:
    """Write all files of a language model."""
    settings = lm.config.model_dump(mode="json", exclude={"continue_from"})  # the manifest holds the lineage
    data = {"direction": lm.direction, "vocabulary": len(lm.vocabulary), "settings": settings}
    write_json(folder / "config.json", data, sort_keys=True, ensure_ascii=True)
    lm.vocabulary.save(folder / "vocabulary.parquet")
    if lm.vectors is not None:
        lm.vectors.save(folder)
    save_file({name: tensor.cpu().contiguous() for name, tensor in lm.network.state_dict().items()},
              folder / WEIGHTS)  # fmt: skip
    hidden, cell = lm.break_state
    save_file({"hidden": hidden.cpu().contiguous(), "cell": cell.cpu().contiguous()},
              folder / "break_state.safetensors")  # fmt: skip


def load_language_model(folder: Path, device: torch.device, *, predicts: bool = True) -> TrainedLm:
    """Load a language model for embedding sentences.

    Args:
        folder: a `language-model` object.
        device: its device.
        predicts: False leaves out the softmax: enough for reading.
    """
    config = load_settings(folder)
    direction = Direction(json.loads((folder / "config.json").read_bytes())["direction"])
    vocabulary = LmVocabulary.load(folder / "vocabulary.parquet", shapes=config.unknown is Unknown.SHAPE)
    vectors = None if config.vectors is None else PretrainedVectors.load(folder)
    with torch.device("meta"), Uninitialised():
        network = build_network(config, len(vocabulary), vectors=vectors, predicts=predicts)
    with safe_open(folder / WEIGHTS, framework="pt") as weights:
        names = [name for name in weights.keys() if predicts or not name.startswith(SOFTMAX)]  # noqa: SIM118
        network.load_state_dict({name: weights.get_tensor(name) for name in names}, assign=True)
    state = load_file(folder / "break_state.safetensors")
    return TrainedLm(
        network.to(device).eval().requires_grad_(False),
        vocabulary,
        config,
        direction,
        LmState(state["hidden"].to(device), state["cell"].to(device)),
        vectors,
    )


def load_settings(folder: Path) -> LanguageModelConfig:
    """Return the settings of a language model."""
    data = json.loads((folder / "config.json").read_bytes())
    return LanguageModelConfig.model_validate(data["settings"])


def reading_bytes(folder: Path) -> int:
    """Return the bytes that reading with a language model takes: parameters without softmax, and file vectors."""
    vectors = folder / VECTORS_FILE
    more = 2 * vectors.stat().st_size if vectors.exists() else 0  # and their words as Python strings
    with safe_open(folder / WEIGHTS, framework="pt") as weights:
        slices = [weights.get_slice(name) for name in weights.keys() if not name.startswith(SOFTMAX)]  # noqa: SIM118
        return more + sum(4 * int(np.prod(part.get_shape())) for part in slices)
