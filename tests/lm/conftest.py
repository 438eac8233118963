"""A small text, and small language models over it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from taglm_core.config.language_model import CharCnnInput, Direction, FullSoftmax, LanguageModelConfig, WordInput
from taglm_core.corpus.token_bytes import BOUNDARY
from taglm_core.lm.extraction import Tokens, read_passages
from taglm_core.lm.lm_vocabulary import LmVocabulary
from taglm_core.lm.model import TrainedLm, WordTable, build_network
from taglm_core.lm.pretrained import PretrainedVectors
from taglm_core.training.devices import open_device
from taglm_core.training.randomness import seed_torch

WORDS = tuple(f"w{number}" for number in range(30))


def small_config(kind: str, **changes: object) -> LanguageModelConfig:
    """A model small enough to train in a second."""
    entry = CharCnnInput(dim=4, filters=((1, 4), (2, 8)), size=12) if kind == "char-cnn" else WordInput(size=12)
    values = {"input": entry, "units": 24, "projection": 10, "softmax": FullSoftmax(), "dropout": 0.0,
              "vocabulary_size": 80, "min_count": 1, "streams": 4, "window": 5, "warmup_steps": 2}  # fmt: skip
    return LanguageModelConfig.model_validate(values | changes)


@dataclass(frozen=True)
class Small:
    """An untrained language model over WORDS, with its word table."""

    lm: TrainedLm
    table: WordTable


VECTORS = PretrainedVectors(
    (*WORDS[2::2], "w00"), np.random.default_rng(2).normal(size=(15, 7)).astype(np.float32), in_file=15
)


@pytest.fixture(params=["char-cnn", "word", "deep", "word with vectors", "char-cnn with vectors"])
def small(request: pytest.FixtureRequest) -> Small:
    """One language model of each input kind, with a break state that is not zero."""
    open_device("cpu", 1)
    kind, _, beside = request.param.partition(" with ")
    changes: dict[str, object] = {"vectors": "a file"} if beside else {}
    if kind == "deep":
        kind, changes = "word", {"layers": 3, "residual": True}
    config, vectors = small_config(kind, **changes), VECTORS if beside else None
    vocabulary = LmVocabulary(WORDS, shapes=True)
    seed_torch(3, "test")
    network = build_network(config, len(vocabulary), vectors=vectors).eval()
    state = network.zero_state(1)
    for part in state:
        part.normal_()
    lm = TrainedLm(network, vocabulary, config, Direction.FORWARD, state, vectors)
    return Small(lm, lm.table([BOUNDARY, *WORDS]))


@pytest.fixture
def sentences() -> list[np.ndarray]:
    """Sentences of word numbers, of lengths 1 to 9."""
    generator = np.random.default_rng(5)
    return [generator.integers(1, 31, size=length).astype(np.int32) for length in (3, 1, 9, 4, 4, 7, 2)]


@pytest.fixture(autouse=True)
def _no_gradients() -> None:
    torch.set_grad_enabled(True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder."""
    path = tmp_path / "object"
    path.mkdir()
    return path


def states_of(lm: TrainedLm, sentences: Sequence[Tokens], batch: int = 64) -> list[np.ndarray]:
    """Exact top-layer states of sentences read one by one: [n, P] each."""
    borders = np.cumsum([0, *map(len, sentences)])
    states = np.full((borders[-1], lm.size), np.nan, np.float32)
    passages = [(sentence,) for sentence in sentences]
    read_passages(lm, passages, [lm.config.layers], lambda rows, found: states.__setitem__(rows, found), batch=batch)
    return np.split(states, borders[1:-1])
