"""Output in parts: each is written whole or not at all, and a killed run goes on with the next one.

Beside an output file, or inside an output folder, lies a hidden folder of the work:

    run.json          what is tagged, by which model, how: another value starts anew
    part-00000.json   counts of a part; written last, so that the part is complete
    part-00000.jsonl  the part (of a file; those of a folder lie in the folder itself)
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from taglm_core.errors import ConfigError
from taglm_core.store.durable import locked, read_json, sync_folder, write_json
from tasks.predicting.tally import Tally
from tasks.predicting.writers import Writer

WORK = ".taglm-predict"
_RUN = "run.json"


class Parts:
    """The parts of an output. Use `open_parts`.

    Args:
        target: output file or folder.
        folder: whether it is a folder.
        writer: format of the parts.

    Attributes:
        tally: counts of the complete parts.
        count: number of complete parts.
    """

    def __init__(self, target: Path, writer: Writer, *, folder: bool) -> None:
        self.target, self._writer, self._folder = target, writer, folder
        self.work = work_of(target, folder=folder)
        self._place = target if folder else self.work
        self.tally, self.count = Tally(), 0

    def begin(self, identity: Mapping[str, Any], say: Callable[[str], None]) -> None:
        """Go on with the parts of the same run; remove those of another.

        Args:
            identity: what makes the output what it is, as JSON values by subject.
            say: receives a line about what is kept or removed.
        """
        wanted, found = json.loads(json.dumps(identity)), read_json(self.work / _RUN)
        if found == wanted:
            self._count()
            if self.count:
                say(f"{self.target}: going on after {self.tally.rows:,} rows of an earlier run")
            return
        if isinstance(found, dict):
            changed = " and ".join(name for name in wanted if found.get(name) != wanted[name])
            say(f"{self.target}: starting anew, because the {changed} of the earlier run differed")
        (self.work / _RUN).unlink(missing_ok=True)
        for path in [*self.work.glob("*part-*"), *self._place.glob(f"*part-*{self._writer.suffix}*")]:
            path.unlink(missing_ok=True)
        write_json(self.work / _RUN, wanted)

    def add(self, data: bytes, tally: Tally) -> None:
        """Write the next part and its counts to the disk."""
        path = self._part(self.count)
        temporary = path.with_name(f".{path.name}.unfinished")
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
        write_json(self._record(self.count), {"bytes": len(data), "counts": tally.to_json()})
        self._took(path, tally)

    def finish(self) -> None:
        """Join the parts of a file; those of a folder stay as they are."""
        if self._folder:
            return
        joined = self.work / "joined"
        with joined.open("wb") as file:
            self._writer.join([self._part(number) for number in range(self.count)], file)
            file.flush()
            os.fsync(file.fileno())
        joined.replace(self.target)
        sync_folder(self.target.parent)
        (self.work / _RUN).unlink()  # first: what is left of the work after a kill is no run to go on with
        shutil.rmtree(self.work)

    def _count(self) -> None:
        while isinstance(record := read_json(self._record(self.count)), dict):
            path = self._part(self.count)
            if not path.is_file() or path.stat().st_size != record["bytes"]:
                break
            self._took(path, Tally.from_json(record["counts"]))

    def _took(self, path: Path, tally: Tally) -> None:
        if self.count == 0:
            self._writer.go_on(path)
        self.tally, self.count = self.tally + tally, self.count + 1

    def _part(self, number: int) -> Path:
        return self._place / f"part-{number:05}{self._writer.suffix}"

    def _record(self, number: int) -> Path:
        return self.work / f"part-{number:05}.json"


def work_of(target: Path, *, folder: bool) -> Path:
    """Return the folder of the work on an output."""
    return target / WORK if folder else target.with_name(f".{target.name}{WORK}")


def is_folder(target: str) -> bool:
    """Return whether a name means an output folder: it ends in /, has no suffix, or is there as one."""
    return target.endswith("/") or not Path(target).suffix or Path(target).is_dir()


@contextlib.contextmanager
def open_parts(target: str, writer: Writer) -> Iterator[Parts]:
    """Lock an output for a block.

    Args:
        target: output file; a name that ends in / or has no suffix is a folder of parts.
        writer: format of the parts.

    Raises:
        ConfigError: another process writes it, or the folder has other files.
    """
    folder, path = is_folder(target), Path(target)
    parts = Parts(path, writer, folder=folder)
    if path.exists() and not (path.is_dir() if folder else path.is_file()):
        raise ConfigError(f"--to {target}: found neither a file nor a folder; give a new name")
    if folder and path.is_dir() and not parts.work.is_dir() and any(path.iterdir()):
        raise ConfigError(f"--to {target}: found files of others in this folder; give a new or empty one")
    parts.work.mkdir(parents=True, exist_ok=True)
    lock = parts.work.with_name(f"{parts.work.name}.lock")
    with locked(lock, wait=False) as held:
        if not held:
            raise ConfigError(f"--to {target}: another process writes it; wait until it ends, or give another name")
        parts.work.mkdir(parents=True, exist_ok=True)  # the other process may have finished just now
        yield parts
        lock.unlink(missing_ok=True)
