"""Raw input files that a store remembers."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from taglm_core.corpus.paths import resolve_files
from taglm_core.errors import InputError
from taglm_core.store.durable import read_json
from taglm_core.store.store import Store, raw_digest


@dataclass(frozen=True, slots=True)
class RawFile:
    """A raw input file as it was when it was read.

    Attributes:
        path: where it was.
        bytes: its size.
        sha256: of its bytes.
        there: whether it is there still, with this size and time of change.
    """

    path: str
    bytes: int
    sha256: str
    there: bool


class RawFiles:
    """Raw input files that a store remembers: those it has read, by size, time and inode."""

    def __init__(self, store: Store) -> None:
        self._known: dict[tuple[str | int, ...], str] = {}
        for path in sorted((store.root / "raw").glob("*.json")):
            data = read_json(path)
            with contextlib.suppress(KeyError, TypeError):  # half of a file, or another version's
                self._known[tuple(data["stamp"])] = str(data["sha256"])  # type: ignore[index]
        self._alone = {raw_digest([sha256]): stamp for stamp, sha256 in self._known.items()}

    def of(self, digest: str, pattern: str | None) -> tuple[RawFile, ...]:
        """The files behind a raw digest; none where they are gone or others by now.

        Args:
            digest: of the files together.
            pattern: their path in the experiment, where that is known.
        """
        if digest in self._alone:
            return (self._file(self._alone[digest]),)
        if pattern is None:
            return ()
        try:
            stamps = [tuple(Store.stamp(path)) for path in resolve_files(pattern)]
        except InputError:
            return ()
        if not all(stamp in self._known for stamp in stamps):
            return ()
        if raw_digest([self._known[stamp] for stamp in stamps]) != digest:
            return ()
        return tuple(self._file(stamp) for stamp in stamps)

    def _file(self, stamp: tuple[str | int, ...]) -> RawFile:
        path, size = str(stamp[0]), int(stamp[1])
        return RawFile(path, size, self._known[stamp], tuple(Store.stamp(Path(path))) == stamp)
