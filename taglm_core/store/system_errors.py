"""Errors of the operating system in words: what is wrong with which file, and what to do."""

from __future__ import annotations

import errno
from pathlib import Path

from taglm_core.errors import OutOfResources, StoreError, TagLMError
from taglm_core.store.resources import REMEDY

_ELSEWHERE = "or name another place (run.store, or the path in the experiment)"
_RIGHTS = ("no permission", f"give yourself the right to read and write it (`ls -ld` shows whose it is), {_ELSEWHERE}")
_A_FILE = ("a file where a folder is needed", f"move it away, {_ELSEWHERE}")
_WORDS = {
    errno.EROFS: ("a read-only file system", f"make it writable, {_ELSEWHERE}"),
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.ENOTDIR: _A_FILE,
    errno.EEXIST: _A_FILE,
    errno.EISDIR: ("a folder where a file is needed", f"move it away, {_ELSEWHERE}"),
    errno.ENAMETOOLONG: ("a name that is too long for this file system", "shorten it"),
    errno.ELOOP: ("links that lead in a circle", "remove one of them"),
    errno.ESTALE: ("a file that the network's file server no longer knows", "mount its folder again and run again"),
}
"""What was found and what to do, by error number, where the system names the file."""


def system_error(error: OSError | MemoryError) -> TagLMError | None:
    """An error of the operating system as one that a user can act on; None where nothing more can be said of it."""
    if isinstance(error, MemoryError):
        return OutOfResources(
            "the memory is full; stop other programs, or set run.workers=1 so that less is done at once"
        )
    where = "" if error.filename is None else f"{Path(str(error.filename))}: "
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutOfResources(f"{where}the disk is full; what is finished is kept: {REMEDY}")
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return OutOfResources(
            f"{where}too many files are open; raise the limit (`ulimit -n 4096`), or set run.workers=1"
        )
    if error.errno == errno.EIO:
        return StoreError(
            f"{where}the disk cannot be read or written (input/output error); check the disk, {_ELSEWHERE}"
        )
    if not where or error.errno not in _WORDS:
        return None
    found, remedy = _WORDS[error.errno]
    return StoreError(f"{where}found {found}; {remedy}")
