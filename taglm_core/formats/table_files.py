"""Tokens and tags in Parquet and Arrow files, as Hugging Face `datasets` writes them; told by content.

Tags are strings, or numbers whose names (`ClassLabel`) stand in the schema's metadata.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from taglm_core.corpus.bad_lines import BadLine, error_of
from taglm_core.corpus.conll_faults import Faults
from taglm_core.corpus.notation import STANDARD, is_outside
from taglm_core.corpus.sentence import ReadCounts, Sentence
from taglm_core.errors import InputError
from taglm_core.formats.annotations import TAG_KEYS, WORD_KEYS, BadRecord, sentence_of

_BESIDE = {".json", ".md", ".lock", ".txt"}  # files that `datasets` writes beside its tables
_SAMPLE = 100  # rows in which tags are looked for
_DAMAGED = (pa.ArrowException, OSError, ValueError, UnicodeError, MemoryError, KeyError, IndexError)


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of tags: its name, and the names of its numbers; None for strings."""

    name: str
    names: tuple[str, ...] | None


class TableReader:
    """Sentences of Parquet and Arrow files, in order; a row is a sentence and a document, from 1.

    Args:
        paths: the files; `.json` and `.md` files beside tables are counted.
        word: column of the tokens; a number stands for `tokens` or `words`.
        tag: column of the tags; a number finds the one with tags.
        counts: receives counts of rows without tokens.
    """

    def __init__(self, paths: Sequence[Path], word: int | str, tag: int | str, counts: ReadCounts) -> None:
        tables = [path for path in paths if path.suffix.lower() not in _BESIDE]
        if len(tables) < len(paths):
            counts.met["other_files"] += len(paths) - len(tables)
        self._paths, self._word, self._tag, self._counts = tables or list(paths), word, tag, counts
        self._faults = Faults()
        self.word: str | None = None
        self.tag: str | None = None

    def sentences(self) -> Iterator[Sentence]:
        """Yield the sentences, with tags as strings.

        Raises:
            InputError: not readable, no such columns, numbers without names; or at the end, naming the first rows that
                cannot be read.
        """
        document = 0
        for path in self._paths:
            self._counts.files += 1
            self._counts.last_path = str(path)
            try:
                word, tag, batches = self._columns(path)
            except UnicodeDecodeError as error:  # the name of a column
                raise _damaged(path, error) from error
            if self.tag is not None and (word, tag.name) != (self.word, self.tag):
                raise InputError(path, None, f"the columns {word} and {tag.name}", f"{self.word} and {self.tag}, as in "
                                 "the files before", "set labelled.columns.word and labelled.columns.tag")  # fmt: skip
            self.word, self.tag = word, tag.name
            number = 0
            for batch in batches:
                rows = zip(*(batch.column(name).to_pylist() for name in (word, tag.name)), strict=True)
                for tokens, tags in rows:
                    number += 1
                    sentence = self._sentence(path, number, document, tokens, tags, tag)
                    if sentence is not None:
                        document += 1
                        yield sentence
        if self._faults.count:
            raise error_of(self._faults.first, self._faults.count)

    def _sentence(self, path: Path, number: int, document: int, tokens: Any, tags: Any, column: _Column
                  ) -> Sentence | None:  # fmt: skip
        try:
            if not isinstance(tokens, list) or not isinstance(tags, list):
                raise BadRecord("no tokens or no tags (null)", "a list of tokens and a list of tags", "correct the row")
            names = tags if column.names is None else [_name(tag, column.names) for tag in tags]
            sentence = sentence_of(tokens, names, document, number, str(path))
        except BadRecord as bad:
            self._faults.add(BadLine(path, number, bad.found, bad.expected, bad.remedy))
            return None
        if sentence is None:
            self._counts.met["empty_records"] += 1
        return sentence

    def _columns(self, path: Path) -> tuple[str, _Column, Iterator[pa.RecordBatch]]:
        """Return the columns of a file, and its rows."""
        schema, batches = _open(path)
        first = next(batches, None)
        lists = {field.name: field.type.value_type for field in schema if _is_list(field.type)}
        words = [self._word] if isinstance(self._word, str) else [name for name in WORD_KEYS if name in lists]
        known = ", ".join(f"{field.name} ({field.type})" for field in schema)
        if not words or words[0] not in lists:
            found = f"no column {words[0] if words else 'tokens'} with lists of tokens (the columns are {known})"
            raise InputError(path, None, found, "a column with the tokens of each sentence",
                             "set labelled.columns.word to its name")  # fmt: skip
        names = _class_names(schema)
        tag = _Column(self._tag, names.get(self._tag)) if isinstance(self._tag, str) else None
        if tag is None:
            tag = _find_tags(path, lists, names, first, words[0], known)
        if tag.name not in lists:
            found = f"no column {tag.name} with lists of tags (the columns are {known})"
            expected, remedy = "a column with the tags of each sentence", "set labelled.columns.tag to its name"
            raise InputError(path, None, found, expected, remedy)
        if pa.types.is_integer(lists[tag.name]) and tag.names is None:
            raise InputError(path, None, f"numbers as tags in column {tag.name}, without their names",
                             "tags as strings, or the names (ClassLabel) in the schema's metadata",
                             "write the file with `datasets` (Dataset.to_parquet), or write the tags as strings"
                             )  # fmt: skip
        return words[0], tag, itertools.chain([first] if first is not None else [], batches)


def _name(tag: Any, names: Sequence[str]) -> str:
    if not isinstance(tag, int) or not 0 <= tag < len(names):
        raise BadRecord(f"the tag {tag!r}", f"a number from 0 to {len(names) - 1}, which have names", "correct the row")
    return names[tag]


def _find_tags(
    path: Path,
    lists: Mapping[str, pa.DataType],
    names: Mapping[str, tuple[str, ...]],
    first: pa.RecordBatch | None,
    word: str,
    known: str,
) -> _Column:
    """Return the column with tags: one that is named as usual, else the only one.

    Raises:
        InputError: there is none, or several.
    """
    columns = []
    for name, kind in lists.items():
        if name == word or not (pa.types.is_integer(kind) or _is_string(kind)):
            continue
        values = names.get(name, ())
        if _is_string(kind) and first is not None:
            values = tuple(
                {tag for row in first.column(name).slice(0, _SAMPLE).to_pylist() for tag in row or () if tag}
            )
        tags = [value for value in values if STANDARD.fullmatch(value) or is_outside(value)]
        if (name in TAG_KEYS) or (tags and len(tags) == len(values)):
            columns.append(_Column(name, names.get(name)))
    usual = [column for key in TAG_KEYS for column in columns if column.name == key]
    if usual or len(columns) == 1:
        return (usual or columns)[0]
    found = f"several columns with tags ({', '.join(column.name for column in columns)})" if columns else (
        f"no column with tags (the columns are {known})"
    )  # fmt: skip
    raise InputError(path, None, found, "one column with the tags of each sentence",
                     "set labelled.columns.tag to its name")  # fmt: skip


def _class_names(schema: pa.Schema) -> dict[str, tuple[str, ...]]:
    """Return the names of the numbers of each column, from the metadata of `datasets`."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return {name: found for name, feature in features.items() if (found := _names_in(feature))}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _names_in(feature: Any) -> tuple[str, ...]:
    """Return the names of the ClassLabel inside a feature: `{"feature": {"names": [...]}}`, or a list of one."""
    if isinstance(feature, list) and feature:
        return _names_in(feature[0])
    if not isinstance(feature, dict):
        return ()
    names = feature.get("names")
    if isinstance(names, list) and feature.get("_type", "ClassLabel") == "ClassLabel":
        return tuple(map(str, names))
    return _names_in(feature.get("feature"))


def _open(path: Path) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Return schema and rows of a Parquet file, an Arrow file, or an Arrow stream.

    Raises:
        InputError: it is none, or damaged.
    """
    try:
        with path.open("rb") as file:
            head = file.read(8)
        if head[:4] == b"FEA1":
            raise InputError(path, None, "a Feather file of version 1", "Parquet, Arrow or Feather of version 2",
                             "write it again as Parquet")  # fmt: skip
        if head[:4] == b"PAR1":
            table = pq.ParquetFile(path)
            return table.schema_arrow, _checked(path, table.iter_batches(1_000, use_threads=False))
        if head[:6] == b"ARROW1":
            arrow = pa.ipc.open_file(path)
            return arrow.schema, _checked(path, (arrow.get_batch(n) for n in range(arrow.num_record_batches)))
        stream = pa.ipc.open_stream(pa.OSFile(str(path)))
        return stream.schema, _checked(path, iter(stream))
    except _DAMAGED as error:
        raise _damaged(path, error) from error


def _checked(path: Path, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield batches whose buffers are sound: reading others may end the process."""
    try:
        for batch in batches:
            batch.validate(full=True)
            yield batch
    except _DAMAGED as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: BaseException) -> InputError:
    reason = (str(error).splitlines() or [type(error).__name__])[0][:100]
    return InputError(path, None, f"no readable table ({reason})", "a Parquet or Arrow file",
                      "copy or export the file again")  # fmt: skip


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _is_string(kind: pa.DataType) -> bool:
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(plain) or pa.types.is_large_string(plain) or pa.types.is_string_view(plain))
