"""HTTP requests without Prefect, whose import takes seconds."""

from __future__ import annotations

import base64
import json
import re
import time
import urllib.request
from collections.abc import Iterator
from http import HTTPStatus
from http.client import BadStatusLine, HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit

ASK_SECONDS = 5.0
BUSY_SECONDS = (1.0, 2.0, 4.0, 8.0)  # between attempts, while SQLite is locked
NO_ANSWER = (OSError, ValueError, OverflowError, HTTPException)  # refused, timed out, bad address or port, no HTTP
PREFECT_HEALTHY = b"true"  # answer of /api/health
# Transient answers besides 5xx: the server is busy or starting.
PASSING = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}


def may_pass(status: int) -> bool:
    """Return whether a status is transient: 5xx, 408, 429."""
    return status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in PASSING


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, its cause, the cause of that, and so on."""
    seen: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in seen:
        yield current
        seen.append(current)
        wrapped = next((one for one in current.args if isinstance(one, BaseException)), None)  # as urllib3 does
        current = current.__cause__ or current.__context__ or wrapped


def reason(error: BaseException) -> str:
    """Return why a request failed, in a few words, from the innermost error of the layers of libraries."""
    innermost_first = list(causes(error))[::-1]
    system = next((one.strerror for one in innermost_first if isinstance(one, OSError) and one.strerror), None)
    if system is None and any(
        "Timeout" in type(one).__name__ for one in innermost_first
    ):  # each library has a class of its own
        system = "no answer in time"
    if system is None and speaks_no_http(error):
        system = "the answer is not HTTP"
    if system is None and any(type(one).__name__ == "TooManyRedirects" for one in innermost_first):
        system = "it redirects in a circle"
    return str(system or error or type(error).__name__).strip().partition("\n")[0] or type(error).__name__


def speaks_no_http(error: BaseException) -> bool:
    """Return whether the answer is not HTTP. A connection that is closed at once raises an OSError too."""
    return any(isinstance(one, BadStatusLine) and not isinstance(one, OSError) for one in causes(error))


def tls_reason(error: BaseException) -> str:
    """Return the message of OpenSSL for a TLS failure, without its codes and source line."""
    return re.sub(r"^\[[^]]*\]\s*|\s*\(_ssl\.c:\d+\)$", "", reason(error))


def answers(url: str, body: bytes | None = None) -> bool:
    """Return whether an address answers with status 200.

    Args:
        url: the address.
        body: expected body, which tells the server from another program; None for any.
    """
    try:
        with urllib.request.urlopen(request_to(url), timeout=ASK_SECONDS) as answer:
            return answer.status == HTTPStatus.OK and (body is None or answer.read(100).strip() == body)
    except NO_ANSWER:
        return False


def request_to(url: str, body: bytes | None = None, method: str | None = None) -> urllib.request.Request:
    """Return a request with user and password of the address in a header, as Prefect and MLflow send them.

    Args:
        url: address; urllib would read the password as a port.
        body: JSON; makes the request a POST.
        method: another method.
    """
    parts = urlsplit(url)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    request = urllib.request.Request(bare, body, {"Content-Type": "application/json"}, method=method)
    if parts.username is not None:
        who = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        request.add_header("Authorization", f"Basic {base64.b64encode(who.encode()).decode()}")
    return request


def send(url: str, body: object, method: str = "POST") -> Any:
    """Send JSON and return the JSON of the answer, or None. Try again while the server is busy (503).

    Raises:
        OSError: no server answers, or the answer is an error.
    """
    request = request_to(url, json.dumps(body).encode(), method)
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
