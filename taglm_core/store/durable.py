"""Crash-safe files and file locks: a crash at any moment leaves the old file or the new one, never a half."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

WAIT_SECONDS = 0.2  # between two attempts at a lock


def write_json(path: Path, value: Any, *, sort_keys: bool = False, ensure_ascii: bool = False) -> None:
    """Write JSON to a temporary file, flush it to the disk, and rename it into place.

    Args:
        path: the file.
        value: the content.
        sort_keys: whether to sort the keys of objects.
        ensure_ascii: whether to escape characters outside ASCII. Both options enter the digest of a payload file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(value, file, indent=1, sort_keys=sort_keys, ensure_ascii=ensure_ascii)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def read_json(path: Path) -> Any | None:
    """Return the JSON of a file; None if the file is absent or not JSON (half a file after a power cut, say)."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def sync_tree(folder: Path) -> None:
    """Flush every file and folder below `folder` to the disk."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        else:
            sync_folder(path)
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries (renames in it) to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def locked(
    path: Path, *, wait: bool = True, shared: bool = False, check_stop: Callable[[], None] | None = None
) -> Iterator[bool]:
    """Lock a file for a block and yield whether the lock is held. The system frees the lock when its holder dies.

    The holder may remove the file; waiting processes notice and lock the new file.

    Args:
        path: the file.
        wait: wait for the lock; without it, a held lock gives False at once.
        shared: allow other shared locks at the same time.
        check_stop: called repeatedly during the wait; raises to end it (a signal handler alone does not).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait and check_stop is None else fcntl.LOCK_NB)
    while True:
        with path.open("a") as file:
            held = _flock(file, mode)
            if is_at(file, path) if held else not wait:
                yield held
                return
        if not held and check_stop is not None:
            check_stop()
            time.sleep(WAIT_SECONDS)


@contextlib.contextmanager
def one_locked(paths: Sequence[Path], check_stop: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Lock whichever of several files is free first.

    Args:
        paths: the files.
        check_stop: called repeatedly during the wait; raises to end it.
    """
    while True:
        check_stop()
        for path in paths:
            with locked(path, wait=False) as held:
                if held:
                    yield
                    return
        time.sleep(WAIT_SECONDS)


def is_at(file: IO[str], path: Path) -> bool:
    """Return whether an open file is still the file at a path; another process may have removed or replaced that."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def is_locked(path: Path) -> bool:
    """Return whether a process holds the lock on a file; False if there is no file. Creates nothing."""
    try:
        with path.open() as file:
            return not _flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False


def _flock(file: IO[str], mode: int) -> bool:
    try:
        fcntl.flock(file, mode)
    except BlockingIOError:
        return False
    return True


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
