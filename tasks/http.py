"""JSON over HTTP to a Prefect server, for programs that start in no time: importing Prefect would take seconds."""

from __future__ import annotations

import json
import time
import urllib.request
from http import HTTPStatus
from typing import Any
from urllib.error import HTTPError

BUSY_SECONDS = (1.0, 2.0, 4.0, 8.0)  # between two attempts: SQLite is locked for a moment


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


def _answer(request: urllib.request.Request) -> Any:
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read() or "null")
