"""Readers of the files to tag: raw text, tokenised lines, CoNLL columns, JSON lines, Parquet."""

from __future__ import annotations

import difflib
import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.parquet as pq

from taglm_core.corpus.conll import ConllReader
from taglm_core.corpus.conll_faults import Columns, Separator
from taglm_core.corpus.content import COMPRESSED_SUFFIXES
from taglm_core.corpus.files import BOM, MAX_LINE_BYTES, whole_lines
from taglm_core.corpus.paths import resolve_files
from taglm_core.errors import ConfigError, InputError
from tasks.predicting.rows import Row, row_of

STDIN = "-"
PARQUET_BATCH = 1_000  # rows that are read together


class Format(StrEnum):
    """What files hold."""

    TEXT = "text"
    TOKENS = "tokens"
    CONLL = "conll"
    JSONL = "jsonl"
    PARQUET = "parquet"


_SUFFIXES = {
    "": Format.TEXT, ".txt": Format.TEXT, ".text": Format.TEXT, ".md": Format.TEXT,
    ".conll": Format.CONLL, ".conllu": Format.CONLL, ".iob": Format.CONLL, ".iob2": Format.CONLL,
    ".bio": Format.CONLL, ".bioes": Format.CONLL,
    ".jsonl": Format.JSONL, ".ndjson": Format.JSONL, ".json": Format.JSONL,
    ".parquet": Format.PARQUET, ".pq": Format.PARQUET,
}  # fmt: skip


def format_of(path: Path) -> Format | None:
    """Return the format that the name of a file tells, compressed or not; None if it tells none."""
    plain = Path(path.stem) if path.suffix.lower() in COMPRESSED_SUFFIXES else path
    return _SUFFIXES.get(plain.suffix.lower())


@dataclass(frozen=True, slots=True)
class Source:
    """The rows to tag.

    Attributes:
        paths: the files; none for standard input.
        format: what they hold.
        column: column of JSON lines and Parquet that is tagged.
        word_column: column of the word in CoNLL files.
        lines: whether each line of raw text is a text of its own.
    """

    paths: tuple[Path, ...]
    format: Format
    column: str = "text"
    word_column: int = 0
    lines: bool = False

    @classmethod
    def of(cls, names: Sequence[str], given: Format | None = None, **rest: Any) -> Source:
        """Return the source that names mean.

        Args:
            names: files, folders and globs, or `-` alone for standard input.
            given: the format; by the names of the files if None, raw text for standard input.
            rest: further attributes.

        Raises:
            ConfigError: the format is not clear, or standard input is mixed with files.
            InputError: there is no such file.
        """
        if STDIN in names:
            if len(names) > 1 or given in (Format.PARQUET, Format.CONLL):
                raise ConfigError(
                    "standard input (-) is read alone, as text, tokens or jsonl; write the rest to a file first"
                )
            return cls((), given or Format.TEXT, **rest)
        paths = tuple(path for name in names for path in resolve_files(name))
        found = {format_of(path): path for path in reversed(paths)}
        if given is None and (None in found or len(found) > 1):
            path = found.get(None, paths[0])
            shown = " and ".join(sorted(f"{kind} ({path})" for kind, path in found.items() if kind is not None))
            what = f"{path}: its name tells no format" if None in found else f"the files are {shown}"
            raise ConfigError(f"{what}; give --input {', '.join(Format)}")
        source = cls(paths, given or next(iter(found)) or Format.TEXT, **rest)
        if source.format is Format.PARQUET:
            source.parquet_schema()
        return source

    @property
    def name(self) -> str:
        """Return a name for messages and titles, such as `news`: that of the file, or of the folder of several."""
        if len(self.paths) > 1:
            return self.paths[0].absolute().parent.name
        return self.paths[0].name.partition(".")[0] if self.paths else "stdin"

    def rows(self, skip: int = 0) -> Iterator[Row]:
        """Yield the rows after the first `skip` ones; bad ones have an error.

        Raises:
            InputError: a CoNLL or Parquet file cannot be read.
        """
        if self.format is Format.PARQUET:
            return self._parquet_rows(skip)
        reader = {Format.CONLL: self._conll_rows, Format.JSONL: self._json_rows, Format.TOKENS: self._token_rows}
        text = self._line_rows if self.lines else self._document_rows
        return itertools.islice(reader.get(self.format, text)(), skip, None)

    def total(self) -> int | None:
        """Return the number of rows; None where counting needs the whole reading (CoNLL) or is impossible (stdin)."""
        if self.format is Format.PARQUET:
            return sum(pq.ParquetFile(path).metadata.num_rows for path in self.paths)
        if not self.paths or self.format is Format.CONLL:
            return None
        if self.format is Format.TEXT and not self.lines:
            return len(self.paths)
        try:
            return sum(_count_lines(path, blank=self.format is not Format.JSONL) for path in self.paths)
        except InputError:  # reported when it is read
            return None

    def identity(self) -> list[list[Any]]:
        """Return path, size and time of change of each file: another value means other rows."""
        stats = [(path, path.stat()) for path in self.paths]
        return [[str(path.absolute()), stat.st_size, stat.st_mtime_ns] for path, stat in stats]

    def parquet_schema(self) -> pa.Schema:
        """Return the schema that all Parquet files have.

        Raises:
            ConfigError: there is no such column, or it holds neither text nor lists of text.
            InputError: a file cannot be read, or its schema differs from that of the first.
        """
        first: pa.Schema | None = None
        for path in self.paths:
            schema = _open_parquet(path).schema_arrow
            first = first or schema
            if not schema.equals(first):
                raise InputError(path, None, f"columns {_listed(schema)}",
                                 f"as in {self.paths[0]}: {_listed(first)}", "give files with one schema")  # fmt: skip
        assert first is not None
        if self.column not in first.names:
            near = difflib.get_close_matches(self.column, first.names, 1)
            hint = f"did you mean --column {near[0]}?" if near else "choose with --column"
            raise ConfigError(f"{self.paths[0]}: found no column {self.column!r}; it has {_listed(first)}; {hint}")
        if not _is_text(first.field(self.column).type):
            raise ConfigError(
                f"{self.paths[0]}: column {self.column!r} holds {first.field(self.column).type}; expected string or "
                "list<string>; choose another with --column"
            )
        return first

    def _parquet_rows(self, skip: int) -> Iterator[Row]:
        for path in self.paths:
            file = _open_parquet(path)
            number = 0
            for group in range(file.num_row_groups):
                size = file.metadata.row_group(group).num_rows
                if skip >= size:
                    skip, number = skip - size, number + size
                    continue
                for batch in file.iter_batches(PARQUET_BATCH, row_groups=[group]):
                    column = batch.column(self.column)
                    for index in range(batch.num_rows):
                        number += 1
                        if skip:
                            skip -= 1
                            continue
                        try:
                            value = column[index].as_py()
                        except UnicodeDecodeError as error:
                            yield Row(str(path), number, None, _not_utf8(error), batch=batch, index=index)
                            continue
                        yield row_of(value, str(path), number, batch=batch, index=index)

    def _json_rows(self) -> Iterator[Row]:
        for path, number, line in self._lines():
            if isinstance(line, str) and not line.strip():
                continue
            if isinstance(line, InputError | UnicodeDecodeError):
                yield _bad(path, number, line, {})
                continue
            try:
                data = json.loads(line, parse_constant=_refuse_constant)
            except (ValueError, RecursionError) as error:
                yield Row(path, number, None, f"found no JSON ({error}); expected one object a line")
                continue
            if not isinstance(data, dict):
                wrong = f"found a JSON {type(data).__name__}; expected one object a line"
                yield Row(path, number, None, wrong)
            elif self.column not in data:
                wrong = f"found no field {self.column!r} (there are {', '.join(data) or 'none'}); choose with --column"
                yield Row(path, number, None, wrong, data)
            else:
                yield row_of(data[self.column], path, number, fields=data)

    def _token_rows(self) -> Iterator[Row]:
        for path, number, line in self._lines():
            if isinstance(line, str):
                tokens = tuple(line.split())
                yield Row(path, number, tokens, fields={"tokens": list(tokens)})
            else:
                yield _bad(path, number, line, {"tokens": None})

    def _line_rows(self) -> Iterator[Row]:
        for path, number, line in self._lines():
            if isinstance(line, str):
                yield Row(path, number, line, fields={"text": line})
            else:
                yield _bad(path, number, line, {"text": None})

    def _document_rows(self) -> Iterator[Row]:
        for given in self.paths or (None,):
            path = "stdin" if given is None else str(given)
            named = {} if given is None else {"file": path}
            try:
                data = sys.stdin.buffer.read() if given is None else b"".join(whole_lines(given))
                text = data.removeprefix(BOM).decode()
            except (InputError, UnicodeDecodeError) as error:
                yield _bad(path, 1, error, {**named, "text": None})
                continue
            yield Row(path, 1, text, fields={**named, "text": text})

    def _conll_rows(self) -> Iterator[Row]:
        for path in self.paths:
            reader = ConllReader([path], self._conll_columns(path))
            for sentence in reader:
                yield Row(str(path), sentence.line, sentence.tokens, fields={"tokens": list(sentence.tokens)})

    def _conll_columns(self, path: Path) -> Columns:
        """Return the layout in which every line of a file can be read; white space before tabs.

        Raises:
            InputError: there is none; names the lines.
        """
        readers = [
            ConllReader([path], Columns(self.word_column, None, separator))
            for separator in (Separator.SPACE, Separator.TAB)
        ]
        for reader in readers:
            for _ in reader:
                pass
            if not reader.bad_lines():
                return reader.columns
            if not reader.has_tabs:
                break
        raise readers[0].error()

    def _lines(self) -> Iterator[tuple[str, int, str | InputError | UnicodeDecodeError]]:
        """Yield file, number and text of every line, or why it cannot be read."""
        for given in self.paths or (None,):
            path, number = "stdin" if given is None else str(given), 0
            try:
                for line in _stdin_lines() if given is None else _file_lines(given):
                    number += 1
                    try:
                        yield path, number, line.decode()
                    except UnicodeDecodeError as error:
                        yield path, number, error
            except InputError as error:  # the rest of this file is lost, the next file is not
                yield path, number + 1, error


def _file_lines(path: Path) -> Iterator[bytes]:
    for block in whole_lines(path):
        for line in block.removesuffix(b"\n").split(b"\n"):
            yield line.removesuffix(b"\r")


def _stdin_lines() -> Iterator[bytes]:
    number = 0
    while line := sys.stdin.buffer.readline(MAX_LINE_BYTES + 1):
        if len(line) > MAX_LINE_BYTES:
            raise InputError("stdin", number + 1, f"a line of more than {MAX_LINE_BYTES // 2**20} MiB",
                             "one text a line", "split it")  # fmt: skip
        number += 1
        yield (line.removeprefix(BOM) if number == 1 else line).rstrip(b"\r\n")


def _count_lines(path: Path, *, blank: bool) -> int:
    if blank:
        return sum(block.removesuffix(b"\n").count(b"\n") + 1 for block in whole_lines(path))
    return sum(bool(line.strip()) for line in _file_lines(path))


def _bad(path: str, number: int, error: InputError | UnicodeDecodeError, fields: dict[str, Any]) -> Row:
    wrong = _not_utf8(error) if isinstance(error, UnicodeDecodeError) else f"found {error.found}; {error.remedy}"
    return Row(path, number, None, wrong, fields)


def _not_utf8(error: UnicodeDecodeError) -> str:
    return f"found bytes that are not UTF-8 (0x{error.object[error.start]:02x} at byte {error.start + 1})"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _open_parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        said = str(error).splitlines()[0]
        raise InputError(path, None, f"no Parquet file ({said})", "a Parquet file", "check or copy it again") from error


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind))


def _listed(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} ({field.type})" for field in schema)
