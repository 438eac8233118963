"""LM embeddings of sentences: the states of a language model after each token.

The unit of reading is a passage: one sentence, starting from the break state, or with `context: document` all sentences
of a document, each after `<S>`, with carried state. A backward model reads a passage from its end. Batches of passages
are read in windows with carried state, so memory does not grow with their length; passages that have ended leave the
batch at the next window.

Batches are canonical, so interruptions and parallel work change no bits: distinct sentences in the order of their first
occurrence, shards of about `shard_tokens`, and in a shard batches of a fixed number of passages, longest first. Other
batches change the last bits: float32 states agree to 1e-5 of the largest.

Axes: T positions of a window, B passages, N distinct words, n tokens, P state size, W = layers * P.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from taglm_core.config.embedding import Context, EmbeddingConfig
from taglm_core.config.language_model import Direction
from taglm_core.corpus.sentence import map_tokens
from taglm_core.corpus.token_bytes import BOUNDARY
from taglm_core.errors import ConfigError, InputError
from taglm_core.lm.cache_parts import CacheKey
from taglm_core.lm.model import TrainedLm, WordTable
from taglm_core.nn.lm_network import LanguageModel
from taglm_core.training.devices import upload

Tokens = tuple[str, ...]
Passage = tuple[Tokens, ...]
Write = Callable[[NDArray[np.int64], NDArray[np.float32]], None]
FLOAT16_MAX = 65_504.0
POSITIONS = 4_096  # tokens read at once by all passages of a batch: about as many as in training
LONGEST_WINDOW = 1_024
ENCODED = 1_024  # number of words whose characters are encoded at once


class WordSource(Protocol):
    """What a language model reads of words.

    Attributes:
        projected: whether it gives their part of the first layer's gates [N, 4U], else their vectors [N, D].
    """

    projected: bool

    def __call__(self, words: Sequence[str]) -> Tensor:
        """Return the rows of distinct words."""


def read_layers(lm: TrainedLm, config: EmbeddingConfig) -> tuple[int, ...]:
    """Return the layers to keep, counted from 1.

    Raises:
        ConfigError: the language model has no such layer.
    """
    count = lm.config.layers
    if config.layers == "top":
        return (count,)
    if config.layers == "all":
        return tuple(range(1, count + 1))
    if max(config.layers) > count:
        raise ConfigError(f"embedding.layers is {list(config.layers)}; the language model has layers 1 to {count}; "
                          "name some of these, or top, or all")  # fmt: skip
    return config.layers


def cache_key(lm: TrainedLm, config: EmbeddingConfig, *, language_model: str, corpus: str, version: int) -> CacheKey:
    """Return the full key of a language model's embeddings of a corpus."""
    return CacheKey(language_model, corpus, read_layers(lm, config), lm.size, config.precision, str(config.context),
                    dict(config.token_map), version)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shard:
    """The passages of one shard, with the tokens of the labelled data.

    Attributes:
        number: number of the shard.
        passages: its passages, in the order of their rows.
    """

    number: int
    passages: tuple[Passage, ...]

    @property
    def rows(self) -> int:
        """Number of tokens of all passages."""
        return sum(len(sentence) for passage in self.passages for sentence in passage)

    def token(self, row: int) -> tuple[Tokens, int]:
        """Return the sentence of a row, and the position of the row's token in it."""
        for passage in self.passages:
            for sentence in passage:
                if row < len(sentence):
                    return sentence, row
                row -= len(sentence)
        raise IndexError(row)


def read_passages(
    lm: TrainedLm,
    passages: Sequence[Passage],
    layers: Sequence[int],
    write: Write,
    *,
    batch: int,
    check_stop: Callable[[], None] = lambda: None,
    words_of: WordSource | None = None,
) -> None:
    """Read passages, and pass the states of their tokens to `write`.

    Args:
        lm: the language model.
        passages: passages with the spelling of the LM's text.
        layers: layers whose states are joined, counted from 1.
        write: receives rows [n] (numbers of tokens, counted over all passages in order) and their states [n, W].
        batch: number of passages in a batch.
        check_stop: called before each window; raises to stop.
        words_of: what the first layer reads of distinct words, if it is kept; see `lm.online.WordCache`.
    """
    words = [BOUNDARY, *dict.fromkeys(token for passage in passages for sentence in passage for token in sentence)]
    numbers = {word: number for number, word in enumerate(words)}
    firsts = np.cumsum([0, *(sum(map(len, passage)) for passage in passages)])
    step = -1 if lm.direction is Direction.BACKWARD else 1
    projected = words_of is not None and words_of.projected
    order = sorted(range(len(passages)), key=lambda number: (-_positions(passages[number]), number))
    with torch.no_grad():
        vectors = encode_table(lm.network, lm.table(words)) if words_of is None else words_of(words)
        for start in range(0, len(order), batch):
            chosen = [_Strand.of(passages[number], int(firsts[number]), numbers, step)
                      for number in order[start : start + batch]]  # fmt: skip
            _read_batch(lm, vectors, chosen, layers, write, check_stop, projected=projected)


def _positions(passage: Passage) -> int:
    return sum(len(sentence) + 1 for sentence in passage)


@dataclass(frozen=True, slots=True)
class _Strand:
    """A passage in reading order, with a mark before each sentence: word numbers, and rows (-1 for marks)."""

    words: NDArray[np.int64]
    rows: NDArray[np.int64]

    @classmethod
    def of(cls, passage: Passage, first: int, numbers: Mapping[str, int], step: int) -> _Strand:
        words: list[int] = []
        rows: list[int] = []
        starts = np.cumsum([first, *map(len, passage)]).tolist()
        for sentence, start in list(zip(passage, starts[:-1], strict=True))[::step]:
            words += [0, *(numbers[token] for token in sentence[::step])]
            rows += [-1, *range(start, start + len(sentence))[::step]]
        return cls(np.array(words, np.int64), np.array(rows, np.int64))


def encode_table(network: LanguageModel, table: WordTable) -> Tensor:
    """Return the word vectors [N, D] of all words of a table, encoded once each in blocks of a fixed size."""
    weight = next(network.parameters())
    vectors = weight.new_empty(len(table), network.size)
    for start in range(0, len(table), ENCODED):
        block = np.arange(start, min(start + ENCODED, len(table)))
        vectors[start : start + ENCODED] = network.encoder(upload(table.distinct(block), weight.device))
    return vectors


def _read_batch(lm: TrainedLm, vectors: Tensor, strands: list[_Strand], layers: Sequence[int], write: Write,
                check_stop: Callable[[], None], *, projected: bool) -> None:  # fmt: skip
    """Read strands side by side, longest first, window by window."""
    state, start = lm.break_state.expand(len(strands)), 0
    while strands := [strand for strand in strands if len(strand.words) > start]:
        check_stop()
        state = state.first(len(strands))
        longest = len(strands[0].words) - start
        window = min(longest, LONGEST_WINDOW, max(1, POSITIONS // len(strands)))
        words, rows = np.zeros((window, len(strands)), np.int64), np.full((window, len(strands)), -1, np.int64)
        for column, strand in enumerate(strands):
            part = strand.words[start : start + window]
            words[: len(part), column], rows[: len(part), column] = part, strand.rows[start : start + window]
        distinct, index = np.unique(words, return_inverse=True)
        chosen = vectors[upload(torch.from_numpy(distinct), vectors.device)]
        found, state = lm.network.layer_states(
            chosen, upload(torch.from_numpy(index.reshape(words.shape)), vectors.device), state, projected=projected
        )
        inside = rows >= 0
        kept = torch.cat([found[layer - 1] for layer in layers], 2)[torch.from_numpy(inside).to(vectors.device)]
        write(rows[inside], kept.cpu().numpy())
        start += window


def check_states(states: NDArray[np.float32], key_precision: str, token: Callable[[int], tuple[Tokens, int]]) -> None:
    """Refuse states [n, W] that the precision cannot hold.

    Args:
        states: states of some tokens.
        key_precision: precision in which they will be stored.
        token: returns sentence and position of the i-th token.

    Raises:
        InputError: a state is not finite, or too large for float16; the message names token and dimension.
    """
    limit = FLOAT16_MAX if key_precision == "float16" else float(np.finfo(np.float32).max)
    bad = ~(np.abs(states) <= limit)
    if not bad.any():
        return
    row, dimension = (int(found[0]) for found in np.nonzero(bad))
    sentence, position = token(row)
    wide = "" if key_precision != "float16" else ", or embedding.precision=float32"
    raise InputError(
        "sentence " + " ".join(sentence)[:200],
        None,
        f"state {states[row, dimension]} at token {position + 1} ({sentence[position]!r}), dimension {dimension}",
        f"a finite number up to {limit:,.0f}" if limit == FLOAT16_MAX else "a finite number",
        f"train the language model with a lower learning_rate or clip{wide}",
    )


def embed_shard(lm: TrainedLm, shard: Shard, key: CacheKey, write: Write, *, batch: int,
                check_stop: Callable[[], None] = lambda: None,
                words_of: WordSource | None = None) -> None:  # fmt: skip
    """Read the passages of a shard, with the spelling of the language model's text.

    Args:
        lm: the language model.
        shard: its passages, with the tokens of the labelled data.
        key: layers, precision and token map.
        write: receives rows [n] and their finite states [n, W].
        batch: number of passages in a batch.
        check_stop: called before each window; raises to stop.
        words_of: as in `read_passages`.

    Raises:
        InputError: the precision cannot hold a state.
    """

    def checked(rows: NDArray[np.int64], states: NDArray[np.float32]) -> None:
        check_states(states, key.precision, lambda found: shard.token(int(rows[found])))
        write(rows, states)

    passages = [tuple(map_tokens(sentence, key.token_map) for sentence in passage) for passage in shard.passages]
    read_passages(lm, passages, key.layers, checked, batch=batch, check_stop=check_stop, words_of=words_of)


def passages_of(sentences: Iterable[tuple[Tokens, int]], context: Context) -> Iterator[Passage]:
    """Group sentences with their documents into passages that are read in one go."""
    current: list[Tokens] = []
    last: int | None = None
    for tokens, document in sentences:
        if current and (context is Context.SENTENCE or document != last):
            yield tuple(current)
            current = []
        current.append(tokens)
        last = document
    if current:
        yield tuple(current)
