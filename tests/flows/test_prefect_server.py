"""Prefect's server as `make up` and `make prefect` start it, up to the moment in which it becomes Prefect's own."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.services import ROOT

SILENT = "crashed where no sign of life comes"
TABLES = """
CREATE TABLE automation (id CHAR(36), name VARCHAR);
CREATE TABLE automation_bucket (
    id CHAR(36), automation_id CHAR(36), start TIMESTAMP, "end" TIMESTAMP, updated TIMESTAMP
);
"""


def start(home: Path, *arguments: str) -> subprocess.Popen[str]:
    """A program of ops/ on a database of its own, which waits for no lock."""
    environment = {**os.environ, "PREFECT_HOME": str(home), "PREFECT_SERVER_DATABASE_TIMEOUT": "0.1"}
    command = [sys.executable, str(ROOT / "ops" / arguments[0]), *arguments[1:]]
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE)


def test_deadlines_are_put_off_once_a_locked_database_is_free(tmp_path: Path) -> None:
    """Those of the runs whose signs of life are waited for, and no others."""
    path, long_ago = tmp_path / "prefect.db", "2020-01-01 00:00:00.000000"
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.executescript(TABLES)
        for number, name in enumerate((SILENT, "another")):
            database.execute("INSERT INTO automation VALUES (?, ?)", (str(number), name))
            database.execute(
                "INSERT INTO automation_bucket VALUES (NULL, ?, ?, ?, NULL)", (str(number), long_ago, long_ago)
            )
        database.execute("BEGIN EXCLUSIVE")
        program = start(tmp_path, "prefect_server.py", "--help")
        assert program.stdout is not None
        assert program.stdout.readline() == "deadlines are not postponed: database is locked\n"
        database.execute("COMMIT")
        said = program.communicate()[0]
        assert program.returncode == 0
        assert "prefect server start" in said
        ends = [end for (end,) in database.execute('SELECT "end" FROM automation_bucket ORDER BY automation_id')]
    assert datetime.fromisoformat(ends[0]).replace(tzinfo=UTC) > datetime.now(UTC)
    assert ends[1] == long_ago


def test_a_server_in_the_foreground_is_started_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`make prefect` after an outage leaves living runs as much time as `make up`; a first start has none to leave."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monkeypatch.setenv("TAGLM_PREFECT_PORT", str(probe.getsockname()[1]))
    program = start(tmp_path, "services.py", "prefect", "--data", str(tmp_path))
    assert program.stdout is not None
    lines = [program.stdout.readline(), program.stdout.readline()]
    program.terminate()
    program.communicate()
    assert lines[0].startswith("http://127.0.0.1:")
    assert lines[1] == "no deadlines to postpone: no such table: automation_bucket\n"
