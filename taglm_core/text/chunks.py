"""The tokens of a sentence, found once for each distinct chunk between spaces.

Text repeats its chunks, and the rules of most tokenizers look no further than the chunk and whether it ends its
sentence. So the tokens of chunks are kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import chain
from typing import TypeVar

from taglm_core.text.spelling import Spelling
from taglm_core.text.tokenizers import Tokenizer

_T = TypeVar("_T")
Placed = tuple[str, int, int]
"""A token, as the training data spell it, with its start and end."""

MOST_KEPT = 2**17
"""Distinct chunks that are kept inside sentences, and at their ends."""

_LONGEST_KEPT = 64  # characters
_CHUNK = re.compile(r"\S+")
_SPACE = re.compile(r"\s")
_QUOTES = re.compile("[\"'`]")
_INSIDE, _END = 0, 1  # a full stop is a token at the end of a sentence


class Chunks:
    """The tokens of sentences.

    Args:
        tokenizer: the tokenizer.
        spelling: spelling of the training data.
    """

    def __init__(self, tokenizer: Tokenizer, spelling: Spelling) -> None:
        self._tokenizer, self._spelling = tokenizer, spelling
        self._inside: dict[str, tuple[str, ...]] = {}
        self._ends: dict[str, tuple[str, ...]] = {"": ()}
        self._placed: tuple[dict[str, tuple[Placed, ...]], ...] = ({}, {})

    def tokens(self, sentences: Iterable[str]) -> list[list[str]]:
        """Return the tokens of the sentences of a text; a sentence may have none."""
        if not self._tokenizer.local:
            return [[token for token, _, _ in self._find(sentence)] for sentence in sentences]
        ends, split, kept = [], [sentence.split() for sentence in sentences], self._inside
        for chunks in split:
            ends.append(chunks.pop() if chunks else "")
        new = set().union(*split).difference(kept)
        if len(kept) + len(new) > MOST_KEPT:
            kept = self._inside = {}  # another thread may still read the old one
            new = set().union(*split)
        tokens = self._found(new)
        kept.update((chunk, found) for chunk, found in tokens.items() if len(chunk) <= _LONGEST_KEPT)
        return [
            [*chain.from_iterable([kept.get(chunk) or tokens[chunk] for chunk in chunks]), *self._tokens_of_end(end)]
            for chunks, end in zip(split, ends, strict=True)
        ]

    def placed(self, sentence: str) -> list[Placed]:
        """Return the tokens of a sentence with their places in it; none if it has none."""
        if not self._tokenizer.local:
            return self._find(sentence)
        tokens: list[Placed] = []
        chunks = list(_CHUNK.finditer(sentence))
        for number, chunk in enumerate(chunks, 1):
            start, place = chunk.start(), _END if number == len(chunks) else _INSIDE
            placed = self._placed[place].get(chunk[0])
            if placed is None:
                placed = tuple(self._find_in_chunk(chunk[0], place))
                _keep(self._placed[place], chunk[0], placed)
            tokens += [(token, start + first, start + last) for token, first, last in placed]
        return tokens

    def _found(self, chunks: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Return the tokens of chunks inside sentences; those without quotation marks are tokenised all at once."""
        plain = []
        tokens: dict[str, tuple[str, ...]] = {}
        for chunk in chunks:
            if _QUOTES.search(self._spelling.prepared(chunk)):
                tokens[chunk] = tuple(token for token, _, _ in self._find_in_chunk(chunk, _INSIDE))
            else:
                plain.append(chunk)
        placed, position, index = self._find(" ".join([*plain, "x"])) if plain else [], 0, 0
        for chunk in plain:
            position, first = position + len(chunk) + 1, index
            while placed[index][1] < position:
                index += 1
            tokens[chunk] = tuple(token for token, _, _ in placed[first:index])
        return tokens

    def _tokens_of_end(self, chunk: str) -> tuple[str, ...]:
        tokens = self._ends.get(chunk)
        if tokens is None:
            tokens = tuple(token for token, _, _ in self._find_in_chunk(chunk, _END))
            _keep(self._ends, chunk, tokens)
        return tokens

    def _find_in_chunk(self, chunk: str, place: int) -> list[Placed]:
        """Tokenise a chunk behind another one, which is one token, and before one unless it ends its sentence."""
        found = self._find(f"x {chunk}" if place == _END else f"x {chunk} x")
        return [(token, start - 2, end - 2) for token, start, end in found[1 : len(found) - (place == _INSIDE)]]

    def _find(self, sentence: str) -> list[Placed]:
        """Tokenise a sentence. Any white space is a space to the rules."""
        prepared = _SPACE.sub(" ", self._spelling.prepared(sentence))
        spelled = self._spelling.spelled
        return [
            (spelled(sentence[first:last], sentence[first - 1 : first]), first, last)
            for first, last in self._tokenizer.tokens(prepared)
            if last > first
        ]


def _keep(kept: dict[str, _T], chunk: str, tokens: _T) -> None:
    """Keep the tokens of a chunk, unless it is a long one, in bounded memory."""
    if len(chunk) <= _LONGEST_KEPT:
        if len(kept) >= MOST_KEPT:
            kept.clear()
        kept[chunk] = tokens
