"""What ops/services.py asks of the machine: ports, files, processes."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml


def marked(mark: str, default: set[int]) -> set[int]:
    """Living processes with `NAME=value` in their environment, which children inherit.

    Args:
        mark: the variable and its value.
        default: what is said where the system does not tell (macOS).
    """
    if not Path("/proc/self/environ").exists():
        return default
    return {pid for pid, environment in _environments() if mark.encode() in environment.split(b"\0")}


def read_yaml(path: Path) -> Any:
    """Content of a YAML file."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def until(happened: Callable[[], bool], seconds: float) -> bool:
    """Wait for something; whether it happened in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if happened():
            return True
        time.sleep(0.5)
    return happened()


def is_free(port: int) -> bool:
    """Whether nobody listens on a port of this machine."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _environments() -> Iterator[tuple[int, bytes]]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            with contextlib.suppress(OSError):  # ended in the meantime, or somebody else's
                yield int(folder.name), (folder / "environ").read_bytes()
