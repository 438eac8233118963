"""Records of JSON files: one a line, one array, or values after each other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taglm_core.corpus.files import open_text, read_blocks, whole_text
from taglm_core.corpus.sentence import ReadCounts
from taglm_core.errors import InputError

_SPACE = re.compile(r"[ \t\r\n,]*")
_ARRAY = re.compile(rb"(\xef\xbb\xbf)?\s*\[\s*([\[{\]]|\Z)")  # of records; a record may be `["text", {...}]`
_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class JsonRecord:
    """A record.

    Attributes:
        value: its value.
        line: line where it begins, from 1.
    """

    value: Any
    line: int


def read_json_records(path: Path, counts: ReadCounts | None = None) -> Iterator[JsonRecord]:
    """Yield the records of a JSON file.

    A file whose lines are whole records streams. One array, and records that take several lines, are read as a whole.

    Raises:
        InputError: not readable, or not JSON (with the line).
    """
    if holds_array(path):
        yield from _whole(path)
        return
    is_first = True
    for number, line in open_text(path, counts):
        if not line.strip():
            continue
        if is_first and not _is_whole(line):
            yield from _whole(path)
            return
        yield JsonRecord(_parsed(path, number, line), number)
        is_first = False


def holds_array(path: Path) -> bool:
    """Return whether a file is one JSON array of records.

    Raises:
        InputError: not readable.
    """
    return _ARRAY.match(next(read_blocks(path), b"")) is not None


def without_surrogates(text: str) -> str:
    """Return a text in which each half of a surrogate pair without its other half is the replacement character."""
    return text if text.isascii() else _SURROGATES.sub("\ufffd", text)


def _is_whole(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _parsed(path: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _no_json(path, number, error) from error


def _whole(path: Path) -> Iterator[JsonRecord]:
    text = whole_text(path)
    decoder, place, line, counted = json.JSONDecoder(), 0, 1, 0
    is_array = text.lstrip().startswith("[")
    if is_array:
        place = text.index("[") + 1
    while True:
        found = _SPACE.match(text, place)
        place = found.end() if found is not None else place
        line += text.count("\n", counted, place)
        counted = place
        if place == len(text):
            if is_array:
                raise _no_json(path, line, ValueError("the array does not end"))
            return
        if is_array and text[place] == "]":
            if text[place + 1 :].strip():
                raise _no_json(path, line, ValueError("data after the array"))
            return
        try:
            value, place = decoder.raw_decode(text, place)
        except json.JSONDecodeError as error:
            raise _no_json(path, error.lineno, error) from error
        except (ValueError, RecursionError) as error:
            raise _no_json(path, line, error) from error
        yield JsonRecord(value, line)


def _no_json(path: Path, line: int, error: Exception) -> InputError:
    reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error).splitlines()[0]
    return InputError(path, line, f"no JSON ({reason})", "one JSON object a line, or one array of objects",
                      "correct the line, or export the file again")  # fmt: skip
