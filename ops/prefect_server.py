"""Start of Prefect's server by supervisor, with postponed deadlines for heartbeats.

Runs cannot send heartbeats while the server is down, and the automation that waits for them (ops/automations.yaml)
keeps its deadlines in the database. After an outage of two minutes it would crash every living run at once.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa
from prefect.server.database import provide_database_interface
from prefect.types._datetime import now

from tasks.http import BUSY_SECONDS

AUTOMATION = "crashed where no sign of life comes"  # name in ops/automations.yaml
GRACE = timedelta(minutes=4)  # for the start of the server, reconnection, and a heartbeat every 30 seconds


async def postpone_deadlines() -> None:
    """Set the deadline of every run that the automation watches to `GRACE` from now.

    Heartbeats from before the outage arrive late, and each would set a deadline of two minutes after it was sent.
    Prefect ignores heartbeats that are older than the start of the deadline.
    """
    db, start = provide_database_interface(), now("UTC")
    until = start + GRACE
    bucket, automation = db.AutomationBucket, db.Automation
    watched = bucket.automation_id.in_(sa.select(automation.id).where(automation.name == AUTOMATION))
    async with db.session_context(begin_transaction=True) as session:
        await session.execute(sa.update(bucket).where(watched, bucket.end < until).values(start=start, end=until))


def try_to_postpone() -> None:
    """Postpone deadlines; try again while the database is locked."""
    for wait in (*BUSY_SECONDS, None):
        try:
            return asyncio.run(postpone_deadlines())
        except sa.exc.DBAPIError as error:
            if "locked" not in str(error.orig):  # no tables before the first start
                return _say(f"no deadlines to postpone: {error.orig}")
            _say(f"deadlines are not postponed: {error.orig}")
        if wait is not None:
            time.sleep(wait)
    return None


def main() -> None:
    """Postpone deadlines, then become the server with the given arguments."""
    try_to_postpone()
    program = Path(sys.executable).with_name("prefect")
    os.execv(program, [str(program), "server", "start", *sys.argv[1:]])


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
