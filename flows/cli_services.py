"""Checks of `taglm doctor` on servers: Prefect, its worker, MLflow, their pages, telemetry."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path

from flows.cli_check import INSTALL, Check
from taglm_core.config.experiment import Experiment
from taglm_core.errors import ConfigError
from tasks.environment import DEFAULTS, quiet_defaults
from tasks.http import ASK_SECONDS, NO_ANSWER, PREFECT_HEALTHY, answers, request_to
from tasks.preflight.fault import Fault
from tasks.preflight.machine import machine_faults
from tasks.preflight.prefect_server import prefect_faults
from tasks.preflight.tracking_store import tracking_faults
from tasks.tracking.address import SQLITE, resolve_uri
from tasks.tracking.descriptions import TRAINING_VIEW
from tasks.urls import POOL, is_server, mlflow_ui, prefect_api, prefect_ui, without_password

START = "`make up` starts both; only deployments use them"


def check_services(experiment: Experiment) -> list[Check]:
    """Check the servers that an experiment may use, their pages, and telemetry."""
    quiet_defaults()
    faults = [*machine_faults(), *_prefect_faults()]
    return [
        *_rows(faults, "Prefect", _prefect), _worker(), *_mlflow(experiment), *_pages(experiment), _telemetry()
    ]  # fmt: skip


def _rows(faults: list[Fault], what: str, good: Callable[[], Check]) -> list[Check]:
    """Return one check per fault, and the good check of a subject without faults."""
    bad = [Check(fault.what, fault.found, True, fault.remedy) for fault in faults]
    return bad if any(fault.what == what for fault in faults) else [*bad, good()]


def _prefect_faults() -> list[Fault]:
    try:
        return prefect_faults()
    except ImportError as error:
        return [Fault("Prefect", f"cannot be imported: {error}", INSTALL)]


def _prefect() -> Check:
    if url := os.environ.get("PREFECT_API_URL"):
        return Check("Prefect", f"{without_password(url)} answers")
    if answers(f"{prefect_api()}/health", PREFECT_HEALTHY):
        return Check("Prefect", f"{prefect_ui()} answers; runs of the command line start their own server")
    return Check("Prefect", "none running; every run starts its own", remedy="`make up` keeps one running")


def _worker() -> Check:
    """Check the worker, which executes runs of deployments; the command line needs none."""
    api = prefect_api()
    address = f"{api}/work_pools/{POOL}/workers/filter"
    try:
        with urllib.request.urlopen(request_to(address, b"{}"), timeout=ASK_SECONDS) as answer:
            workers = json.load(answer)
    except urllib.error.HTTPError as error:
        missing = error.code == HTTPStatus.NOT_FOUND
        shown = without_password(api if missing else address)
        found = f"no work pool {POOL} at {shown}" if missing else f"HTTP {error.code} of {shown}"
        remedy = "`make up` creates it and starts a worker; until then schedules run nothing"
        return Check("worker", found, remedy=remedy)
    except NO_ANSWER:
        return Check("worker", f"no server at {without_password(api)}", remedy=START)
    if not isinstance(workers, list):
        return Check("worker", f"another program answers at {without_password(api)}", remedy=START)
    online = [
        f"{one['name']} (last heartbeat {one['last_heartbeat_time']})" for one in workers if one["status"] == "ONLINE"
    ]
    if not online:
        gone = f", {len(workers)} known before" if workers else ""
        remedy = "`make up` starts one; until then runs of deployments stay Late"
        return Check("worker", f"none online{gone}", remedy=remedy)
    return Check("worker", ", ".join(online))


def _pages(experiment: Experiment) -> Iterator[Check]:
    """Check whether the pages of the UIs are open."""
    prefect = answers(f"{prefect_api()}/health", PREFECT_HEALTHY)
    pages = {"Prefect UI": (prefect_ui(), prefect, "make prefect")}
    with contextlib.suppress(ConfigError):  # another check reports it
        if experiment.run.tracking:
            uri = resolve_uri(experiment.run.tracking_uri)
            base = mlflow_ui(uri)
            health = f"{uri.rstrip('/') if is_server(uri) else base}/health"
            pages["MLflow UI"] = (f"{base}/#/experiments?{TRAINING_VIEW}", answers(health), "make mlflow")
    for name, (page, is_open, command) in pages.items():
        shown = page if is_open else f"{page} (not open)"
        yield Check(name, shown, remedy="" if is_open else f"`{command}` opens it")


def _mlflow(experiment: Experiment) -> list[Check]:
    if not experiment.run.tracking:
        return [Check("MLflow", "off (run.tracking is false)")]
    try:
        import mlflow.environment_variables  # noqa: F401 (can it be imported?)
    except ImportError as error:
        return [Check("MLflow", f"cannot be imported: {error}", True, INSTALL)]
    except ValueError:  # an invalid variable, reported below
        pass
    return _rows(tracking_faults(experiment.run), "MLflow", lambda: _store(resolve_uri(experiment.run.tracking_uri)))


def _store(uri: str) -> Check:
    if uri.startswith(SQLITE):
        return _sqlite(Path(uri.removeprefix(SQLITE)))
    return Check(
        "MLflow",
        f"{without_password(uri)} answers" if is_server(uri) else f"database {without_password(uri)} (not checked)",
    )


def _sqlite(path: Path) -> Check:
    if not path.exists():
        return Check("MLflow", f"{path} (created by the first run)")
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=ASK_SECONDS)) as opened:
            return Check("MLflow", f"{path}, {opened.execute('SELECT count(*) FROM runs').fetchone()[0]} runs")
    except sqlite3.Error as error:
        if "locked" in str(error):
            return Check("MLflow", f"{path} is busy: {error}", remedy="try again in a moment")
        return Check("MLflow", f"{path}: {error}", remedy="the next run creates the tables of MLflow")


def _telemetry() -> Check:
    """Check telemetry; a user may have set other values than our defaults."""
    names = ("DO_NOT_TRACK", "PREFECT_SERVER_ANALYTICS_ENABLED", "MLFLOW_DISABLE_TELEMETRY")
    changed = [f"{name}={value}" for name in names if (value := os.environ.get(name, DEFAULTS[name])) != DEFAULTS[name]]
    if changed:
        return Check("telemetry", f"set by you: {', '.join(changed)}", remedy="unset them to turn it off")
    return Check("telemetry", "off (Prefect, MLflow)")
