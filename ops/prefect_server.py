"""Prefect's server as supervisor starts it: who was alive when it went away has time to say so before it is judged.

Signs of life cannot come while the server is away, and the automation that waits for them (ops/automations.yaml) keeps
its deadlines in the database: after an outage of two minutes every living run would be taken for dead at once.
"""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa
from prefect.server.database import provide_database_interface
from prefect.types._datetime import now

SILENT = "crashed where no sign of life comes"  # ops/automations.yaml
GRACE = timedelta(minutes=4)  # the server's start, a client's new connection, and a sign of life every 30 seconds


async def put_off_deadlines() -> None:
    """Give every run whose signs of life are waited for time to send the next one."""
    db, until = provide_database_interface(), now("UTC") + GRACE
    bucket, automation = db.AutomationBucket, db.Automation
    waited_for = bucket.automation_id.in_(sa.select(automation.id).where(automation.name == SILENT))
    async with db.session_context(begin_transaction=True) as session:
        await session.execute(sa.update(bucket).where(waited_for, bucket.end < until).values(end=until))


def main() -> None:
    """Put deadlines off, then become the server, with the arguments given."""
    try:
        asyncio.run(put_off_deadlines())
    except sa.exc.DBAPIError as error:  # no tables: its first start makes them
        sys.stdout.write(f"no deadlines to put off: {error.orig}\n")
        sys.stdout.flush()
    program = Path(sys.executable).with_name("prefect")
    os.execv(program, [str(program), "server", "start", *sys.argv[1:]])


if __name__ == "__main__":
    main()
