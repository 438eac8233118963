"""Prefect server, worker and MLflow as `make up` starts them, on ports and in a folder of their own."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tasks.events import CREATED

ROOT = Path(__file__).parents[1]
PATIENCE = 300.0  # seconds; much less on a machine that does nothing else
OURS = (  # prefect.yaml may have others, too
    "demo-nightly", "demo-ingest", "demo-pretrain", "demo-embed", "demo-tag", "demo-predict",
)  # fmt: skip
ENDS = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


@dataclass(frozen=True)
class Services:
    """Services that run.

    Attributes:
        api: address of Prefect's API.
        mlflow: address of MLflow.
        home: their data folder.
        environment: in which commands find them.
    """

    api: str
    mlflow: str
    home: Path
    environment: Mapping[str, str] = field(repr=False)

    def control(self, command: str) -> subprocess.CompletedProcess[str]:
        """`make COMMAND` on these services."""
        arguments = [sys.executable, str(ROOT / "ops" / "services.py"), *command.split(), "--data", str(self.home)]
        return subprocess.run(
            arguments, env=dict(self.environment), cwd=self.home.parent, capture_output=True, text=True, timeout=500,
            check=False,
        )  # fmt: skip

    def ask(self, path: str, body: object | None = None, method: str | None = None) -> Any:
        """Answer of the server; a body makes it a POST."""
        data = None if body is None else json.dumps(body).encode()
        kind = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.api}{path}", data, kind, method=method)
        for wait in (1, 2, 4, None):
            try:
                with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                    return json.loads(answer.read() or "null")
            except urllib.error.HTTPError as error:
                if error.code != 503 or wait is None:
                    raise
            except urllib.error.URLError:  # it is being started
                if wait is None:
                    raise
            time.sleep(wait)  # SQLite is busy: the server asks its clients to come again, and they do
        return None

    def events(self, since: datetime | None = None) -> list[str]:
        """What our events (since a moment) were about; the server records them some seconds after they came."""
        occurred = {} if since is None else {"occurred": {"since": since.isoformat()}}
        found = self.ask("/events/filter", {"filter": {"event": {"name": [CREATED]}, **occurred}})["events"]
        return [event["resource"]["prefect.resource.id"] for event in found]

    def until(self, happened: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
        """What `happened` gives, once that is true."""
        end = time.monotonic() + patience
        while time.monotonic() < end:
            if found := happened():
                return found
            time.sleep(0.5)
        logs = "\n".join(path.read_text()[-3000:] for path in sorted((self.home / "services").glob("*.log")))
        return pytest.fail(f"waited {patience:.0f} s for: {what}\n{logs}")

    def start(self, deployment: str, parameters: Mapping[str, Any]) -> str:
        """Id of a new run of a deployment."""
        found = self.ask(f"/deployments/name/{deployment}")
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        return str(self.ask(f"/deployments/{found['id']}/create_flow_run", body)["id"])

    def flow_run(self, run: str) -> dict[str, Any]:
        """A run as it is now."""
        found: dict[str, Any] = self.ask(f"/flow_runs/{run}")
        return found

    def ended(self, run: str, patience: float = PATIENCE) -> dict[str, Any]:
        """A run, once it has ended."""

        def state() -> dict[str, Any] | None:
            found = self.flow_run(run)
            return found if found["state_type"] in ENDS else None

        found: dict[str, Any] = self.until(state, f"the end of run {run}", patience)
        return found

    def run(self, deployment: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """A run of a deployment, ended."""
        return self.ended(self.start(deployment, parameters))

    def says(self, run: str, words: str) -> bool:
        """Wait until the log of a run, or that of a stage it has started, says something; it comes a little later."""
        stages = self.ask("/flow_runs/filter", {"flow_runs": {"parent_flow_run_id": {"any_": [run]}}})
        runs = {"flow_run_id": {"any_": [run, *(stage["id"] for stage in stages)]}}

        def found() -> bool:
            lines = self.ask("/logs/filter", {"logs": runs, "limit": 200, "sort": "TIMESTAMP_DESC"})
            return any(words in line["message"] for line in lines)

        return bool(self.until(found, f"a line with {words!r} in the log of {run}", 60))

    def marked(self, words: str = "") -> list[int]:
        """Processes that belong to the services, those of their runs among them; with words of their command line."""
        mark = f"TAGLM_SERVICES={self.home}".encode()
        ours = [path.parent for path in Path("/proc").glob("[0-9]*/environ") if mark in _bytes(path).split(b"\0")]
        return [int(p.name) for p in ours if words.encode() in _bytes(p / "cmdline").replace(b"\0", b" ")]

    def supervise(self, *command: str) -> str:
        """What supervisor answers: `stop mlflow` and the like."""
        supervisorctl = Path(sys.executable).with_name("supervisorctl")
        names = ("BIN", "ROOT", "PREFECT_PORT", "MLFLOW_PORT", "MLFLOW_STORE", "MLFLOW_ARTIFACTS", "WORKER")
        environment = {
            **self.environment,
            **{f"TAGLM_{name}": "-" for name in names},
        }  # the running one has read its own
        done = subprocess.run(
            [supervisorctl, "-c", ROOT / "ops" / "supervisord.conf", *command], cwd=self.home / "services",
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.stdout

    def start_again(self, name: str) -> None:
        """Start a server that was stopped, and wait until it answers."""
        url = f"{self.api}/health" if name == "prefect-server" else f"{self.mlflow}/health"

        def answers() -> bool:
            try:
                with urllib.request.urlopen(url, timeout=10) as answer:
                    return bool(answer.status == 200)
            except OSError:
                return False

        self.supervise("start", name)
        self.until(answers, f"{name} at {url}")


@contextmanager
def services(home: Path, *, mlflow: bool, database: Path | None = None) -> Iterator[Services]:
    """What `make up` starts, on free ports.

    Args:
        home: their data folder.
        mlflow: whether MLflow runs, too.
        database: of Prefect's server, to be copied; without it the server makes one, as on a user's first start.
    """
    if database is not None:
        (home / "prefect").mkdir(parents=True)
        shutil.copyfile(database, home / "prefect" / "prefect.db")
    with socket.socket() as first, socket.socket() as second:
        for probe in (first, second):
            probe.bind(("127.0.0.1", 0))
        ports = {"PREFECT": first.getsockname()[1], "MLFLOW": second.getsockname()[1]}
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "MLFLOW_"))}
    chosen = {f"TAGLM_{name}_PORT": str(port) for name, port in ports.items()}
    prefect, tracking = (f"http://127.0.0.1:{port}" for port in ports.values())
    running = Services(f"{prefect}/api", tracking, home, {**kept, **chosen, "PREFECT_WORKER_QUERY_SECONDS": "2"})
    try:
        done = running.control("up" if mlflow else "up --no-mlflow")
        assert done.returncode == 0, done.stdout + done.stderr
        yield running
    finally:
        running.control("down")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # ended in the meantime, or somebody else's
        return b""
