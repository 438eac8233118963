"""Spans as files give them, and the units of their offsets."""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

from taglm_core.config.data import OffsetUnit


@dataclass(frozen=True, slots=True)
class GivenSpan:
    """A span as the file gives it.

    Attributes:
        pieces: start and end of each piece in the unit of the file; discontinuous spans have several.
        type: type of the entity; empty if the file gives none.
        line: line or record, for messages.
        text: the text that the span covers according to the file; None if the file does not say.
    """

    pieces: tuple[tuple[int, int], ...]
    type: str
    line: int
    text: str | None = None


def to_characters(text: str, unit: OffsetUnit) -> Callable[[int], int | None]:
    """Return a function from offsets in a unit to code points; None for offsets that no character begins at."""
    widths = {
        OffsetUnit.UTF16: lambda letter: 2 if letter > "\uffff" else 1,
        OffsetUnit.BYTES: lambda letter: len(letter.encode("utf-8", "surrogatepass")),
    }
    if unit is OffsetUnit.CHARACTERS or text.isascii():
        return lambda offset: offset if 0 <= offset <= len(text) else None
    offsets = list(itertools.accumulate(map(widths[unit], text), initial=0))

    def convert(offset: int) -> int | None:
        found = bisect_left(offsets, offset)
        return found if found < len(offsets) and offsets[found] == offset else None

    return convert


def covered(text: str, span: GivenSpan, convert: Callable[[int], int | None]) -> str | None:
    """Return the text that a span covers, its pieces joined by spaces; None if a piece is not in the text."""
    places = [(convert(start), convert(end)) for start, end in span.pieces]
    if any(start is None or end is None for start, end in places):
        return None
    return " ".join(text[start:end] for start, end in places)


def same_words(one: str | None, other: str) -> bool:
    """Return whether two texts agree but for white space: tools write line breaks as spaces or as a backslash and n."""
    return one is not None and "".join(one.replace("\\n", " ").split()) == "".join(other.replace("\\n", " ").split())
