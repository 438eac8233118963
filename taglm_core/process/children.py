"""The processes that this process has started: each can be asked to stop, from any thread.

Steps run in threads of the flow's process, but a cancelled flow hears of it in its main thread only.
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

STOP_SECONDS = 60.0  # a checkpoint of a large model takes a while to reach the disk
SPARE_SECONDS = 10.0  # torchrun first ends its ranks


class Children:
    """All child processes of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._deadline = math.inf  # of the monotonic clock
        self.stop_request = StopRequest()

    def start_afresh(self) -> None:
        """Allow new processes to start (again)."""
        self.stop_request = StopRequest()

    def stop(self) -> None:
        """Ask every process to write its checkpoint and end; no further one starts."""
        with self._lock:
            self._deadline = time.monotonic() + STOP_SECONDS + SPARE_SECONDS
            self.stop_request.set("the run has ended")
            for process in self._running:
                process.terminate()

    @property
    def past_deadline(self) -> bool:
        """Whether processes have had all the time there is for ending by themselves."""
        return self.stop_request.requested and time.monotonic() > self._deadline

    def start(self, command: list[str], log: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Start a process whose output goes to a log file; the caller ends it by `ended`.

        Raises:
            Interrupted: everything was asked to stop.
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
        """End a process with this block: when the block ends early it is asked to stop, then made to."""
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
