"""From sentences to batches: the same for training, evaluation and prediction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from taglm_core.corpus.token_bytes import encode_words
from taglm_core.nn.tagger_network import Batch
from taglm_core.tagging.words import UNKNOWN_ID, TaggerWords, normalise

POOL_BATCHES = 16  # sentences are shuffled, then sorted by length inside pools of this many batches


class States(Protocol):
    """LM embeddings by sentence number."""

    @property
    def size(self) -> int:
        """W, numbers a token."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """float16 or float32: the narrowest type that holds the embeddings."""

    def gather(self, numbers: NDArray[np.int64], out: NDArray[Any]) -> None:
        """Write the embeddings of sentences to `out` [B, T, W], padded on the right with zeros."""


@dataclass(frozen=True)
class JoinedStates:
    """LM embeddings of two splits as one: the sentences of the first, then those of the second.

    Attributes:
        first: embeddings of the first split.
        count: number of its sentences.
        second: embeddings of the second split, by the same language model.
    """

    first: States
    count: int
    second: States

    @property
    def size(self) -> int:
        """P, width of the states."""
        return self.first.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """float16 or float32: the narrowest type that holds the embeddings."""
        return np.result_type(self.first.dtype, self.second.dtype)

    def gather(self, numbers: NDArray[np.int64], out: NDArray[Any]) -> None:
        """Write the embeddings of sentences to `out` [B, T, W], padded on the right with zeros."""
        for target, number in zip(out[:, None], numbers, strict=True):
            here = number < self.count
            (self.first if here else self.second).gather(np.array([number if here else number - self.count]), target)


@dataclass(frozen=True)
class Dataset:
    """Encoded sentences of one split.

    Attributes:
        tokens: raw tokens by sentence.
        tags: tag codes of each sentence [n], or None without tags to learn from.
        states: LM embeddings, joined in this order.
        words: row of the word table of each distinct token.
        chars: symbols of each distinct token [n, C].
        token_ids: indices of distinct tokens, by sentence [n].
    """

    tokens: Sequence[Sequence[str]]
    tags: Sequence[NDArray[np.int64]] | None
    states: Sequence[States]
    words: NDArray[np.int64]
    chars: NDArray[np.int64]
    token_ids: Sequence[NDArray[np.int64]]

    @classmethod
    def encode(
        cls,
        tokens: Sequence[Sequence[str]],
        *,
        words: TaggerWords,
        frozen: Mapping[str, int],
        max_bytes: int,
        states: Sequence[States] = (),
        tags: Sequence[Sequence[str]] | None = None,
        tag_ids: Mapping[str, int] | None = None,
    ) -> Dataset:
        """Encode sentences.

        Args:
            tokens: raw tokens by sentence.
            words: the tagger's trainable words.
            frozen: row (counted after the trainable table) of tokens that have only a frozen vector.
            max_bytes: longer words keep their first and last bytes.
            states: LM embeddings of these sentences.
            tags: tags by sentence; all must be in `tag_ids`.
            tag_ids: code of each tag.
        """
        distinct = list(dict.fromkeys(token for sentence in tokens for token in sentence))
        numbers = {token: number for number, token in enumerate(distinct)}
        rows = [words.ids.get(normalise(token), frozen.get(token, -1)) for token in distinct]
        known = np.array([row if row >= 0 else UNKNOWN_ID for row in rows], np.int64)
        return cls(
            tokens,
            None if tags is None or tag_ids is None else [np.array([tag_ids[t] for t in s], np.int64) for s in tags],
            states,
            known,
            encode_words(distinct, max_bytes=max_bytes).astype(np.int64),
            [np.array([numbers[token] for token in sentence], np.int64) for sentence in tokens],
        )

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of tokens of each sentence."""
        return np.array([len(sentence) for sentence in self.tokens], np.int64)

    def batch(self, chosen: Sequence[int]) -> Batch:
        """Build the batch of some sentences, padded on the right, with the characters of each distinct token once."""
        lengths = np.array([len(self.tokens[number]) for number in chosen], np.int64)
        B, T = len(chosen), int(lengths.max())
        mask = np.arange(T)[None, :] < lengths[:, None]  # [B, T]
        flat = np.concatenate([self.token_ids[number] for number in chosen])
        distinct, positions = np.unique(flat, return_inverse=True)
        index = np.zeros((B, T), np.int64)
        index[mask] = positions
        words = np.zeros((B, T), np.int64)
        words[mask] = self.words[flat]
        chars = self.chars[distinct]
        chars = chars[:, : int((chars != 0).sum(axis=1).max())]
        tags = None
        if self.tags is not None:
            coded = np.zeros((B, T), np.int64)
            coded[mask] = np.concatenate([self.tags[number] for number in chosen])
            tags = torch.from_numpy(coded)
        return Batch(
            words=torch.from_numpy(words),
            distinct_chars=torch.from_numpy(np.ascontiguousarray(chars)),
            char_index=torch.from_numpy(index),
            lengths=torch.from_numpy(lengths),
            mask=torch.from_numpy(mask),
            tags=tags,
            lm=self._gather(chosen, B, T),
        )

    def distinct_tokens(self, chosen: Sequence[int]) -> list[str]:
        """Return the distinct tokens of some sentences, in the order of `Batch.distinct_chars`."""
        flat = [(index, token) for number in chosen
                for index, token in zip(self.token_ids[number].tolist(), self.tokens[number], strict=True)]  # fmt: skip
        return [token for _, token in sorted(dict(flat).items())]

    def _gather(self, chosen: Sequence[int], B: int, T: int) -> torch.Tensor | None:
        """Return the LM embeddings [B, T, L] of a batch, all language models side by side; zero at padding."""
        if not self.states:
            return None
        dtype = np.result_type(*(states.dtype for states in self.states))  # the network makes them float32
        joined = np.empty((B, T, sum(states.size for states in self.states)), dtype)
        numbers, start = np.asarray(chosen, np.int64), 0
        for states in self.states:
            states.gather(numbers, joined[:, :, start : start + states.size])
            start += states.size
        return torch.from_numpy(joined)


def training_batches(
    lengths: NDArray[np.int64], batch_size: int, generator: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Return an epoch of shuffled batches of sentences of similar length: little padding, nearly full randomness."""
    order = generator.permutation(len(lengths))
    pool = batch_size * POOL_BATCHES
    batches: list[NDArray[np.int64]] = []
    for start in range(0, len(order), pool):
        chosen = order[start : start + pool]
        chosen = chosen[np.argsort(lengths[chosen], kind="stable")]
        batches += [chosen[first : first + batch_size] for first in range(0, len(chosen), batch_size)]
    return [batches[number] for number in generator.permutation(len(batches))]


def reading_batches(lengths: NDArray[np.int64], batch_size: int) -> Iterator[NDArray[np.int64]]:
    """Yield all sentences once, shortest first, in batches."""
    order = np.argsort(lengths, kind="stable")
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]
