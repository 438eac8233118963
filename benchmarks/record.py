"""What every benchmark shares: interleaved medians, and one JSON file with commit and machine."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

OUT = Path(__file__).with_name("out")


def interleaved(candidates: Mapping[str, Callable[[], object]], runs: int = 7, repeat: int = 1) -> dict[str, float]:
    """Median seconds of each candidate; they take turns, so that a change of the machine's speed meets all of them.

    Short ones are run `repeat` times a turn.
    """
    for run in candidates.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(runs):
        for name, run in candidates.items():
            begun = time.perf_counter()
            for _ in range(repeat):
                run()
            seconds[name].append((time.perf_counter() - begun) / repeat)
    return {name: statistics.median(values) for name, values in seconds.items()}


def write(name: str, title: str, rows: list[dict[str, Any]]) -> Path:
    """Write the rows of a benchmark to `benchmarks/out/<name>.json`."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count(),
               "load": os.getloadavg()[0], "python": platform.python_version()}  # fmt: skip
    OUT.mkdir(exist_ok=True)
    path = OUT / f"{name}.json"
    path.write_text(
        json.dumps({"title": title, "commit": commit.stdout.strip(), "machine": machine, "rows": rows}, indent=1)
    )
    return path
