"""A lock that is taken only if it is free."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO

from taglm_core.store.durable import is_at


class Claim:
    """Who tells the tracking store about a step: one process at a time. The system frees it when its holder dies.

    Args:
        path: the file that is locked.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None

    @property
    def held(self) -> bool:
        """Whether it is ours."""
        return self._file is not None

    def take(self) -> bool:
        """Take it, if nobody holds it."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = self._path.open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        if not is_at(file, self._path):  # removed by `taglm gc` in this moment
            file.close()
            return self.take()
        self._file = file
        return True

    def release(self) -> None:
        """Give it back."""
        if self._file is not None:
            self._file.close()
            self._file = None
