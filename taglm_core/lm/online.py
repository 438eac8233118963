"""LM embeddings of sentences that are tagged at once, in memory, by the code that fills the cache."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from taglm_core.config.embedding import EmbeddingConfig
from taglm_core.lm.cache_parts import CacheKey, decode, encode
from taglm_core.lm.extraction import (
    Shard,
    Tokens,
    WordSource,
    cache_key,
    embed_shard,
    encode_table,
    passages_of,
)
from taglm_core.lm.model import TrainedLm
from taglm_core.nn.word_rows import WordRows


@dataclass(frozen=True, slots=True)
class OnlineStates:
    """Embeddings of a few sentences, in memory, rounded as in a cache.

    Attributes:
        key: their format.
        states: states [n, W] of each sentence.
    """

    key: CacheKey
    states: Sequence[NDArray[Any]]

    @property
    def size(self) -> int:
        """W, numbers a token."""
        return self.key.width

    @property
    def dtype(self) -> np.dtype[Any]:
        """float16 or float32."""
        return self.key.dtype

    def gather(self, numbers: Sequence[int] | NDArray[np.int64], out: NDArray[Any]) -> None:
        """Write the embeddings of sentences to `out` [B, T, W], padded on the right with zeros."""
        for target, number in zip(out, numbers, strict=True):
            length = len(self.states[number])
            target[:length], target[length:] = self.states[number], 0


def embed_online(lm: TrainedLm, sentences: Sequence[Tokens], config: EmbeddingConfig,
                 documents: Sequence[int] | None = None,
                 words: WordSource | None = None) -> OnlineStates:  # fmt: skip
    """Embed given sentences with the code that fills the cache, in the precision that a cache would keep.

    Args:
        lm: the language model.
        sentences: tokens of the labelled data.
        config: settings of the embeddings.
        documents: document of each sentence, those of one document in a row; None: each sentence is a document. Used
            by `context: document` alone.
        words: a `WordCache` of the language model, so that words met before are not encoded again.
    """
    key = cache_key(lm, config, language_model="", corpus="", version=0)
    groups = range(len(sentences)) if documents is None else documents
    shard = Shard(0, tuple(passages_of(zip(sentences, groups, strict=True), config.context)))
    states = np.empty((shard.rows, key.width), np.float32)
    embed_shard(
        lm, shard, key, lambda rows, found: states.__setitem__(rows, found), batch=config.batch_sentences,
        words_of=words,
    )  # fmt: skip
    borders = np.cumsum([0, *map(len, sentences)]).tolist()
    values = decode(encode(states, key), key)
    return OnlineStates(key, [values[first:last] for first, last in itertools.pairwise(borders)])


class WordCache:
    """What a language model reads of words, kept across calls.

    On the CPU that is the words' part of the first layer's gates, elsewhere their vectors.

    Args:
        lm: the language model.
        words: most words to keep.
        size: most bytes to keep.

    Attributes:
        projected: see `WordSource`.
    """

    def __init__(self, lm: TrainedLm, words: int, size: int = 2**28) -> None:
        weight = next(lm.network.parameters())
        self.projected = weight.device.type == "cpu"
        width = 4 * lm.network.units if self.projected else lm.network.size
        self._lm, self._rows = lm, WordRows(weight, width, min(words, size // (4 * width)))

    def __call__(self, words: Sequence[str]) -> Tensor:
        """Return the rows of distinct words [N, 4U] or [N, D]."""

        def encode(places: Sequence[int]) -> Tensor:
            network = self._lm.network
            vectors = encode_table(network, self._lm.table([words[place] for place in places]))
            return network.project(vectors) if self.projected else vectors

        return self._rows.of(words, encode)

    def clear(self) -> None:
        """Forget all words."""
        self._rows.clear()
