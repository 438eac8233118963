"""Child processes of this process, which any thread can stop.

Steps run in threads of the flow's process, but only its main thread learns of a cancellation.
"""

from __future__ import annotations

import contextlib
import math
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from taglm_core.training.stopping import StopRequest

STOP_SECONDS = 60.0  # for the checkpoint of a large model
SPARE_SECONDS = 10.0  # for torchrun to end its ranks


class Children:
    """All child processes of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._deadline = math.inf  # of the monotonic clock
        self.stop_request = StopRequest()

    def start_afresh(self) -> None:
        """Allow processes to start again."""
        self.stop_request = StopRequest()

    def stop(self) -> None:
        """Ask all processes to write their checkpoints and end; refuse to start further ones."""
        with self._lock:
            self._deadline = time.monotonic() + STOP_SECONDS + SPARE_SECONDS
            self.stop_request.set("the run has ended")
            for process in self._running:
                process.terminate()

    @property
    def past_deadline(self) -> bool:
        """Return whether the time for processes to end by themselves is over."""
        return self.stop_request.requested and time.monotonic() > self._deadline

    def start(self, command: list[str], log: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Start a process with its output in a log file; the caller ends it with `ended`.

        Raises:
            Interrupted: all processes were asked to stop.
        """
        with log.open("wb") as output, self._lock:
            self.stop_request.check()
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=output, stderr=output, env={**environment}
            )
            self._running.add(process)
        return process

    @contextlib.contextmanager
    def ended(self, process: subprocess.Popen[bytes]) -> Iterator[None]:
        """End a process with the block; if the block ends early, ask it to stop, then kill it."""
        try:
            with process:
                try:
                    yield
                finally:
                    _stop(process)
        finally:
            with self._lock:
                self._running.discard(process)


CHILDREN = Children()


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
