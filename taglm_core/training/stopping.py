"""Requests to stop a training process: SIGTERM, SIGINT, or the death of the parent process."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

from taglm_core.errors import Interrupted

PR_SET_PDEATHSIG = 1


class StopRequest:
    """A request to stop; the loop checks it after each step, writes a checkpoint and ends.

    It takes no lock, because a signal may interrupt the handler of another one. That happens: when a process dies, the
    system sends its children one SIGTERM for each of its threads.
    """

    def __init__(self) -> None:
        self.reason = ""

    @property
    def requested(self) -> bool:
        """Whether a stop was requested."""
        return bool(self.reason)

    def check(self) -> None:
        """Raise `Interrupted` if a stop was requested; for work that has not begun."""
        if self.requested:
            raise Interrupted(f"stopped ({self.reason}) before it began; run again to go on")

    def set(self, reason: str) -> None:
        """Request a stop; the first reason stays."""
        self.reason = self.reason or reason

    def listen(self) -> None:
        """Turn SIGTERM and SIGINT (Ctrl-C reaches the whole process group) into this request."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda received, _: self.set(signal.Signals(received).name))

    def follow_parent(self, patience: float | None = None) -> None:
        """Stop when the parent dies: its end of standard input closes; on Linux the system also sends SIGTERM.

        Args:
            patience: seconds after which this process ends at the latest once the parent is dead; None for no limit.
        """
        parent = os.getppid()
        self.die_with_parent()
        threading.Thread(target=self._wait_for_end_of_input, daemon=True).start()
        if patience is not None:
            threading.Thread(target=self._end_as_orphan, args=[parent, patience], daemon=True).start()

    def die_with_parent(self) -> None:
        """Stop when the parent dies, on Linux, where the system sends SIGTERM then."""
        parent = os.getppid()
        if sys.platform == "linux":
            ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            self.set("the process that started this one is gone")

    def _wait_for_end_of_input(self) -> None:
        while os.read(0, 1):
            pass
        self.set("the process that started this one is gone")

    def _end_as_orphan(self, parent: int, patience: float) -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        self.set("the process that started this one is gone")
        time.sleep(patience)
        os._exit(1)
