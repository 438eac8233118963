"""LM embeddings of sentences: top-layer states, one per token.

Batches are canonical, so the same bits come out whatever was interrupted or done in parallel: distinct sentences in
the order of their first occurrence, shards of a fixed number of them, and inside a shard batches of a fixed number,
shortest sentences first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from taglm_core.config.language_model import Direction
from taglm_core.corpus.vocabulary import BOUNDARY
from taglm_core.errors import InputError
from taglm_core.lm.cache import IndexEntry, token_digest
from taglm_core.lm.model import TrainedLm, WordTable
from taglm_core.lm.reading import pad, sentence_states

Tokens = tuple[str, ...]
FLOAT16_MAX = 65_504.0


def embed_sentences(lm: TrainedLm, sentences: Sequence[Tokens], batch: int) -> list[NDArray[np.float32]]:
    """Embeddings of sentences that all start from the break state: one [n, P] each, in sentence order.

    Args:
        lm: the language model; a backward one reads each sentence from its end.
        sentences: tokens as the LM's text writes them.
        batch: sentences read at once, shortest first.
    """
    words = [BOUNDARY, *dict.fromkeys(token for sentence in sentences for token in sentence)]
    numbers = {word: number for number, word in enumerate(words)}
    table = WordTable(words, lm.vocabulary, lm.config)
    step = -1 if lm.direction is Direction.BACKWARD else 1
    result: list[NDArray[np.float32]] = [np.empty((0, lm.size), np.float32)] * len(sentences)
    order = sorted(range(len(sentences)), key=lambda number: (len(sentences[number]), number))
    with torch.no_grad():
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            coded = [np.array([numbers[token] for token in sentences[number]][::step], np.int32) for number in chosen]
            states = sentence_states(lm.network, table, pad(coded), lm.break_state).cpu().numpy()  # [T, B, P]
            for column, number in enumerate(chosen):
                # row 0 has read the mark alone and is dropped
                result[number] = states[1 : len(sentences[number]) + 1, column][::step].copy()
    return result


def map_tokens(tokens: Tokens, token_map: Mapping[str, str]) -> Tokens:
    """Tokens as the LM's text writes them."""
    return tuple(token_map.get(token, token) for token in tokens)


def to_float16(states: NDArray[np.float32], sentence: Tokens) -> NDArray[np.float16]:
    """Round states [n, P] to float16.

    Raises:
        InputError: a state is not finite or too large for float16, with token and dimension.
    """
    bad = ~(np.abs(states) <= FLOAT16_MAX)
    if bad.any():
        token, dimension = (int(place[0]) for place in np.nonzero(bad))
        raise InputError(
            "sentence " + " ".join(sentence)[:200],
            None,
            f"state {states[token, dimension]} at token {token + 1} ({sentence[token]!r}), dimension {dimension}",
            f"a finite number up to {FLOAT16_MAX:,.0f}",
            "train the language model with a lower learning_rate or clip",
        )
    return states.astype(np.float16)


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """The distinct sentences of one shard, as the LM reads them."""

    number: int
    sentences: tuple[Tokens, ...]


class Indexer:
    """Assigns every sentence of a corpus its place in the shards; identical sentences share one.

    Args:
        shard_sentences: distinct sentences a shard.
        token_map: task token -> LM token.
    """

    def __init__(self, shard_sentences: int, token_map: Mapping[str, str]) -> None:
        self._size, self._map = shard_sentences, dict(token_map)
        self._places: dict[bytes, IndexEntry] = {}
        self.entries: list[IndexEntry] = []

    def shards(self, sentences: Iterable[Tokens]) -> Iterator[ShardPlan]:
        """Read a corpus once; yields each shard as soon as it is full, the last one when the corpus ends."""
        number, row, current = 0, 0, []
        for tokens in sentences:
            digest = token_digest(tokens)
            place = self._places.get(digest)
            if place is None:
                place = self._places[digest] = IndexEntry(number, row, len(tokens), digest)
                current.append(map_tokens(tokens, self._map))
                row += len(tokens)
            self.entries.append(place)
            if len(current) == self._size:
                yield ShardPlan(number, tuple(current))
                number, row, current = number + 1, 0, []
        if current:
            yield ShardPlan(number, tuple(current))
