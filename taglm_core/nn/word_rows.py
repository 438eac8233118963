"""Rows of numbers of words, kept across calls: texts repeat their words."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

_LEAST_ROWS = 1_024  # of a table that grows


class WordRows:
    """A table with a row for each word met before.

    Args:
        like: a tensor of the device and dtype of the rows.
        width: D, numbers a row.
        most: most words to keep; beyond that all are encoded again.
    """

    def __init__(self, like: Tensor, width: int, most: int) -> None:
        self._most = max(1, most)
        self._places: dict[str, int] = {}
        self._rows = like.new_empty(0, width)

    @torch.no_grad()
    def of(self, words: Sequence[str], encode: Callable[[Sequence[int]], Tensor]) -> Tensor:
        """Return the rows of distinct words [N, D].

        Args:
            words: the words.
            encode: returns the rows of some of them, given their places in `words`.
        """
        new = [place for place, word in enumerate(words) if word not in self._places]
        if len(self._places) + len(new) > self._most:
            self._places, new = {}, list(range(len(words)))
        if new:
            first = len(self._places)
            self._reserve(first + len(new))
            self._rows[first : first + len(new)] = encode(new)
            self._places |= {words[place]: first + number for number, place in enumerate(new)}
        return self._rows[torch.tensor([self._places[word] for word in words], device=self._rows.device)]

    def clear(self) -> None:
        """Forget all words."""
        self._places = {}

    def _reserve(self, rows: int) -> None:
        if rows > len(self._rows):
            grown = self._rows.new_empty(max(rows, 2 * len(self._rows), _LEAST_ROWS), self._rows.shape[1])
            grown[: len(self._places)] = self._rows[: len(self._places)]
            self._rows = grown
