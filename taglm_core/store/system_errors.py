"""Errors of the operating system as errors that name the file, what is wrong, and the remedy."""

from __future__ import annotations

import errno
from pathlib import Path

from taglm_core.errors import OutOfResources, StoreError, TagLMError
from taglm_core.store.resources import REMEDY

_ELSEWHERE = "or name another path (run.store, or the path in the experiment)"
_DENIED = ("no permission", f"give yourself permission to read and write it (`ls -ld` shows its owner), {_ELSEWHERE}")
_NO_FOLDER = ("a file where a folder is needed", f"move it away, {_ELSEWHERE}")
_EXPLANATIONS = {
    errno.EROFS: ("a read-only file system", f"make it writable, {_ELSEWHERE}"),
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.ENOTDIR: _NO_FOLDER,
    errno.EEXIST: _NO_FOLDER,
    errno.EISDIR: ("a folder where a file is needed", f"move it away, {_ELSEWHERE}"),
    errno.ENAMETOOLONG: ("a name that is too long for this file system", "shorten it"),
    errno.ELOOP: ("symbolic links that form a circle", "remove one of them"),
    errno.ESTALE: ("a file that the network file server no longer knows", "mount its folder again, and run again"),
}
"""What was found and the remedy, by error number, for errors that name a file."""


def system_error(error: OSError | MemoryError) -> TagLMError | None:
    """Return an error that a user can act on; None if there is nothing to add to the system's error."""
    if isinstance(error, MemoryError):
        return OutOfResources("the memory is full; stop other programs, or set run.workers=1")
    where = "" if error.filename is None else f"{Path(str(error.filename))}: "
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutOfResources(f"{where}the disk is full; finished work is kept; {REMEDY}")
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return OutOfResources(f"{where}too many open files; raise the limit (`ulimit -n 4096`), or set run.workers=1")
    if error.errno == errno.EIO:
        return StoreError(f"{where}input/output error; check the disk, {_ELSEWHERE}")
    if not where or error.errno not in _EXPLANATIONS:
        return None
    found, remedy = _EXPLANATIONS[error.errno]
    return StoreError(f"{where}found {found}; {remedy}")
