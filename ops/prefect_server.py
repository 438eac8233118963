"""Prefect's server as supervisor starts it: who was alive when it went away has time to say so before it is judged.

Signs of life cannot come while the server is away, and the automation that waits for them (ops/automations.yaml) keeps
its deadlines in the database: after an outage of two minutes every living run would be taken for dead at once.
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

SILENT = "crashed where no sign of life comes"  # ops/automations.yaml
GRACE = timedelta(minutes=4)  # the server's start, a client's new connection, and a sign of life every 30 seconds


async def put_off_deadlines() -> None:
    """Give every run whose signs of life are waited for time to send the next one, from now on.

    Those of before arrive, too, once runs find the server again; each would set the deadline back to two minutes after
    it was sent. What is older than the deadline's beginning Prefect passes over.
    """
    db, start = provide_database_interface(), now("UTC")
    until = start + GRACE
    bucket, automation = db.AutomationBucket, db.Automation
    waited_for = bucket.automation_id.in_(sa.select(automation.id).where(automation.name == SILENT))
    async with db.session_context(begin_transaction=True) as session:
        await session.execute(sa.update(bucket).where(waited_for, bucket.end < until).values(start=start, end=until))


def try_to_put_off() -> None:
    """Put deadlines off; a locked database is tried again, since living runs would be taken for dead."""
    for wait in (*BUSY_SECONDS, None):
        try:
            return asyncio.run(put_off_deadlines())
        except sa.exc.DBAPIError as error:
            if "locked" not in str(error.orig):  # no tables: its first start makes them
                return _say(f"no deadlines to put off: {error.orig}")
            _say(f"deadlines are not put off: {error.orig}")
        if wait is not None:
            time.sleep(wait)
    return None


def main() -> None:
    """Put deadlines off, then become the server, with the arguments given."""
    try_to_put_off()
    program = Path(sys.executable).with_name("prefect")
    os.execv(program, [str(program), "server", "start", *sys.argv[1:]])


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
