"""Streams: nothing lost, nothing cut, state carried, position resumable."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest

from taglm_core.lm.streams import Streams


@dataclass
class Memory:
    """A shard in memory."""

    sentences: list[np.ndarray]

    def __len__(self) -> int:
        return len(self.sentences)

    def sentence(self, index: int) -> np.ndarray:
        return self.sentences[index]


def shards() -> list[Memory]:
    """Three shards (one of them empty) in which every sentence has a first word of its own."""
    generator = np.random.default_rng(1)
    made = [np.append(100 + n, generator.integers(1, 99, size=n % 7)).astype(np.int32) for n in range(40)]
    return [Memory(made[:25]), Memory([]), Memory(made[25:])]


def read(streams: Streams, windows: int) -> np.ndarray:
    """Windows joined to one row per stream."""
    rows = [streams.next() for _ in range(windows)]
    for before, after in itertools.pairwise(rows):
        assert np.array_equal(before[:, -1], after[:, 0])  # the last target is the next input
    return np.concatenate([rows[0][:, :1], *(row[:, 1:] for row in rows)], axis=1)


def sentences_in(text: np.ndarray) -> list[tuple[int, ...]]:
    """Whole sentences between marks."""
    marks = np.flatnonzero(text == 0)
    return [tuple(text[a + 1 : b].tolist()) for a, b in itertools.pairwise(marks)]


def test_every_sentence_comes_whole_and_once_an_epoch() -> None:
    """Two epochs of text contain every sentence twice, uncut (but those still being read)."""
    streams = Streams(shards(), streams=3, window=4, backward=False, seed=1)
    text = read(streams, windows=25)
    found = Counter(sentence for row in text for sentence in sentences_in(row))
    known = {tuple(sentence.tolist()) for shard in shards() for sentence in shard.sentences}
    assert set(found) <= known
    assert streams.epoch >= 1
    assert len(found) == len(known)
    assert max(found.values()) <= streams.epoch + 1
    assert all(row[0] == 0 for row in text)


def test_words_read_and_unread_are_all_that_was_pulled() -> None:
    """What the end of training cuts off is counted, to the word."""
    pulled: list[int] = []

    class Counting(Memory):
        def sentence(self, index: int) -> np.ndarray:
            pulled.append(len(self.sentences[index]))
            return self.sentences[index]

    streams = Streams([Counting(shard.sentences) for shard in shards()], streams=3, window=4, backward=False, seed=1)
    assert streams.unread == 0
    windows = [streams.next() for _ in range(25)]
    assert sum(np.count_nonzero(rows[:, 1:]) for rows in windows) + streams.unread == sum(pulled)
    assert streams.unread > 0


def test_backward_streams_reverse_sentences() -> None:
    """A backward stream reads the same sentences from their last word."""
    forward = read(Streams(shards(), streams=2, window=4, backward=False, seed=1), 10)
    backward = read(Streams(shards(), streams=2, window=4, backward=True, seed=1), 10)
    for row, mirrored in zip(forward, backward, strict=True):
        pairs = list(zip(sentences_in(row), sentences_in(mirrored), strict=False))
        assert len(pairs) >= 5
        assert all(sentence == reverse[::-1] for sentence, reverse in pairs)


@pytest.mark.parametrize("backward", [False, True])
def test_passages_are_read_as_they_stand(backward: bool) -> None:
    """Consecutive sentences follow each other in one stream; a backward one reads them from the last to the first."""
    streams = Streams(shards(), streams=2, window=4, backward=backward, seed=1, passage=5)
    known = [tuple(sentence.tolist()) for sentence in (*shards()[0].sentences, *shards()[2].sentences)]
    for row in read(streams, 60):
        places = [known.index(sentence[::-1] if backward else sentence) for sentence in sentences_in(row)]
        passages = [places[start : start + 5] for start in range(0, len(places) - 4, 5)]
        assert len(passages) > 3
        for passage in passages:
            assert passage == sorted(passage, reverse=backward)
            assert {place // 5 for place in passage} == {passage[0] // 5}
        assert len({passage[0] for passage in passages}) > 3  # in an order of their own


def test_passages_of_one_sentence_are_the_usual_order() -> None:
    """The setting's default changes nothing."""
    usual = read(Streams(shards(), streams=2, window=4, backward=True, seed=1), 10)
    assert np.array_equal(usual, read(Streams(shards(), streams=2, window=4, backward=True, seed=1, passage=1), 10))


def test_order_depends_on_seed_and_epoch() -> None:
    """Another seed, another order."""
    one, two = (read(Streams(shards(), streams=2, window=4, backward=False, seed=seed), 5) for seed in (1, 2))
    assert not np.array_equal(one, two)


@pytest.mark.parametrize("passage", [1, 3])
def test_position_is_resumed_exactly(passage: int) -> None:
    """Packed after any number of windows and unpacked elsewhere, the same text goes on."""
    for done in (0, 1, 7, 30):
        first = Streams(shards(), streams=3, window=4, backward=True, seed=1, passage=passage)
        for _ in range(done):
            first.next()
        second = Streams(shards(), streams=3, window=4, backward=True, seed=1, passage=passage)
        second.unpack(first.pack())
        assert np.array_equal(read(first, 12), read(second, 12))


def test_every_epoch_has_its_own_order() -> None:
    """The sentences of the second epoch are those of the first, in another order."""
    shard = shards()[0]
    (text,) = read(Streams([shard], streams=1, window=4, backward=False, seed=1), 80)
    found, count = sentences_in(text), len(shard)
    first, second = found[:count], found[count : 2 * count]
    assert sorted(first) == sorted(second)
    assert first != second
