"""Ports, files and processes of this machine."""

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
    """Return the processes with a variable in their environment, which children inherit.

    Args:
        mark: variable and value, `NAME=value`.
        default: result on systems without /proc (macOS).
    """
    if not Path("/proc/self/environ").exists():
        return default
    return {pid for pid, environment in _environments() if mark.encode() in environment.split(b"\0")}


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait for a condition; return whether it became true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.5)
    return condition()


def is_free(port: int) -> bool:
    """Return whether a port of this machine is free."""
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
            with contextlib.suppress(OSError):  # ended meanwhile, or of another user
                yield int(folder.name), (folder / "environ").read_bytes()
