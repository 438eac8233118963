"""The format of labelled files and of unlabelled text, by their content."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Sequence
from pathlib import Path

from taglm_core.config.data import LabelledFormat, TextFormat
from taglm_core.errors import InputError, TagLMError

_JSON = re.compile(rb'\s*(\[\s*)*\{\s*"[^"\n]*"\s*:|\s*\[\s*\[?\s*"(\\.|[^"\\])*"\s*,\s*\{|\s*\[\s*\]\s*\Z')
_OBJECTS = re.compile(rb'\s*\[\s*\{\s*"[^"\n]*"\s*:')  # one array
_TABLE = re.compile(rb"PAR1|ARROW1\0\0|\xff\xff\xff\xff...\0|FEA1", re.DOTALL)
_OPEN_OBJECT = re.compile(rb'\s*\{\s*"[^"\n]*"\s*:[^\n]*\Z')
_GLOBAL_COLUMNS = re.compile(r"#\s*global\.columns\s*=")
_NUMBER = re.compile(r"\d+([-.]\d+)?")
_MOST_FILES = 50
_BESIDE = {".json", ".md", ".lock"}  # beside the tables of `datasets`
_LINES = 200


def detect_labelled(paths: Sequence[Path], word: int | str = 0, tag: int | str = -1) -> LabelledFormat:
    """Return the format of labelled files, all splits together; CoNLL columns where nothing else is recognised.

    Args:
        paths: the files; the first `_MOST_FILES` are looked at.
        word: column of the word. With other numbers than the usual ones for word and tag, ten columns with numbers in
            front are CoNLL columns.
        tag: column of the tag.

    Raises:
        InputError: the files are in different formats.
    """
    from taglm_core.formats.brat import kind_of

    if any(kind_of(path) == ".ann" for path in paths):
        return LabelledFormat.BRAT
    has_columns = (word, tag) != (0, -1) and isinstance(word, int) and isinstance(tag, int)
    found: dict[LabelledFormat, Path] = {}
    for path in paths[:_MOST_FILES]:
        found.setdefault(_format_of(path, has_columns), path)
    beside = found.get(LabelledFormat.JSONL)
    if LabelledFormat.PARQUET in found and beside is not None and beside.suffix.lower() in _BESIDE:
        return LabelledFormat.PARQUET
    if len(found) > 1:
        (first, path), (second, other) = list(found.items())[:2]
        raise InputError(path, None, f"{first}, but {other} is {second}", "one format for all splits",
                         "convert one of them, or set labelled.format if this is wrong")  # fmt: skip
    return next(iter(found), LabelledFormat.CONLL)


def detect_text(paths: Sequence[Path]) -> TextFormat:
    """Return the format of unlabelled text: jsonl, parquet (also Arrow), conllu, or tokenised for all plain text.

    Empty files and files that cannot be read have no say.

    Args:
        paths: the files; the first `_MOST_FILES` are looked at.

    Raises:
        InputError: the files have different formats.
    """
    first: tuple[Path, TextFormat] | None = None
    for path in paths[:_MOST_FILES]:
        found = _text_format_of(path)
        if found is None:
            continue
        if first is not None and found is not first[1]:
            raise InputError(
                path, None, f"a file that looks like {found}", f"{first[1]}, as {first[0].name}",
                "give files of one format, or name it in unlabelled.format",
            )  # fmt: skip
        first = first or (path, found)
    return TextFormat.TOKENISED if first is None else first[1]


def _text_format_of(path: Path) -> TextFormat | None:
    """Return the format of one file of text; None for an empty one and one that cannot be read."""
    head = _head(path)
    if head is None or not head.strip():
        return None
    if _TABLE.match(head):
        return TextFormat.PARQUET
    lines = head.split(b"\n")
    first = next(line for line in lines if line.strip())
    if _is_object(first, whole=first is not lines[-1]) or _OBJECTS.match(head):
        return TextFormat.JSONL
    return TextFormat.CONLLU if _is_conllu(head) else TextFormat.TOKENISED


def _is_object(line: bytes, *, whole: bool) -> bool:
    """Return whether a line is a JSON object, or the beginning of one that is longer than what was read."""
    if not whole:
        return _OPEN_OBJECT.match(line) is not None
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _format_of(path: Path, has_columns: bool) -> LabelledFormat:
    """Return the format of one file; CoNLL for files that cannot be read, whose error comes later."""
    head = _head(path)
    if head is None:
        return LabelledFormat.CONLL
    if _TABLE.match(head):
        return LabelledFormat.PARQUET
    if _is_docbin(head):
        return LabelledFormat.DOCBIN
    if _JSON.match(head):
        return LabelledFormat.JSONL
    return LabelledFormat.CONLLU if _is_conllu(head, has_columns=has_columns) else LabelledFormat.CONLL


def _head(path: Path) -> bytes | None:
    """Return the first block of a file, decompressed; None if it cannot be read."""
    from taglm_core.corpus.files import BOM, read_blocks

    try:
        return next(read_blocks(path), b"").removeprefix(BOM)
    except TagLMError:
        return None


def _is_conllu(head: bytes, *, has_columns: bool = False) -> bool:
    """Return whether a text has ten columns with numbers in front, or names its columns."""
    lines = head.decode("utf-8", "replace").splitlines()[:_LINES]
    if any(_GLOBAL_COLUMNS.match(line) for line in lines[:20]):
        return True
    rows = [line.split("\t") for line in lines if line.strip() and not line.startswith("#")]
    is_conllu = bool(rows) and all(len(row) == 10 and _NUMBER.fullmatch(row[0]) for row in rows[: _LINES // 2])
    return is_conllu and not has_columns


def _is_docbin(head: bytes) -> bool:
    """Return whether a file is zlib data that hold a map with the key `attrs`, as DocBin writes."""
    if head[:1] != b"\x78":
        return False
    try:
        return b"attrs" in zlib.decompressobj().decompress(head, 4096)
    except zlib.error:
        return False
