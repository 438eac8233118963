"""Which raw input files a path in a configuration means."""

from __future__ import annotations

import difflib
import glob
import os
import re
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from taglm_core.errors import InputError

_EXPECTED = "a file, a folder with files, or a glob that matches files"
_URL = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+):/")
_SPECIAL = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def resolve_files(pattern: str | Path) -> list[Path]:
    """Find the files that a path in a configuration means.

    Args:
        pattern: a file; a folder, which means all regular files in it at any depth, dotfiles and dot-folders left
            out; or a glob, in which `**` crosses folders. A file or folder that exists is never taken as a glob.

    Returns:
        The files, those of a folder or a glob sorted by path.

    Raises:
        InputError: there is no such file, or one of them is no regular file or may not be read.
    """
    path = _expanded(pattern)
    try:
        if path.is_dir():
            found = sorted(_files_below(path), key=lambda file: file.relative_to(path).as_posix())
        elif os.path.lexists(path):
            found = [path]
        else:
            found = [file for file in _matches(path) if not file.is_dir()]
        if not found:
            _refuse_nothing(pattern, path)
        for file in found:
            _require_readable(file)
    except OSError as error:  # a folder that may not be entered, or a name that is too long
        failed = error.filename or path
        look = f"`ls -ld {shlex.quote(str(failed))}`"
        _refuse(failed, f"an error ({error.strerror})", f"check that you may read it ({look} shows who may)")
    return found


def _expanded(pattern: str | Path) -> Path:
    if not str(pattern).strip():
        _refuse("(an empty path)", "nothing", "name the file, or write null")
    try:
        return Path(pattern).expanduser()
    except RuntimeError:
        _refuse(pattern, "a user who has no home folder here", "write the whole path")


def _files_below(folder: Path) -> Iterator[Path]:
    """Yield all files below a folder, at any depth, that are not hidden."""

    def complain(error: OSError) -> None:
        raise error

    for parent, folders, files in os.walk(folder, onerror=complain):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(parent, name) for name in files if not name.startswith("."))


def _matches(path: Path) -> list[Path]:
    """Return the sorted matches of a glob; its leading folders that exist are taken literally."""
    literal = next((parent for parent in path.parents if parent.is_dir()), Path())
    pattern = str(Path(glob.escape(str(literal)), path.relative_to(literal)))
    return [Path(name) for name in sorted(glob.glob(pattern, recursive=True))]  # noqa: PTH207 (Path.glob takes no absolute pattern)


def _require_readable(file: Path) -> None:
    """Refuse what is there and cannot be read as a file: by its own name, and never by leaving it out."""
    if not file.exists():
        target = file.readlink()
        annexed = ".git/annex/objects" in str(target)
        fetch = f"fetch it (`git annex get {shlex.quote(str(file))}`)" if annexed else "restore that file"
        _refuse(file, f"a symbolic link to {target}, which is not there", f"{fetch}, or remove the link")
    mode = file.stat().st_mode
    for is_special, name in _SPECIAL:
        if is_special(mode):
            _refuse(file, name, "write its content to a file first (every file is read more than once)")
    if not os.access(file, os.R_OK):
        _refuse(file, "a file that you may not read", f"allow it: `chmod u+r {shlex.quote(str(file))}`")


def _refuse_nothing(pattern: str | Path, path: Path) -> NoReturn:
    text = str(pattern)
    if path.is_dir():
        _refuse(pattern, "a folder without files (hidden ones do not count)", "check the path, or put the files there")
    if url := _URL.match(text):
        _refuse(pattern, f"a URL ({url[1]})", "download the file first; paths are of this machine")
    if re.search(r"\{.*,.*\}", text):
        _refuse(pattern, "nothing of that name (braces have no meaning here)",
                "use * and ?, or put the files into one folder")  # fmt: skip
    if "$" in text:
        _refuse(pattern, "nothing of that name (variables such as $HOME are not replaced)", "write the whole path")
    if "\\" in text:
        _refuse(pattern, "nothing of that name (with a backslash in it)", "write / between folders")
    folder = next(parent for parent in (*path.parents, Path()) if parent.is_dir())
    missing = path.relative_to(folder).parts[0]
    stop = folder / missing
    if stop.is_file():
        _refuse(pattern, f"{stop}, which is a file and no folder", "check the path")
    if os.path.lexists(stop):
        _require_readable(stop)
    names = {entry.name.lower(): entry.name for entry in sorted(folder.iterdir())}
    near = difflib.get_close_matches(missing.lower(), names, 1)
    hint = f"the nearest name is {names[near[0]]!r}" if near else "check the path"
    kind = "that matches" if glob.has_magic(missing) else f"named {missing!r}"
    relative = "" if path.is_absolute() else f" (relative paths start at {Path.cwd()})"
    _refuse(pattern, f"nothing {kind} in {folder.absolute()}", f"{hint}{relative}")


def _refuse(path: Path | str, found: str, remedy: str) -> NoReturn:
    raise InputError(path, None, found, _EXPECTED, remedy)
