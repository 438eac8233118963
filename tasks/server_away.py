"""Prefect's server may be away for minutes: a run waits for it where it has something to say that cannot wait."""

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
    """Wait until the server answers: the end of a flow and the start of the next are asked of it once, not again.

    A server that a run has started for itself is not waited for: nobody starts it again.

    Args:
        patience: seconds; then the run goes on, and ends as Prefect sees fit.
    """
    if not PREFECT_API_URL.value():
        return
    end, told = time.monotonic() + patience, False
    while (trouble := _trouble()) is not None and time.monotonic() < end:
        if not told:
            logger.warning(
                "Prefect's server does not answer (%s); waiting for it, %.0f s at most", reason(trouble), patience
            )
            told = True
        time.sleep(PACE)


def _trouble() -> Exception | None:
    """What may pass; a server that refuses us answers, and waiting would not change what it says."""
    with get_client(sync_client=True) as client:
        error = client.api_healthcheck()
    if isinstance(error, httpx.HTTPStatusError) and not may_pass(error.response.status_code):
        return None
    return error
