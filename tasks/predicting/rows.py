"""Rows of the files to tag, whatever the format, and blocks of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

Content = str | tuple[str, ...]  # raw text, or the tokens of one sentence


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a file.

    Attributes:
        path: the file, for messages.
        number: its row or line, from 1.
        content: what is tagged; None if the row is bad.
        error: what was found in a bad row, and what was expected.
        fields: its fields in the output.
        batch: the record batch of a Parquet file that holds it, in place of fields.
        index: its position in the batch.
    """

    path: str
    number: int
    content: Content | None
    error: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    batch: pa.RecordBatch | None = None
    index: int = 0

    @property
    def size(self) -> int:
        """Return the characters to tag."""
        if isinstance(self.content, tuple):
            return sum(len(token) + 1 for token in self.content)
        return len(self.content or "")


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a block ends: both are part of the output's identity.

    Attributes:
        rows: most rows of a block.
        characters: a block ends with the row that reaches so many characters.
    """

    rows: int = 5_000
    characters: int = 2_000_000


def in_blocks(rows: Iterable[Row], limits: Limits) -> Iterator[list[Row]]:
    """Yield rows in blocks. Where a block ends depends on the rows since the end of the block before it alone."""
    block: list[Row] = []
    size = 0
    for row in rows:
        block.append(row)
        size += row.size
        if len(block) == limits.rows or size >= limits.characters:
            yield block
            block, size = [], 0
    if block:
        yield block


def table_of(rows: Iterable[Row]) -> pa.Table:
    """Return rows of Parquet files as a table, with all columns as they were read."""
    slices = []
    for _, group in itertools.groupby(rows, key=lambda row: id(row.batch)):
        same = list(group)
        batch = same[0].batch
        assert batch is not None
        slices.append(batch.slice(same[0].index, len(same)))
    return pa.Table.from_batches(slices).combine_chunks()


def problem(value: Any) -> str | None:
    """Return why a value cannot be tagged; None if it can: a text, or a list of texts that are not empty."""
    if isinstance(value, str):
        return _lone_surrogate(value)
    if value is None:
        return "found null; expected a text or a list of tokens"
    if not isinstance(value, list):
        return f"found a value of type {type(value).__name__}; expected a text or a list of tokens"
    for place, token in enumerate(value, 1):
        if not isinstance(token, str) or not token:
            return f"found {token!r} as token {place}; expected a text that is not empty"
    return _lone_surrogate("".join(value))


def _lone_surrogate(text: str) -> str | None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return (
            f"found half a surrogate pair ({text[error.start]!a} at character {error.start + 1}), which is no character"
        )
    return None


def row_of(value: Any, path: str, number: int, **rest: Any) -> Row:
    """Return the row that a value to tag makes, good or bad."""
    wrong = problem(value)
    content = None if wrong else tuple(value) if isinstance(value, list) else value
    return Row(path, number, content, wrong, **rest)
