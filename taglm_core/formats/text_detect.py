"""The format of unlabelled text, by the content of its files."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from taglm_core.config.data import DEMO_PREFIX, TextFormat
from taglm_core.corpus.content import HEAD_BYTES, compression
from taglm_core.corpus.paths import resolve_files
from taglm_core.errors import InputError

if TYPE_CHECKING:
    from taglm_core.config.experiment import Experiment

TABLE_MAGIC = re.compile(rb"PAR1|ARROW1\0\0|\xff\xff\xff\xff..\0\0", re.DOTALL)
"""The beginning of a Parquet file, an Arrow file and an Arrow stream."""

_OPEN_OBJECT = re.compile(rb'\s*\{\s*"[^"\n]*"\s*:[^\n]*\Z')
_TOKEN_LINE = re.compile(rb"(\d+|\d+-\d+|\d+\.\d+)\t[^\t\n]+(\t[^\t\n]*){8}\r?")


def with_text_format(experiment: Experiment) -> Experiment:
    """Return an experiment whose `unlabelled.format` is no longer `auto`.

    Files that are missing or cannot be read count as tokenised lines, so that reading them gives its own error.

    Raises:
        InputError: the files have different formats.
    """
    text = experiment.unlabelled
    if text is None or text.format is not TextFormat.AUTO or text.path.startswith(DEMO_PREFIX):
        return experiment
    try:
        paths = resolve_files(text.path)
    except InputError:
        return experiment
    found = detect_text(paths)
    if found is TextFormat.TOKENISED:
        return experiment  # what `auto` means to the steps
    return experiment.model_copy(update={"unlabelled": text.model_copy(update={"format": found})})


def detect_text(paths: Sequence[Path]) -> TextFormat:
    """Return the format of unlabelled text: jsonl, parquet (also Arrow), conllu, or tokenised for all plain text.

    Empty files and files that cannot be read have no say.

    Raises:
        InputError: the files have different formats.
    """
    first: tuple[Path, TextFormat] | None = None
    for path in paths:
        found = _format_of(path)
        if found is None:
            continue
        if first is not None and found is not first[1]:
            raise InputError(
                path, None, f"a file that looks like {found}", f"{first[1]}, as {first[0].name}",
                "give files of one format, or name it in unlabelled.format",
            )  # fmt: skip
        first = first or (path, found)
    return TextFormat.TOKENISED if first is None else first[1]


def _format_of(path: Path) -> TextFormat | None:
    try:
        head = _head(path)
    except (InputError, OSError):
        return None
    if not head.strip():
        return None
    if TABLE_MAGIC.match(head):
        return TextFormat.PARQUET
    lines = head.removeprefix(b"\xef\xbb\xbf").lstrip().split(b"\n")
    if _is_object(lines[0], whole=len(lines) > 1 or len(head) < HEAD_BYTES):
        return TextFormat.JSONL
    tokens = [line for line in lines if line.strip() and not line.startswith(b"#")]
    if tokens and _TOKEN_LINE.fullmatch(tokens[0]):
        return TextFormat.CONLLU
    return TextFormat.TOKENISED


def _is_object(line: bytes, *, whole: bool) -> bool:
    """Return whether a line is a JSON object, or the beginning of one that is longer than what was read."""
    if not whole:
        return _OPEN_OBJECT.match(line) is not None
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _head(path: Path) -> bytes:
    """Return the first bytes of a file, decompressed."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if compression(head) is None:
        return head
    from taglm_core.corpus.files import read_blocks  # imports pyarrow

    return next(read_blocks(path), b"")[:HEAD_BYTES]
