"""The format of labelled files, by their content."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from pathlib import Path

from taglm_core.config.data import LabelledFormat
from taglm_core.errors import InputError, TagLMError

_JSON = re.compile(rb'\s*(\[\s*)*\{\s*"[^"\n]*"\s*:|\s*\[\s*\[?\s*"(\\.|[^"\\])*"\s*,\s*\{|\s*\[\s*\]\s*\Z')
_TABLE = re.compile(rb"PAR1|ARROW1\0\0|\xff\xff\xff\xff...\0|FEA1", re.DOTALL)
_GLOBAL_COLUMNS = re.compile(r"#\s*global\.columns\s*=")
_NUMBER = re.compile(r"\d+([-.]\d+)?")
_MOST_FILES = 50
_BESIDE = {".json", ".md", ".lock"}  # beside the tables of `datasets`
_LINES = 200


def detect_labelled(paths: Sequence[Path], *, has_columns: bool = False) -> LabelledFormat:
    """Return the format of labelled files, all splits together; CoNLL columns where nothing else is recognised.

    Args:
        paths: the files; the first `_MOST_FILES` are looked at.
        has_columns: whether columns are configured; ten columns with numbers in front are CoNLL columns then.

    Raises:
        InputError: the files are in different formats.
    """
    from taglm_core.formats.brat import kind_of

    if any(kind_of(path) == ".ann" for path in paths):
        return LabelledFormat.BRAT
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


def _format_of(path: Path, has_columns: bool) -> LabelledFormat:
    """Return the format of one file; CoNLL for files that cannot be read, whose error comes later."""
    from taglm_core.corpus.files import BOM, read_blocks

    try:
        head = next(read_blocks(path), b"").removeprefix(BOM)
    except TagLMError:
        return LabelledFormat.CONLL
    if _TABLE.match(head):
        return LabelledFormat.PARQUET
    if _is_docbin(head):
        return LabelledFormat.DOCBIN
    if _JSON.match(head):
        return LabelledFormat.JSONL
    lines = head.decode("utf-8", "replace").splitlines()[:_LINES]
    if any(_GLOBAL_COLUMNS.match(line) for line in lines[:20]):
        return LabelledFormat.CONLLU
    rows = [line.split("\t") for line in lines if line.strip() and not line.startswith("#")]
    is_conllu = bool(rows) and all(len(row) == 10 and _NUMBER.fullmatch(row[0]) for row in rows[: _LINES // 2])
    return LabelledFormat.CONLLU if is_conllu and not has_columns else LabelledFormat.CONLL


def _is_docbin(head: bytes) -> bool:
    """Return whether a file is zlib data that hold a map with the key `attrs`, as DocBin writes."""
    if head[:1] != b"\x78":
        return False
    try:
        return b"attrs" in zlib.decompressobj().decompress(head, 4096)
    except zlib.error:
        return False
