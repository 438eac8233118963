"""Endless text in a fixed number of parallel streams.

A stream is a sequence of sentences with one boundary mark between them: `<S> w1 .. wn <S> w1 ..`. A stream that runs
short pulls the next passage (one or some consecutive sentences), so only the end of training cuts a sentence. The
recurrent state is carried from window to window, across sentences and shards, and never reset. Shards are permuted per
epoch, passages inside each shard; memory holds the permutation of one shard. A backward stream reads a passage from the
last word of its last sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taglm_core.corpus.token_ids import Shard
from taglm_core.training.randomness import numpy_generator

BOUNDARY_ID = 0


class Streams:
    """Reads windows of all streams.

    Args:
        shards: the training sentences.
        streams: B, number of streams.
        window: T, tokens of a window.
        backward: whether sentences are read from their last word to their first.
        seed: seed of the order.
        passage: number of consecutive sentences that are kept together.
    """

    def __init__(
        self, shards: Sequence[Shard], *, streams: int, window: int, backward: bool, seed: int, passage: int = 1
    ) -> None:
        self._shards = [shard for shard in shards if len(shard)]
        if not self._shards:
            raise ValueError("no training sentences: the text is empty or all of it is held out")
        self._window, self._step, self._seed, self._passage = window, -1 if backward else 1, seed, passage
        self.epoch, self._position, self._read = 0, 0, 0
        self._start_epoch()
        self._pending = [np.zeros(1, np.int32) for _ in range(streams)]  # each text begins with the boundary mark

    def next(self) -> NDArray[np.int32]:
        """Return the next window of every stream [B, T + 1]: columns 0..T-1 are inputs, 1..T are targets."""
        rows = np.empty((len(self._pending), self._window + 1), np.int32)
        for number, pending in enumerate(self._pending):
            parts, have = [pending], len(pending)
            while have <= self._window:
                for sentence in self._pull():
                    parts += [sentence, _MARK]
                    have += len(sentence) + 1
            text = np.concatenate(parts)
            rows[number] = text[: self._window + 1]
            self._pending[number] = text[self._window :].copy()  # the last target is the next window's first input
        return rows

    @property
    def unread(self) -> int:
        """Number of words that were pulled but are in no window yet; at the end of training they stay unread."""
        return sum(int(np.count_nonzero(row[1:] != BOUNDARY_ID)) for row in self._pending)  # row[0] was a target

    def where(self) -> str:
        """Return the position, for messages."""
        return f"epoch {self.epoch}, shard {self._order[self._position]}, sentence {self._read * self._passage:,}"

    def pack(self) -> dict[str, Any]:
        """Return the position as JSON values."""
        return {
            "epoch": self.epoch,
            "place": self._position,
            "sentence": self._read,
            "pending": [row.tolist() for row in self._pending],
        }

    def unpack(self, state: dict[str, Any]) -> None:
        """Restore what `pack` returned."""
        self.epoch = state["epoch"]
        self._start_epoch()
        self._position = state["place"]
        self._start_shard()
        self._read = state["sentence"]
        self._pending = [np.array(row, np.int32) for row in state["pending"]]

    def _pull(self) -> list[NDArray[np.int32]]:
        """Return the sentences of the next passage, in reading order."""
        while self._read == len(self._permutation):
            self._position += 1
            if self._position == len(self._shards):
                self.epoch += 1
                self._start_epoch()
            else:
                self._start_shard()
        shard = self._shards[self._order[self._position]]
        first = int(self._permutation[self._read]) * self._passage
        numbers = range(first, min(first + self._passage, len(shard)))
        self._read += 1
        return [shard.sentence(number)[:: self._step] for number in numbers[:: self._step]]

    def _start_epoch(self) -> None:
        self._order = numpy_generator(self._seed, "shards", self.epoch).permutation(len(self._shards))
        self._position = 0
        self._start_shard()

    def _start_shard(self) -> None:
        shard = int(self._order[self._position])
        generator = numpy_generator(self._seed, "sentences", self.epoch, shard)
        self._permutation = generator.permutation(-(-len(self._shards[shard]) // self._passage))
        self._read = 0


_MARK = np.zeros(1, np.int32)
