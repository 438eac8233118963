"""Writers of tagged rows: JSON lines, CoNLL columns, Parquet, text for people."""

from __future__ import annotations

import base64
import contextlib
import datetime
import io
import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.text import Text

from taglm import Analysis, Entity
from taglm_core.corpus.schemes import Scheme, Span, from_spans
from taglm_core.errors import InputError
from tasks.predicting.rows import Row, table_of

ENTITIES, ERROR = "entities", "error"  # fields that rows get
ENTITY_TYPE = pa.list_(
    pa.struct(
        [
            ("text", pa.string()), ("label", pa.string()), ("start", pa.int32()), ("end", pa.int32()),
            ("token_start", pa.int32()), ("token_end", pa.int32()), ("confidence", pa.float64()),
        ]
    )
)  # fmt: skip
_CONTROL = dict.fromkeys([*range(9), *range(11, 32), *range(127, 160)], "\ufffd")  # a terminal would obey them
_COLOURS = ("cyan", "green", "yellow", "magenta", "blue", "red")


class Output(StrEnum):
    """What is written."""

    JSONL = "jsonl"
    CONLL = "conll"
    PARQUET = "parquet"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class TaggedRow:
    """A row with what was found in it.

    Attributes:
        row: the row.
        sentences: its sentences; none for a bad row.
        entities: its entities that were asked for; None for a bad row.
    """

    row: Row
    sentences: Sequence[Analysis] = ()
    entities: Sequence[Entity] | None = None

    @property
    def error(self) -> str | None:
        """Return file, row and fault of a bad row; None for a good one."""
        return None if self.row.error is None else f"{self.row.path}:{self.row.number}: {self.row.error}"


class Writer(Protocol):
    """A format of output.

    Attributes:
        suffix: of its files.
    """

    suffix: str

    def encode(self, block: Sequence[TaggedRow]) -> bytes:
        """Return a block of rows as a file."""

    def join(self, parts: Sequence[Path], file: BinaryIO) -> None:
        """Write parts, at least one, as one file."""

    def go_on(self, first: Path) -> None:
        """Read what further parts must share with the first."""


class _Lines:
    """A format whose files are joined by writing one behind the other."""

    def join(self, parts: Sequence[Path], file: BinaryIO) -> None:
        for part in parts:
            with part.open("rb") as source:
                shutil.copyfileobj(source, file)

    def go_on(self, first: Path) -> None:
        """Parts share nothing."""


class JsonLines(_Lines):
    """JSON lines: the fields of a row, `entities`, and in bad rows `error`."""

    suffix = ".jsonl"

    def encode(self, block: Sequence[TaggedRow]) -> bytes:
        """Return a line a row."""
        return b"".join(map(self._line, block))

    def _line(self, tagged: TaggedRow) -> bytes:
        row = tagged.row
        fields = dict(row.fields) if row.batch is None else _values(row)
        fields.pop(ERROR, None)
        fields[ENTITIES] = None if tagged.entities is None else [entity.to_dict() for entity in tagged.entities]
        if tagged.error is not None:
            fields[ERROR] = tagged.error
        try:
            return f"{json.dumps(fields, ensure_ascii=False, allow_nan=False)}\n".encode()
        except UnicodeEncodeError:  # a surrogate without its pair
            return f"{json.dumps(fields, allow_nan=False)}\n".encode()


class Conll(_Lines):
    """Columns of tokens and tags, a blank line after each sentence; a bad row is a comment.

    Args:
        scheme: tag scheme to write.
    """

    suffix = ".conll"

    def __init__(self, scheme: Scheme = Scheme.BIOES) -> None:
        self._scheme = scheme

    def encode(self, block: Sequence[TaggedRow]) -> bytes:
        """Return the sentences of all rows.

        Raises:
            InputError: a token cannot stand in a column.
        """
        lines: list[str] = []
        for tagged in block:
            if tagged.error is not None:
                lines += [f"# error: {' '.join(tagged.error.split())}", ""]
            first = 0
            for sentence in tagged.sentences:
                last = first + len(sentence.tokens)
                lines += self._sentence(tagged, sentence, range(first, last))
                first = last
        return "".join(f"{line}\n" for line in lines).encode(errors="replace")

    def _sentence(self, tagged: TaggedRow, sentence: Analysis, places: range) -> list[str]:
        spans = [
            Span(entity.label, entity.token_start - places.start, entity.token_end - places.start)
            for entity in tagged.entities or ()
            if entity.token_start in places
        ]
        tags = from_spans(spans, len(sentence.tags), self._scheme)
        for token in sentence.tokens:
            if token.split() != [token]:
                raise InputError(tagged.row.path, tagged.row.number, f"white space in the token {token!r}",
                                 "tokens that fit a column", "choose --output jsonl")  # fmt: skip
        return [*(f"{token}\t{tag}" for token, tag in zip(sentence.tokens, tags, strict=True)), ""]


class ParquetFiles:
    """Parquet: the columns of the rows, `entities` and `error`.

    Args:
        schema: columns of the rows; None if they are found in the rows of the first part.
    """

    suffix = ".parquet"

    def __init__(self, schema: pa.Schema | None = None) -> None:
        self._table_schema = schema
        self._found: pa.Schema | None = None

    def go_on(self, first: Path) -> None:
        """Read the columns of the first part."""
        self._found = pq.read_schema(first)

    def encode(self, block: Sequence[TaggedRow]) -> bytes:
        """Return a file of one row group.

        Raises:
            InputError: rows of JSON lines have different types or columns.
        """
        if self._table_schema is not None:
            table = table_of(each.row for each in block) if block else self._table_schema.empty_table()
            table = table.replace_schema_metadata(self._table_schema.metadata)
        else:
            table = self._table(block)
        entities = [None if each.entities is None else [entity.to_dict() for entity in each.entities] for each in block]
        table = _with_column(table, ENTITIES, pa.array(entities, ENTITY_TYPE))
        table = _with_column(table, ERROR, pa.array([each.error for each in block], pa.string()))
        sink = io.BytesIO()
        pq.write_table(table, sink, row_group_size=max(1, table.num_rows))
        return sink.getvalue()

    def join(self, parts: Sequence[Path], file: BinaryIO) -> None:
        """Write the row groups of all parts."""
        with pq.ParquetWriter(file, pq.read_schema(parts[0])) as writer:
            for part in parts:
                writer.write_table(pq.read_table(part), row_group_size=pq.read_metadata(part).num_rows or 1)

    def _table(self, block: Sequence[TaggedRow]) -> pa.Table:
        """Return the fields of rows as columns, with the types of the first part."""
        names = dict.fromkeys(name for each in block for name in each.row.fields if name not in (ENTITIES, ERROR))
        known = {each.name: each.type for each in self._found or () if each.name not in (ENTITIES, ERROR)}
        for row in block if self._found is not None else ():
            if new := [name for name in row.row.fields if name in names.keys() - known.keys()]:
                raise _not_columns(row.row, f"a field {new[0]!r} that no row of the first part has")
        columns = {}
        for name in names if self._found is None else known:
            column = _column(block, name, known.get(name))
            columns[name] = column.cast(pa.string()) if pa.types.is_null(column.type) else column
        if not columns:
            return pa.table({"_": pa.nulls(len(block))}).select([])
        return pa.table(columns)


class ForPeople(_Lines):
    """Text with each entity marked; in colour on a terminal.

    Args:
        colour: whether to use colours.
        labels: all labels, each with a colour of its own.
    """

    suffix = ".txt"

    def __init__(self, labels: Sequence[str], *, colour: bool) -> None:
        self._colours = {label: _COLOURS[place % len(_COLOURS)] for place, label in enumerate(labels)}
        self._colour = colour

    def encode(self, block: Sequence[TaggedRow]) -> bytes:
        """Return the texts, each ended by a line end."""
        sink = io.StringIO()
        console = Console(
            file=sink, force_terminal=self._colour, highlight=False, emoji=False, markup=False,
            no_color=None if self._colour else True,
        )  # fmt: skip
        for tagged in block:
            console.print(self._text(tagged), soft_wrap=True)
        return sink.getvalue().encode(errors="replace")

    def _text(self, tagged: TaggedRow) -> Text:
        if tagged.entities is None:
            return Text(f"error: {tagged.error}".translate(_CONTROL), style="red")
        content = tagged.row.content
        whole = (" ".join(content) if isinstance(content, tuple) else content or "").translate(_CONTROL)
        shown, place = Text(), 0
        for entity in tagged.entities:
            colour = self._colours[entity.label]
            shown.append(whole[place : entity.start])
            shown.append(whole[entity.start : entity.end], style=f"bold {colour}")
            shown.append(f" [{entity.label} {entity.confidence:.2f}]", style=colour)
            place = entity.end
        return shown.append(whole[place:].rstrip("\n"))


def _column(block: Sequence[TaggedRow], name: str, kind: pa.DataType | None) -> pa.Array:
    """Return a field of rows as a column, null where a bad row has another type than the good ones.

    Raises:
        InputError: good rows have different types.
    """
    values = [each.row.fields.get(name) for each in block]
    good = [None if each.row.error else value for each, value in zip(block, values, strict=True)]
    try:
        return pa.array(values, kind)
    except (pa.ArrowException, UnicodeEncodeError):
        with contextlib.suppress(pa.ArrowException, UnicodeEncodeError):
            return pa.array(good, kind)
    raise _not_columns(block[0].row, f"values of several types in the field {name!r} of this and later rows")


def _with_column(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    """Return a table with a column replaced in its place, or added."""
    place = table.schema.get_field_index(name)
    field = pa.field(name, values.type)
    if place >= 0:
        return table.set_column(place, field, values)
    return table.append_column(field, values) if table.num_columns else pa.table([values], pa.schema([field]))


def _values(row: Row) -> dict[str, Any]:
    """Return a row of a Parquet file as JSON values; texts that are not UTF-8 are null."""
    assert row.batch is not None
    values = {}
    for name, column in zip(row.batch.schema.names, row.batch.columns, strict=True):
        try:
            values[name] = _plain(column[row.index].as_py())
        except UnicodeDecodeError:
            values[name] = None
    return values


def _plain(value: Any) -> Any:
    """Return a value of Arrow as JSON: dates in ISO 8601, bytes in base64, numbers that are none as null."""
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value.isoformat() if isinstance(value, datetime.date | datetime.time) else str(value)


def _not_columns(row: Row, found: str) -> InputError:
    return InputError(row.path, row.number, found, "rows with the same columns and types", "write --output jsonl")
