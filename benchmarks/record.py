"""What every benchmark shares: interleaved medians, and one JSON file with commit and machine."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

OUT = Path(__file__).with_name("out")


def interleaved(
    candidates: Mapping[str, Callable[[], object]],
    runs: int = 7,
    repeat: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Median seconds of each candidate; they take turns, so that a change of the machine's speed meets all of them.

    Short ones are run `repeat` times a turn. Of one busy thread `time.process_time` says more on a shared machine.
    """
    for run in candidates.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(runs):
        for name, run in candidates.items():
            begun = clock()
            for _ in range(repeat):
                run()
            seconds[name].append((clock() - begun) / repeat)
    return {name: statistics.median(values) for name, values in seconds.items()}


class AnonymousMemory:
    """The most anonymous memory (RssAnon: no mapped files, no page cache) this process holds inside a `with` block.

    A thread looks every few milliseconds, because the system's own high-water mark counts mapped files, too.
    """

    def __init__(self, pause: float = 0.005) -> None:
        self.peak, self._pause, self._ended = 0, pause, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @staticmethod
    def now() -> int:
        """Bytes of this moment."""
        status = Path("/proc/self/status").read_text()
        return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("RssAnon")))

    def __enter__(self) -> AnonymousMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self.peak = max(self.peak, self.now())

    def _watch(self) -> None:
        while not self._ended.wait(self._pause):
            self.peak = max(self.peak, self.now())


def write(name: str, title: str, rows: list[dict[str, Any]], note: str = "") -> Path:
    """Write the rows of a benchmark to `benchmarks/out/<name>.json`; the note stands above their table."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count(),
               "load": os.getloadavg()[0], "python": platform.python_version()}  # fmt: skip
    OUT.mkdir(exist_ok=True)
    path = OUT / f"{name}.json"
    path.write_text(
        json.dumps(
            {"title": title, "note": note, "commit": commit.stdout.strip(), "machine": machine, "rows": rows}, indent=1
        )
    )
    return path
