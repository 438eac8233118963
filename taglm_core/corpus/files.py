"""The lines of raw input files (`taglm_core.corpus.paths`: the files of a path).

Compressed files are recognised by their content, whatever their name is. Reading streams: memory holds one block and
at most one line. Arrow's decompressors are used because they notice a file that was cut off.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import zstandard

from taglm_core.corpus.content import (
    COMPRESSED_SUFFIXES,
    HEAD_BYTES,
    compression,
    fill,
    refuse_foreign,
    unpack_command,
)
from taglm_core.corpus.encodings import not_utf8
from taglm_core.corpus.sentence import ReadCounts
from taglm_core.errors import InputError

MAX_LINE_BYTES = 64 * 2**20
"""A longer line is refused: it is no sentence, and it would have to be held in memory."""

_BLOCK_BYTES = 2**20
_PIECE_BYTES = 2**13  # of a file of zstd's --long: a piece may become a hundred MiB
_ARROWS_WINDOW = 2**27
_LARGEST_WINDOW = 2**31
BOM = b"\xef\xbb\xbf"
_TEXT = "UTF-8 text, plain or compressed"


def open_text(path: Path, counts: ReadCounts | None = None) -> Iterator[tuple[int, str]]:
    """Yield the lines of a UTF-8 file, decompressed by its content.

    LF and CRLF end a line and nothing else does. Byte order marks are removed at the beginning of every line: files
    that were joined have them in their middle.

    Args:
        path: plain, gzip, zstd, bz2, xz or lz4.
        counts: receives notes on peculiarities of the file.

    Yields:
        (1-based line number, line without its end).

    Raises:
        InputError: not readable, cut off, not UTF-8 (with the line), no text at all (archives, documents, databases),
            or a line over `MAX_LINE_BYTES`.
    """
    number, marks, first_mark = 1, 0, 0
    for block in whole_lines(path):
        text = _decode(path, number, block)
        lines = text.split("\n")
        if lines[-1] == "":
            lines.pop()  # what follows the last line end is no line
        marked = "\ufeff" in text
        for line in lines:
            if marked and line.startswith("\ufeff"):
                marks, first_mark = marks + 1, first_mark or number
                line = line.lstrip("\ufeff")
            yield number, line.rstrip("\r")
            number += 1
    if counts is not None and number == 1:
        counts.notes.append(f"{path}: the file is empty")
    if counts is not None and marks:
        what = "1 byte order mark" if marks == 1 else f"{marks:,} byte order marks"
        counts.notes.append(f"{path}:{first_mark}: {what} inside the file left out (joined files have them)")


def whole_lines(path: Path, expected: str = _TEXT) -> Iterator[bytes]:
    """Yield the decompressed bytes of a text in blocks that end at a line end, but for the last one.

    A byte order mark at the beginning is removed.

    Args:
        path: plain or compressed.
        expected: what the file should be, for messages.

    Raises:
        InputError: as `open_text`, encoding aside.
    """
    pending: list[bytes] = []
    pending_bytes = line_ends = 0
    for number, block in enumerate(read_blocks(path)):
        if number == 0:
            refuse_foreign(path, block, expected)
            block = block.removeprefix(BOM)
            refuse_old_line_ends(path, block)
        head, newline, tail = block.rpartition(b"\n")
        if newline:
            yield b"".join([*pending, head, newline])
            line_ends += block.count(b"\n")
            pending, pending_bytes = [], 0
        pending.append(tail)
        pending_bytes += len(tail)
        if pending_bytes > MAX_LINE_BYTES:
            raise InputError(
                path,
                line_ends + 1,
                f"a line of more than {MAX_LINE_BYTES // 2**20} MiB",
                "one sentence or one token a line",
                "split the text into sentences, one a line",
            )
    if pending_bytes:
        yield b"".join(pending)


def whole_text(path: Path) -> str:
    """Return the text of a UTF-8 file with its line ends; a byte order mark at the beginning is removed.

    Raises:
        InputError: as `open_text`, long lines aside.
    """
    data = b"".join(read_blocks(path))
    refuse_foreign(path, data, _TEXT)
    return _decode(path, 1, data.removeprefix(BOM))


def read_blocks(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a file in blocks, of about 1 MiB and never empty, decompressed by the file's content.

    Raises:
        InputError: not readable, or cut off.
    """
    kind = None
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        kind = compression(head)
        named = COMPRESSED_SUFFIXES.get(path.suffix.lower())
        if not head and named is not None:
            raise InputError(path, None, "an empty file (0 bytes)", f"{named} data, as its name says",
                             "copy or download the file again, or remove it")  # fmt: skip
        yield from filter(None, _read_long_zstd(path) if _needs_long_window(kind, head) else _read(path, kind))
    except (OSError, EOFError, lzma.LZMAError, zstandard.ZstdError) as error:
        said = (getattr(error, "strerror", None) or str(error)).splitlines()[0]
        if kind is None:
            expected, remedy = "a readable file", "check that the file is there and that you may read it"
        else:
            expected = f"a whole {kind} file"
            remedy = "the file was cut off or damaged: copy or download it again"
        raise InputError(path, None, f"an error while reading ({said})", expected, remedy) from error


def _read(path: Path, kind: str | None) -> Iterator[bytes]:
    with lzma.open(path) if kind == "xz" else pa.input_stream(str(path), compression=kind) as stream:
        while block := stream.read(_BLOCK_BYTES):
            yield block


def _needs_long_window(kind: str | None, head: bytes) -> bool:
    """Return whether zstd's --long with more than 27 made a file: Arrow takes no such window."""
    if kind != "zstd":
        return False
    try:
        return int(zstandard.get_frame_parameters(head).window_size) > _ARROWS_WINDOW
    except zstandard.ZstdError:  # not a frame of data
        return False


def _read_long_zstd(path: Path) -> Iterator[bytes]:
    """Decompress frame by frame: only so python-zstandard tells that one was cut off."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW)
    frame = None
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            while piece:
                frame = frame or decompressor.decompressobj()
                yield frame.decompress(piece)
                piece, frame = (frame.unused_data, None) if frame.eof else (b"", frame)
    if frame is not None:
        raise EOFError("Truncated compressed stream")


def refuse_old_line_ends(path: Path, block: bytes) -> None:
    """Refuse a text whose lines end in CR alone: it would be one line.

    Args:
        path: the file.
        block: its beginning.

    Raises:
        InputError: there is no LF in it, but CR within it.
    """
    if b"\n" in block or b"\r" not in block.rstrip(b"\r"):
        return
    source = f"{unpack_command(path) or 'cat'} {{path}}"
    raise InputError(path, 1, "line ends of old Macs (CR alone)", "LF or CRLF line ends",
                     fill(f"convert them: `{source} | tr '\\r' '\\n' > {{plain}}`", path))  # fmt: skip


def _decode(path: Path, first_line: int, block: bytes) -> str:
    try:
        text = block.decode("utf-8")
    except UnicodeDecodeError as error:
        line = first_line + block.count(b"\n", 0, error.start)
        raise not_utf8(path, line, block, error, read_blocks(path)) from error
    if "\0" in text:
        refuse_nul(path, first_line + text.count("\n", 0, text.index("\0")))
    return text


def refuse_nul(path: Path, line: int) -> None:
    """Refuse a NUL character.

    Raises:
        InputError: always.
    """
    remove = f"`{unpack_command(path) or 'cat'} {{path}} | tr -d '\\000' > {{plain}}`"
    raise InputError(path, line, "a NUL character", "UTF-8 text",
                     fill(f"look at the line, or remove all NUL characters: {remove}", path))  # fmt: skip
