"""Progress of a prediction: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_SECONDS = 30.0


class Lines:
    """Progress as lines, one every `LINE_SECONDS`.

    Args:
        total: rows in all; None if unknown.
        say: receives the lines.
        clock: returns seconds.

    Attributes:
        new: rows of this run.
    """

    def __init__(
        self, total: int | None, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._total, self._say, self._clock = total, say, clock
        self._begun = self._last = clock()
        self._done = self.new = 0

    def start(self, done: int) -> None:
        """Count rows of an earlier run."""
        self._done = done

    def advance(self) -> None:
        """Count one row."""
        self._done += 1
        self.new += 1
        now = self._clock()
        if now - self._last >= LINE_SECONDS:
            self._last = now
            self._say(self.line())

    def line(self) -> str:
        """Return what is done, such as `12,000 of 200,000 rows, 830 rows/s, 3 min 46 s left`."""
        rate = self.new / max(1e-9, self._clock() - self._begun)
        if self._total is None:
            return f"{self._done:,} rows, {rate:,.0f} rows/s"
        minutes, seconds = divmod(round((self._total - self._done) / max(1e-9, rate)), 60)
        left = f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
        return f"{self._done:,} of {self._total:,} rows, {rate:,.0f} rows/s, {left} left"

    def stop(self) -> None:
        """Say nothing more."""


class Bar(Lines):
    """Progress as a bar.

    Args:
        total: rows in all; None if unknown.
        console: a terminal.
    """

    def __init__(self, total: int | None, console: Console) -> None:
        super().__init__(total, lambda _: None)
        self._progress = Progress(
            BarColumn(), MofNCompleteColumn(), TextColumn("rows, {task.fields[rate]} rows/s,"), TimeRemainingColumn(),
            TextColumn("left"), console=console, transient=True,
        )  # fmt: skip
        self._task = self._progress.add_task("", total=total, rate="0")
        self._progress.start()

    def start(self, done: int) -> None:
        """Count rows of an earlier run."""
        super().start(done)
        self._progress.update(self._task, completed=done)

    def advance(self) -> None:
        """Count one row."""
        super().advance()
        rate = f"{self.new / max(1e-9, self._clock() - self._begun):,.0f}"
        self._progress.update(self._task, completed=self._done, rate=rate)

    def stop(self) -> None:
        """Remove the bar."""
        self._progress.stop()
