"""The journal: the events of a training process, one JSON object a line, in `events.jsonl`.

The process only appends; readers go on from a stored offset. So an outage of a reader, or of the service to which it
forwards events, loses nothing. Every line carries its step. After a resume the steps since the last checkpoint are
written again with the same numbers, and readers skip the steps that they have seen.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

JOURNAL = "events.jsonl"


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the journal.

    Attributes:
        kind: `metrics`, `progress`, `message` or `warning`.
        step: optimiser step (LM), epoch (tagger) or shard (embeddings) of the event.
        values: numbers by name for `metrics`; `done` and `total` for `progress`.
        text: text for people.
        time: seconds since 1970.
    """

    kind: str
    step: int
    values: Mapping[str, float] = field(default_factory=dict)
    text: str = ""
    time: float = 0.0


class Journal:
    """Appends events to a file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._end_last_line(path)
        self._file = path.open("a", encoding="utf-8", buffering=1)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Write numbers for curves."""
        self._append(Event("metrics", step, values))

    def progress(self, step: int, done: float, total: float, text: str) -> None:
        """Write the progress of the work, with a line for people."""
        self._append(Event("progress", step, {"done": done, "total": total}, text))

    def message(self, step: int, text: str) -> None:
        """Write a line for people."""
        self._append(Event("message", step, text=text))

    def warning(self, step: int, text: str) -> None:
        """Write a line for people about something that may harm the result."""
        self._append(Event("warning", step, text=text))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _append(self, event: Event) -> None:
        line: dict[str, Any] = {"kind": event.kind, "step": event.step, "time": round(time.time(), 3)}
        if event.values:
            line["values"] = dict(event.values)
        if event.text:
            line["text"] = event.text
        self._file.write(json.dumps(line) + "\n")

    @staticmethod
    def _end_last_line(path: Path) -> None:
        """End a line that a killed process left unfinished, so that only that line is lost."""
        if path.exists() and path.stat().st_size and path.read_bytes()[-1:] != b"\n":
            with path.open("ab") as file:
                file.write(b"\n")


@contextlib.contextmanager
def log_to_journal(journal: Journal) -> Iterator[None]:
    """Write what the core logs into the journal: the log of a training process itself is read only after failures."""
    logger, handler = logging.getLogger("taglm"), _JournalHandler(journal)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


class _JournalHandler(logging.Handler):
    def __init__(self, journal: Journal) -> None:
        super().__init__(logging.INFO)
        self._journal = journal

    def emit(self, record: logging.LogRecord) -> None:
        write = self._journal.warning if record.levelno >= logging.WARNING else self._journal.message
        write(0, record.getMessage())


def read_events(path: Path, offset: int = 0) -> Iterator[tuple[Event, int]]:
    """Yield the events from a byte offset on, each with the offset after it. Skip unfinished and unknown lines."""
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return  # still being written
            offset += len(line)
            try:
                yield Event(**json.loads(line)), offset
            except (ValueError, TypeError):
                continue
