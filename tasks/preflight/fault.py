"""A fault of the environment, and checks of folders and SQLite files."""

from __future__ import annotations

import sqlite3
import tempfile
from dataclasses import dataclass
from pathlib import Path

from taglm_core.store.resources import nearest
from tasks.http import ASK_SECONDS


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of the environment.

    Attributes:
        what: subject of the fault.
        found: what is wrong.
        remedy: what to do; empty if `found` says it.
        passing: whether the fault is transient, such as the restart of a server; then a run goes on.
    """

    what: str
    found: str
    remedy: str = ""
    passing: bool = False

    def __str__(self) -> str:
        return f"{self.what}: {self.found}; {self.remedy}" if self.remedy else f"{self.what}: {self.found}"


def refused(what: str, error: Exception) -> Fault:
    """Return the fault of an error whose message ends with the remedy."""
    found, _, remedy = str(error).rpartition("; ")
    return Fault(what, found or remedy, remedy if found else "")


def folder_fault(what: str, folder: Path, remedy: str) -> Fault | None:
    """Return the fault of a folder that cannot be written to or created; None if there is none. Create nothing.

    Args:
        what: subject of the fault.
        folder: folder, which need not exist yet.
        remedy: what to do.
    """
    parent = nearest(folder)
    try:
        if not parent.is_dir():
            return Fault(what, f"{parent} is a file; expected a folder", remedy)
        with tempfile.TemporaryFile(dir=parent) as probe:
            probe.write(bytes(4096))  # an empty file fits on a full disk
            probe.flush()
    except OSError as error:
        return Fault(what, f"{parent} is not writable ({error.strerror})", remedy)
    return None


def sqlite_fault(what: str, path: Path, other: str) -> Fault | None:
    """Return the fault of an SQLite file; None if it is usable or does not exist yet.

    Args:
        what: subject of the fault.
        path: path of the file.
        other: remedy that chooses another path.
    """
    if (fault := folder_fault(what, path.parent, other)) is not None or not path.exists():
        return fault
    if path.is_dir():
        return Fault(what, f"{path} is a folder; expected a database file", other)
    try:
        with path.open("r+b"):  # is it writable
            pass
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=ASK_SECONDS)
        try:
            connection.execute("SELECT 1 FROM sqlite_master LIMIT 1")
        finally:
            connection.close()
    except OSError as error:
        return Fault(what, f"{path} is not writable ({error.strerror})", other)
    except sqlite3.Error as error:
        if "locked" not in str(error):  # a lock is transient
            return Fault(what, f"{path}: {error}", f"move it away (the next run creates a new one), or {other}")
    return None
