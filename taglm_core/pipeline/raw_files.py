"""Raw input files whose digests a store holds."""

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
    """A raw input file at the time of reading.

    Attributes:
        path: path of the file.
        bytes: size.
        sha256: SHA-256 of its bytes.
        unchanged: whether the file still exists with the same size, time and inode.
    """

    path: str
    bytes: int
    sha256: str
    unchanged: bool


class RawFiles:
    """Raw input files that a store has read, identified by path, size, time and inode."""

    def __init__(self, store: Store) -> None:
        self._known: dict[tuple[str | int, ...], str] = {}
        for path in sorted((store.root / "raw").glob("*.json")):
            data = read_json(path)
            with contextlib.suppress(KeyError, TypeError):  # half a file, or another version wrote it
                self._known[tuple(data["stamp"])] = str(data["sha256"])  # type: ignore[index]
        self._single = {raw_digest([sha256]): stamp for stamp, sha256 in self._known.items()}

    def of(self, digest: str, pattern: str | None) -> tuple[RawFile, ...]:
        """Return the files of a raw digest; none if they are gone or changed.

        Args:
            digest: digest of all files together.
            pattern: their path in the experiment, if known.
        """
        if digest in self._single:
            return (self._file(self._single[digest]),)
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
