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
from contextvars import ContextVar
from pathlib import Path

from taglm_core.training.stopping import StopRequest

STOP_SECONDS = 60.0  # for the checkpoint of a large model
SPARE_SECONDS = 10.0  # for torchrun to end its ranks


class _Group:
    """Processes that are stopped together."""

    def __init__(self) -> None:
        self.running: set[subprocess.Popen[bytes]] = set()
        self.deadline = math.inf  # of the monotonic clock
        self.stop_request = StopRequest()


class Children:
    """All child processes of this process, in groups: one for each cell of a sweep, and one for everything else.

    A thread works for the group of the context that it was started in.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._usual = _Group()
        self._groups: list[_Group] = [self._usual]
        self._own: ContextVar[_Group | None] = ContextVar("children", default=None)

    @property
    def group(self) -> _Group:
        """Return the current group."""
        return self._own.get() or self._usual

    @property
    def stop_request(self) -> StopRequest:
        """Return the request to stop of the current group."""
        return self.group.stop_request

    @property
    def past_deadline(self) -> bool:
        """Return whether the time for processes to end by themselves is over."""
        return self.stop_request.requested and time.monotonic() > self.group.deadline

    @contextlib.contextmanager
    def own_group(self) -> Iterator[None]:
        """Give a block, and the threads that it starts, a group of its own."""
        group = _Group()
        with self._lock:
            self._groups.append(group)
        token = self._own.set(group)
        try:
            yield
        finally:
            self._own.reset(token)
            with self._lock:
                self._groups.remove(group)

    def start_afresh(self) -> None:
        """Allow processes to start again; the group of a cell stays stopped."""
        if self._own.get() is None:
            self._usual.stop_request = StopRequest()

    def stop(self) -> None:
        """Ask the processes of the current group to write their checkpoints and end; refuse to start further ones."""
        with self._lock:
            self._stop_group(self.group)

    def stop_all(self) -> None:
        """Ask the processes of all groups, as `stop` does."""
        with self._lock:
            for group in self._groups:
                self._stop_group(group)

    def start(self, command: list[str], log: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Start a process with its output in a log file; the caller ends it with `ended`.

        Raises:
            Interrupted: all processes of the group were asked to stop.
        """
        with log.open("wb") as output, self._lock:
            self.stop_request.check()
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=output, stderr=output, env={**environment}
            )
            self.group.running.add(process)
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
                for group in self._groups:
                    group.running.discard(process)

    @staticmethod
    def _stop_group(group: _Group) -> None:
        group.deadline = time.monotonic() + STOP_SECONDS + SPARE_SECONDS
        group.stop_request.set("the run has ended")
        for process in group.running:
            process.terminate()


CHILDREN = Children()


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
