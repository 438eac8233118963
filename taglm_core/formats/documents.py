"""Documents of unlabelled text: plain text, JSON lines, Parquet and Arrow, CoNLL-U."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from taglm_core.config.data import TextFormat
from taglm_core.corpus.bad_lines import MAX_NAMED, BadLine, error_of
from taglm_core.corpus.content import HEAD_BYTES
from taglm_core.corpus.files import open_text
from taglm_core.corpus.sentence import ReadCounts
from taglm_core.errors import InputError
from taglm_core.formats.json_files import holds_array, read_json_records

MAX_DOCUMENT = 64 * 2**20
"""Characters; a longer document is refused, because it has to be held in memory."""

_COLUMNS = ("text", "tokens")  # looked for where the experiment names none
_BATCH_ROWS = 256
_MULTIWORD = re.compile(r"(\d+)-(\d+)")
_EMPTY_NODE = re.compile(r"\d+\.\d+")
_NEW_DOCUMENT = re.compile(r"#[ \t]*newdoc\b")


@dataclass(frozen=True, slots=True)
class Document:
    """A document, or a sentence of one that comes tokenised.

    Attributes:
        text: raw text, or the tokens of one sentence.
        number: number of the document, from 0 over all files.
        path: the file.
        line: 1-based line, or row of a table, where it begins.
    """

    text: str | list[str]
    number: int
    path: Path
    line: int


def read_documents(
    paths: Iterable[Path], kind: TextFormat, column: str | None = None, *, counts: ReadCounts | None = None
) -> Iterator[Document]:
    """Yield the documents of text files, in order; memory holds one document, or a few rows of a table.

    Args:
        paths: files, read one after the other.
        kind: documents, jsonl, parquet or conllu.
        column: field or column of text or tokens; None: `text`, else `tokens`.
        counts: filled with what else was met. Rows whose text is null or empty are counted and left out.

    Raises:
        InputError: a file that cannot be read, or rows without a text. The error comes at the end and names the first
            of the rows; no document follows a bad row.
    """
    reader = _Reader(column, ReadCounts() if counts is None else counts)
    read = {
        TextFormat.DOCUMENTS: reader.plain, TextFormat.JSONL: reader.json_lines, TextFormat.PARQUET: reader.table,
        TextFormat.CONLLU: reader.conllu,
    }[kind]  # fmt: skip
    for path in paths:
        reader.counts.files += 1
        reader.counts.last_path = str(path)
        yield from read(path)
    if reader.bad:
        raise error_of(reader.bad, reader.bad_count)


@dataclass
class _Reader:
    """The state of reading several files."""

    column: str | None
    counts: ReadCounts
    number: int = -1
    bad: list[BadLine] = field(default_factory=list)
    bad_count: int = 0

    def plain(self, path: Path) -> Iterator[Document]:
        """Yield the documents of a plain text; an empty line, or one of white space, ends a document."""
        lines: list[str] = []
        first = size = 0
        for number, line in open_text(path, self.counts):
            if not line or line.isspace():
                self.counts.empty_lines += 1
                if lines:
                    yield self._next("\n".join(lines), path, first)
                lines, size = [], 0
                continue
            first = first if lines else number
            lines.append(line)
            size += len(line) + 1
            if size > MAX_DOCUMENT:
                raise InputError(
                    path, first, f"a document of more than {MAX_DOCUMENT // 2**20} MiB", "documents that end with an "
                    "empty line", "put an empty line behind each document (`sed G` does so behind each line)",
                )  # fmt: skip
        if lines:
            yield self._next("\n".join(lines), path, first)

    def json_lines(self, path: Path) -> Iterator[Document]:
        """Yield the rows of JSON lines, or of one JSON array, which is read as a whole."""
        if holds_array(path):
            for record in read_json_records(path, self.counts):
                yield from self._object(record.value, path, record.line)
            return
        for number, line in open_text(path, self.counts):
            if not line or line.isspace():
                self.counts.empty_lines += 1
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                said = f"no JSON ({str(error).splitlines()[0]})"
                self._refuse(path, number, said, "a JSON object a line", "correct the line")
                continue
            yield from self._object(row, path, number)

    def _object(self, row: Any, path: Path, line: int) -> Iterator[Document]:
        """Yield the text of a record; that of a Label Studio task is in its `data`."""
        if not isinstance(row, dict):
            self._refuse(path, line, f"a JSON {type(row).__name__}", "a JSON object a line", "correct the line")
            return
        if self.named(row) is None and isinstance(row.get("data"), dict):
            row = row["data"]
        name = self.named(row)
        if name is None:
            self._refuse(path, line, f"no field {self.wanted()} (there {_are(row)})", "text in each row",
                         "name the field in unlabelled.column")  # fmt: skip
            return
        yield from self._row(row[name], path, line, name)

    def table(self, path: Path) -> Iterator[Document]:
        """Yield the rows of a Parquet file, an Arrow file or an Arrow stream."""
        row = 0
        try:
            for name, batch in _batches(path, self):
                for value in batch.to_pylist():
                    row += 1
                    yield from self._row(value, path, row, name)
        except (pa.ArrowException, OSError) as error:
            raise InputError(path, None, f"an error while reading ({str(error).splitlines()[0]})",
                             "a Parquet or Arrow file", "copy or write the file again") from error  # fmt: skip

    def conllu(self, path: Path) -> Iterator[Document]:
        """Yield the sentences of CoNLL-U by their surface tokens: `1-2` is one token, an empty node `8.1` none."""
        tokens: list[str] = []
        first = until = empty = 0
        self.number += 1
        in_document = False
        for number, line in open_text(path, self.counts):
            comment = line.startswith("#") and not tokens
            columns = [] if comment or not line.strip() else line.split("\t")
            if columns:
                if len(columns) < 2 or not re.fullmatch(r"\d+([-.]\d+)?", columns[0]) or not columns[1].strip():
                    found = f"{line[:40]!r}"
                    self._refuse(path, number, found, "a number, a tab and a token", "correct the line")
                elif span := _MULTIWORD.fullmatch(columns[0]):
                    tokens, until = [*tokens, columns[1]], int(span[2])
                elif _EMPTY_NODE.fullmatch(columns[0]):
                    empty += 1
                elif int(columns[0]) > until:
                    tokens.append(columns[1])
                first = first or number
                continue
            self.counts.comment_lines += comment
            self.counts.empty_lines += not comment
            if tokens and not self.bad:
                yield Document(tokens, self.number, path, first)
            in_document = in_document or bool(tokens)
            tokens, first, until = [], 0, 0
            if comment and _NEW_DOCUMENT.match(line) and in_document:
                self.number, in_document = self.number + 1, False
        if tokens and not self.bad:
            yield Document(tokens, self.number, path, first)
        if empty:
            self.counts.notes.append(f"{path}: empty nodes (8.1) left out: {empty:,}")

    def _row(self, value: Any, path: Path, line: int, name: str) -> Iterator[Document]:
        if value is None or value == [] or (isinstance(value, str) and (not value or value.isspace())):
            self.counts.met["empty_texts"] += 1
        elif isinstance(value, str) and len(value) <= MAX_DOCUMENT:
            if not self.bad:
                yield self._next(value, path, line)
        elif isinstance(value, list) and all(isinstance(token, str) and token.strip() for token in value):
            try:
                "".join(value).encode()
            except UnicodeEncodeError:
                self._refuse(path, line, "half a surrogate pair in a token", "characters", "write the file again")
            else:
                if not self.bad:
                    yield self._next(value, path, line)
        else:
            found = f"a value of type {type(value).__name__}"
            if isinstance(value, str):
                found = f"a text of more than {MAX_DOCUMENT // 2**20} MiB"
            elif isinstance(value, list):
                found = "a list in which not every token is a word"
            self._refuse(path, line, f"{found} in {name!r}", "a text, or a list of tokens",
                         "correct the row, or name another field in unlabelled.column")  # fmt: skip

    def _next(self, text: str | list[str], path: Path, line: int) -> Document:
        self.number += 1
        return Document(text, self.number, path, line)

    def named(self, names: Iterable[str]) -> str | None:
        """Return the name that holds the text; None if none does."""
        present = set(names)
        return next((name for name in self._candidates() if name in present), None)

    def _candidates(self) -> Sequence[str]:
        return _COLUMNS if self.column is None else (self.column,)

    def wanted(self) -> str:
        """Return the names that are looked for, for messages."""
        return " or ".join(repr(name) for name in self._candidates())

    def _refuse(self, path: Path, line: int, found: str, expected: str, remedy: str) -> None:
        self.bad_count += 1
        if len(self.bad) < MAX_NAMED:
            self.bad.append(BadLine(path, line, found, expected, remedy))


def _are(names: Iterable[str]) -> str:
    shown = [repr(name) for name in names]
    more = f" and {len(shown) - 10} more" if len(shown) > 10 else ""
    return f"{'is' if len(shown) == 1 else 'are'} {', '.join(shown[:10]) or 'none'}{more}"


def _batches(path: Path, reader: _Reader) -> Iterator[tuple[str, pa.Array]]:
    """Yield the name and the values of the column of text, in pieces of the file."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if head.startswith(b"PAR1"):
        with pq.ParquetFile(path, pre_buffer=False) as table:
            name = _column(path, table.schema_arrow, reader)
            for batch in table.iter_batches(_BATCH_ROWS, columns=[name], use_threads=False):
                yield name, batch.column(0)
        return
    with pa.memory_map(str(path)) as source:
        if head.startswith(b"ARROW1\0\0"):
            opened = pa.ipc.open_file(source)
            batches = (opened.get_batch(number) for number in range(opened.num_record_batches))
        else:
            opened = pa.ipc.open_stream(source)
            batches = iter(opened)
        name = _column(path, opened.schema, reader)
        for batch in batches:
            values = batch.column(batch.schema.get_field_index(name))
            for start in range(0, len(values), _BATCH_ROWS):
                yield name, values.slice(start, _BATCH_ROWS)


def _column(path: Path, schema: pa.Schema, reader: _Reader) -> str:
    """Return the name of the column of text or tokens.

    Raises:
        InputError: there is none, or it holds something else.
    """
    name = reader.named(schema.names)
    if name is None:
        raise InputError(path, None, f"no column {reader.wanted()} (there {_are(schema.names)})", "a column of text",
                         "name the column in unlabelled.column")  # fmt: skip
    kind = schema.field(name).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    inner = kind.value_type if any(is_list(kind) for is_list in lists) else kind
    if not (pa.types.is_string(inner) or pa.types.is_large_string(inner) or pa.types.is_string_view(inner)):
        raise InputError(path, None, f"a column {name!r} of type {kind}", "strings, or lists of strings",
                         "name another column in unlabelled.column")  # fmt: skip
    return name
