"""HTTP for programs that start in no time: importing Prefect for it would take seconds."""

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
BUSY_SECONDS = (1.0, 2.0, 4.0, 8.0)  # between two attempts: SQLite is locked for a moment
NOBODY = (OSError, ValueError, OverflowError, HTTPException)  # refused, no answer, no address, no port, no HTTP
PREFECT_SAYS = b"true"  # asked for its health
# Answers that another attempt may change: the server is busy, restarting, or not up yet behind its proxy.
PASSING = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}


def may_pass(status: int) -> bool:
    """Whether a later attempt may get another answer than this status: 5xx, 408, 429."""
    return status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in PASSING


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, what it was raised from, and so on."""
    seen: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in seen:
        yield current
        seen.append(current)
        wrapped = next((one for one in current.args if isinstance(one, BaseException)), None)  # as urllib3 does
        current = current.__cause__ or current.__context__ or wrapped


def reason(error: BaseException) -> str:
    """Return why a request failed, in a few words: of libraries' layers around `Connection refused` the innermost."""
    innermost_first = list(causes(error))[::-1]
    system = next((one.strerror for one in innermost_first if isinstance(one, OSError) and one.strerror), None)
    if system is None and any("Timeout" in type(one).__name__ for one in innermost_first):  # each library has its own
        system = "no answer in time"
    if system is None and speaks_no_http(error):
        system = "what answers does not speak HTTP"
    if system is None and any(type(one).__name__ == "TooManyRedirects" for one in innermost_first):
        system = "it redirects in a circle"
    return str(system or error or type(error).__name__).strip().partition("\n")[0] or type(error).__name__


def speaks_no_http(error: BaseException) -> bool:
    """Whether another kind of program answers. A connection that is closed at once is an OSError, too."""
    return any(isinstance(one, BadStatusLine) and not isinstance(one, OSError) for one in causes(error))


def tls_reason(error: BaseException) -> str:
    """Return why TLS failed in OpenSSL's words, without its codes and the line of its source."""
    return re.sub(r"^\[[^]]*\]\s*|\s*\(_ssl\.c:\d+\)$", "", reason(error))


def answers(url: str, says: bytes | None = None) -> bool:
    """Whether an address answers with success.

    Args:
        url: the address.
        says: what else the answer has to be, if anything: another program may be there.
    """
    try:
        with urllib.request.urlopen(request_to(url), timeout=ASK_SECONDS) as answer:
            return answer.status == HTTPStatus.OK and (says is None or answer.read(100).strip() == says)
    except NOBODY:
        return False


def request_to(url: str, body: bytes | None = None, method: str | None = None) -> urllib.request.Request:
    """As Prefect's and MLflow's clients ask: user and password of an address go into a header.

    Args:
        url: address; urllib would take the password for a port.
        body: JSON, which makes it a POST.
        method: where it is another one.
    """
    parts = urlsplit(url)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    request = urllib.request.Request(bare, body, {"Content-Type": "application/json"}, method=method)
    if parts.username is not None:
        who = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        request.add_header("Authorization", f"Basic {base64.b64encode(who.encode()).decode()}")
    return request


def send(url: str, body: object, method: str = "POST") -> Any:
    """Send JSON, and the JSON that comes back, or None. A server that is busy (503) is asked again, as it asks for.

    Raises:
        OSError: nobody is there, or the answer is a refusal.
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
