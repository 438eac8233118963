"""Raw input files: which ones are meant, and their lines.

`.gz` and `.zst` are recognised by their ending. Reading streams: memory holds one block and at most one line.
Arrow's decompressors are used because they notice a file that was cut off; python-zstandard's reader does not.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from taglm_core.errors import InputError

MAX_LINE_BYTES = 64 * 2**20
"""A longer line is refused: it is no sentence, and it would have to be held in memory."""

_BLOCK_BYTES = 2**20
_COMPRESSION = {".gz": "gzip", ".zst": "zstd"}
_BOM = b"\xef\xbb\xbf"


def resolve_files(pattern: str | Path) -> list[Path]:
    """Finds the files that a path in a configuration means.

    Args:
        pattern: a file; a folder, which means all regular files in it at any depth, dotfiles and dot-folders left
            out; or a glob, in which `**` crosses folders.

    Returns:
        The files, those of a folder or a glob sorted by path.

    Raises:
        InputError: there is no such file.
    """
    path = Path(pattern).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        found = sorted(
            (file for file in path.rglob("*") if file.is_file() and not _is_hidden(file.relative_to(path))),
            key=lambda file: file.relative_to(path).as_posix(),
        )
    else:
        found = [Path(name) for name in sorted(glob.glob(str(path), recursive=True)) if Path(name).is_file()]  # noqa: PTH207 (Path.glob takes no absolute pattern)
    if not found:
        what = "a folder without files" if path.is_dir() else "nothing there"
        raise InputError(
            path,
            None,
            what,
            "a file, a folder with files, or a glob that matches files",
            f"check the path (relative paths start at {Path.cwd()})",
        )
    return found


def open_text(path: Path) -> Iterator[tuple[int, str]]:
    """Yields the lines of a UTF-8 file, decompressed by its ending.

    Args:
        path: plain, `.gz` or `.zst`.

    Yields:
        (1-based line number, line without its end). LF and CRLF end a line and nothing else does; a byte order mark
        is removed.

    Raises:
        InputError: not readable, cut off, not UTF-8 (with the line), or a line over `MAX_LINE_BYTES`.
    """
    number = 1
    first = True
    for block in _whole_lines(path):
        if first:
            block = block.removeprefix(_BOM)
            first = False
        lines = _decode(path, number, block).split("\n")
        if lines[-1] == "":
            lines.pop()  # what follows the last line end is no line
        for line in lines:
            yield number, line.rstrip("\r")
            number += 1


def _is_hidden(relative: Path) -> bool:
    return any(part.startswith(".") for part in relative.parts)


def _whole_lines(path: Path) -> Iterator[bytes]:
    """Yields blocks that end at a line end, but for the last one."""
    pending: list[bytes] = []
    pending_bytes = 0
    line_ends = 0
    for block in read_blocks(path):
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


def read_blocks(path: Path) -> Iterator[bytes]:
    """Yields the bytes of a file in blocks of up to 1 MiB, decompressed by its ending.

    Raises:
        InputError: not readable, or cut off.
    """
    compression = _COMPRESSION.get(path.suffix.lower())
    try:
        with pa.input_stream(str(path), compression=compression) as stream:
            while block := stream.read(_BLOCK_BYTES):
                yield block
    except OSError as error:
        expected = "a readable file" if compression is None else f"a whole {compression} file"
        raise InputError(
            path,
            None,
            f"an error while reading ({str(error).splitlines()[0]})",
            expected,
            "check that the file is complete and readable, and copy or download it again",
        ) from error


def _decode(path: Path, first_line: int, block: bytes) -> str:
    try:
        text = block.decode("utf-8")
    except UnicodeDecodeError as error:
        line = first_line + block.count(b"\n", 0, error.start)
        raise InputError(
            path,
            line,
            f"bytes that are not UTF-8 ({block[error.start : error.start + 4].hex(' ')})",
            "UTF-8 text",
            "convert the file first (for instance: iconv -f LATIN1 -t UTF-8)",
        ) from error
    if "\0" in text:
        line = first_line + text.count("\n", 0, text.index("\0"))
        raise InputError(
            path,
            line,
            "a NUL character",
            "UTF-8 text",
            "the file is binary or UTF-16: convert it first (for instance: iconv -f UTF-16 -t UTF-8)",
        )
    return text
