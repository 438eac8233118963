"""What ops/services.py asks of the machine: ports, answers over HTTP, processes."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import yaml

ASK_SECONDS = 5.0
BUSY_SECONDS = (1.0, 2.0, 4.0, 8.0)  # between two attempts: SQLite is locked for a moment


def marked(mark: str, default: set[int]) -> set[int]:
    """Living processes with `NAME=value` in their environment, which children inherit.

    Args:
        mark: the variable and its value.
        default: what is said where the system does not tell (macOS).
    """
    if not Path("/proc/self/environ").exists():
        return default
    return {pid for pid, environment in _environments() if mark.encode() in environment.split(b"\0")}


def answers(url: str) -> bool:
    """Whether an address answers with success."""
    try:
        with urllib.request.urlopen(url, timeout=ASK_SECONDS) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def send(url: str, body: object, method: str = "POST") -> Any:
    """Send JSON, and the JSON that comes back, or None. A server that is busy (503) is asked again, as it asks for.

    Raises:
        OSError: nobody is there, or the answer is a refusal.
    """
    kind = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), kind, method=method)
    for wait in BUSY_SECONDS:
        try:
            return _answer(request)
        except HTTPError as error:
            if error.code != HTTPStatus.SERVICE_UNAVAILABLE:
                raise
        time.sleep(wait)
    return _answer(request)


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


def _answer(request: urllib.request.Request) -> Any:
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read() or "null")


def _environments() -> Iterator[tuple[int, bytes]]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            with contextlib.suppress(OSError):  # ended in the meantime, or somebody else's
                yield int(folder.name), (folder / "environ").read_bytes()
