"""Endless text in a fixed number of parallel streams.

A stream is sentences end to end with one boundary mark between them: `<S> w1 .. wn <S> w1 ..`. When a stream runs
short it pulls the next passage (one sentence, or some consecutive ones), so no sentence is cut except by the end of
training, and the recurrent state is carried from window to window, across sentences and shards, and never reset
(DESIGN: 6). Order: shards permuted per epoch, passages permuted inside each shard; only one shard's permutation is in
memory. A backward stream reads a passage from the last word of its last sentence.
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
        window: T, tokens a window.
        backward: whether sentences are read from their last word to their first.
        seed: seed of the order.
        passage: consecutive sentences of a shard that are read one after the other.
    """

    def __init__(
        self, shards: Sequence[Shard], *, streams: int, window: int, backward: bool, seed: int, passage: int = 1
    ) -> None:
        self._shards = [shard for shard in shards if len(shard)]
        if not self._shards:
            raise ValueError("no training sentences: the text is empty or all of it is held out")
        self._window, self._step, self._seed, self._passage = window, -1 if backward else 1, seed, passage
        self.epoch, self._place, self._read = 0, 0, 0
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
        """Words that were pulled and are in no window yet; when training ends here, they stay unread."""
        return sum(int(np.count_nonzero(row[1:] != BOUNDARY_ID)) for row in self._pending)  # row[0] was a target

    def where(self) -> str:
        """Return the position, for messages."""
        return f"epoch {self.epoch}, shard {self._order[self._place]}, sentence {self._read * self._passage:,}"

    def pack(self) -> dict[str, Any]:
        """Return the position as JSON values."""
        return {
            "epoch": self.epoch,
            "place": self._place,
            "sentence": self._read,
            "pending": [row.tolist() for row in self._pending],
        }

    def unpack(self, state: dict[str, Any]) -> None:
        """Restore what `pack` returned."""
        self.epoch = state["epoch"]
        self._start_epoch()
        self._place = state["place"]
        self._start_shard()
        self._read = state["sentence"]
        self._pending = [np.array(row, np.int32) for row in state["pending"]]

    def _pull(self) -> list[NDArray[np.int32]]:
        """Return the sentences of the next passage, in reading order."""
        while self._read == len(self._permutation):
            self._place += 1
            if self._place == len(self._shards):
                self.epoch += 1
                self._start_epoch()
            else:
                self._start_shard()
        shard = self._shards[self._order[self._place]]
        first = int(self._permutation[self._read]) * self._passage
        numbers = range(first, min(first + self._passage, len(shard)))
        self._read += 1
        return [shard.sentence(number)[:: self._step] for number in numbers[:: self._step]]

    def _start_epoch(self) -> None:
        self._order = numpy_generator(self._seed, "shards", self.epoch).permutation(len(self._shards))
        self._place = 0
        self._start_shard()

    def _start_shard(self) -> None:
        shard = int(self._order[self._place])
        generator = numpy_generator(self._seed, "sentences", self.epoch, shard)
        self._permutation = generator.permutation(-(-len(self._shards[shard]) // self._passage))
        self._read = 0


_MARK = np.zeros(1, np.int32)
