"""Writing so that a crash at any moment leaves either the old or the new, never half of it."""

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
    """Write JSON to a new name, flush it to the disk, rename it into place.

    Args:
        path: the file.
        value: its content.
        sort_keys: whether objects are written in the order of their keys.
        ensure_ascii: whether characters outside ASCII are escaped. Both options enter the digest of a payload file.
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
    """Read JSON; None where the file is absent or not JSON (half of a file after a power cut, say)."""
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
    """Hold a lock on a file, which the system frees when its holder dies; gives whether it is held.

    Whoever holds the lock may remove the file: others notice, and lock the file that is there then.

    Args:
        path: the file.
        wait: for whoever holds it; otherwise the block runs without the lock, and is told so.
        shared: with others that share it, too; otherwise with nobody.
        check_stop: called every moment of the wait; raises to give it up. (A signal's handler alone ends no wait.)
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
    """Hold the lock on one of several files, whichever is free first.

    Args:
        paths: the files.
        check_stop: called every moment of the wait; raises to give it up.
    """
    while True:
        check_stop()
        for path in paths:
            with locked(path, wait=False) as mine:
                if mine:
                    yield
                    return
        time.sleep(WAIT_SECONDS)


def is_at(file: IO[str], path: Path) -> bool:
    """Whether an open file is the one at a path: that one may have been removed meanwhile, or another be there."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def is_locked(path: Path) -> bool:
    """Whether somebody holds the lock on a file; no file, no lock. Leaves no trace."""
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
