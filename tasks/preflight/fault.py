"""One fault of the environment, and how folders and SQLite files are looked at."""

from __future__ import annotations

import sqlite3
import tempfile
from dataclasses import dataclass
from pathlib import Path

from taglm_core.store.resources import nearest
from tasks.http import ASK_SECONDS


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that does not work.

    Attributes:
        what: it is about.
        found: what is there.
        remedy: what to do; empty where `found` says it.
        passing: whether it may pass by itself, as a server's restart does: a run goes on.
    """

    what: str
    found: str
    remedy: str = ""
    passing: bool = False

    def __str__(self) -> str:
        return f"{self.what}: {self.found}; {self.remedy}" if self.remedy else f"{self.what}: {self.found}"


def refused(what: str, error: Exception) -> Fault:
    """Return the fault that an error names; its last clause says what to do."""
    found, _, remedy = str(error).rpartition("; ")
    return Fault(what, found or remedy, remedy if found else "")


def folder_fault(what: str, folder: Path, remedy: str) -> Fault | None:
    """Return why nothing can be written to a folder, or made where it is missing; None if it can.

    Args:
        what: the folder is for.
        folder: which need not exist yet; looking at it makes nothing.
        remedy: what to do.
    """
    place = nearest(folder)
    try:
        if not place.is_dir():
            return Fault(what, f"{place} is a file; expected a folder", remedy)
        with tempfile.TemporaryFile(dir=place) as probe:
            probe.write(bytes(4096))  # an empty file fits on a full disk
            probe.flush()
    except OSError as error:
        return Fault(what, f"nothing can be written to {place} ({error.strerror})", remedy)
    return None


def sqlite_fault(what: str, path: Path, other: str) -> Fault | None:
    """Return why a file cannot be used as an SQLite database; None if it can, or if nobody has made it yet.

    Args:
        what: the database is for.
        path: of the file.
        other: how to choose another place.
    """
    if (fault := folder_fault(what, path.parent, other)) is not None or not path.exists():
        return fault
    if path.is_dir():
        return Fault(what, f"{path} is a folder; expected a database file", other)
    try:
        with path.open("r+b"):  # may it be written
            pass
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=ASK_SECONDS)
        try:
            connection.execute("SELECT 1 FROM sqlite_master LIMIT 1")
        finally:
            connection.close()
    except OSError as error:
        return Fault(what, f"{path} cannot be written ({error.strerror})", other)
    except sqlite3.Error as error:
        if "locked" not in str(error):  # else somebody writes: it passes in a moment
            return Fault(what, f"{path}: {error}", f"move it away (the next run makes a new one), or {other}")
    return None
