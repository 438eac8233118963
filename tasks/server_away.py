"""Waiting for a Prefect server that is unreachable for minutes, before requests that must not fail."""

from __future__ import annotations

import logging
import time

import httpx
from prefect import get_client
from prefect.settings import PREFECT_API_URL

from tasks.http import may_pass, reason

logger = logging.getLogger("taglm")
PATIENCE, PACE = 1800.0, 5.0  # seconds


def wait_for_server(patience: float = PATIENCE) -> None:
    """Wait until the server answers. Prefect sends the end of a flow and the start of the next only once.

    Do not wait for a server that the run started itself, because nothing restarts it.

    Args:
        patience: seconds to wait at most; then the run goes on, and Prefect decides how it ends.
    """
    if not PREFECT_API_URL.value():
        return
    end, logged = time.monotonic() + patience, False
    while (error := _transient_error()) is not None and time.monotonic() < end:
        if not logged:
            logger.warning("Prefect's server does not answer (%s); waiting up to %.0f s", reason(error), patience)
            logged = True
        time.sleep(PACE)


def _transient_error() -> Exception | None:
    """Return the error of a health check that waiting may cure; None if the server answers or refuses us."""
    with get_client(sync_client=True) as client:
        error = client.api_healthcheck()
    if isinstance(error, httpx.HTTPStatusError) and not may_pass(error.response.status_code):
        return None
    return error
