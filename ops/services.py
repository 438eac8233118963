"""Prefect server, process worker and MLflow for daily use on one machine: `make up`, `make down` and their relatives.

Supervisor keeps them running (ops/supervisord.conf); this file starts it, waits until everything answers, deploys, and
sees to it that nothing is left after a stop. Everything lies below `data/`, everything listens on 127.0.0.1 alone.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from layout import BIN, MARK, MLFLOW, PREFECT, ROOT, WORKER, ServiceError, Services, chosen_port
from machine import is_free, marked, read_yaml, until
from server import create_pool, put_automations
from switches import NAMES, kept_line, names_of, restore, switches, without_slug

from tasks.dead_runs import end_dead, end_workerless, online_workers
from tasks.environment import DATA, quiet_defaults
from tasks.http import NO_ANSWER
from tasks.urls import POOL, ports_file, started_ports

CONFIG = ROOT / "ops" / "supervisord.conf"
DEPLOYMENTS, AUTOMATIONS = ROOT / "prefect.yaml", ROOT / "ops" / "automations.yaml"
START_SECONDS, STOP_SECONDS, PATIENT_SECONDS = 300.0, 180.0, 30.0


def up(services: Services, *, mlflow: bool = True) -> None:
    """Start what is not running, wait until it answers, create the work pool, deploy, start the worker."""
    wanted = [PREFECT, MLFLOW] if mlflow else [PREFECT]
    running = _states(services)
    if not running and (left := _left_behind(services)):  # a second worker would run beside the first
        raise ServiceError(f"processes {left} of earlier services are still there; `make down` first")
    for name in wanted:
        if running.get(name) not in ("RUNNING", "STARTING"):
            _require_free(services, name)
    if not running:
        _start_supervisor(services)
    _say("starting (the first start makes two databases and takes a minute)")
    _control(services, "start", *wanted, check=False)  # says so where one runs already
    for name in wanted:
        _wait_for(services, name)
    deploy(services)
    if not running:  # else a run may go on that has outlived its worker
        end_workerless(services.prefect_url, services.worker)
        end_dead(services.prefect_url)
    if running.get(WORKER) != "RUNNING":
        _start_worker(services)
    for name, address in services.addresses().items():
        if name != "MLflow" or mlflow:
            _say(f"{name:<11}{address}")


def _start_supervisor(services: Services) -> None:
    """Start it, with a file that says on which ports: it is there while the services are meant to run."""
    services.home.mkdir(parents=True, exist_ok=True)
    ports = {"prefect": services.prefect, "mlflow": services.mlflow}
    ports_file(services.data).write_text(json.dumps(ports), encoding="utf-8")
    try:
        _call([str(BIN / "supervisord"), "-c", str(CONFIG)], services, "supervisord does not start")
    except (ServiceError, OSError):
        ports_file(services.data).unlink()
        raise


def _start_worker(services: Services) -> None:
    """Start the worker, and wait until the server has heard of it.

    Raises:
        ServiceError: it ended, or gave no sign of life in time; with the end of its log.
    """
    began = datetime.now(UTC)
    _control(services, "start", WORKER, check=False)

    def heard() -> bool:
        with contextlib.suppress(OSError):  # the server is busy
            heartbeat = online_workers(services.prefect_url).get(services.worker)
            return heartbeat is not None and heartbeat > began
        return False

    def settled() -> bool:
        return heard() or _states(services).get(WORKER) != "RUNNING"

    until(settled, START_SECONDS)
    if not heard():
        raise ServiceError(f"the worker does not work; `make down`, then again. {_end_of_log(services, WORKER)}")


def down(services: Services) -> None:
    """Stop everything, worker first, and see that nothing is left: what does not stop is killed."""
    supervisor = _supervisor(services)
    found = supervisor is not None or bool(_left_behind(services))
    if supervisor is not None:
        _control(services, "stop", WORKER, check=False)
        if services.answers(PREFECT):
            try:
                end_workerless(services.prefect_url, services.worker)
            except NO_ANSWER as error:  # busy: no reason to leave the rest running
                _say(f"runs in progress are not ended ({error}); the next `make up` says that they have crashed")
        _control(services, "shutdown", check=False)
        if not until(lambda: _supervisor(services) is None, STOP_SECONDS):
            _say(f"supervisord ({supervisor}) does not end; it is killed")
            with contextlib.suppress(ProcessLookupError):
                os.kill(supervisor, signal.SIGKILL)
    until(lambda: not _left_behind(services), PATIENT_SECONDS)  # training processes write their checkpoints
    for number, patience in ((signal.SIGTERM, PATIENT_SECONDS), (signal.SIGKILL, 10.0)):
        left = _left_behind(services)
        if not left:
            break
        _say(f"still there: {', '.join(map(str, left))}; sent {number.name}")
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        until(lambda: not _left_behind(services), patience)
    if left := _left_behind(services):
        raise ServiceError(f"processes {left} do not end; look at them with ps")
    ports_file(services.data).unlink(missing_ok=True)
    _say("stopped" if found else "nothing was running")


def status(services: Services) -> bool:
    """Say what runs and what answers; whether all of it does."""
    states = _states(services)
    works = {name: services.answers(name) for name in services.health()}
    for name in (PREFECT, MLFLOW, WORKER):
        says = "" if name not in works else "answers" if works[name] else "does not answer"
        _say(f"{name:<16}{states.get(name, 'not running'):<12}{says}")
    return set(states.values()) == {"RUNNING"} and all(works.values())


def deploy(services: Services) -> None:
    """Create work pool and queues if they are not there, and (re)create all deployments and automations.

    What was switched on or off stays so; where the files say otherwise, it is said.
    """
    url, content = _server(services), read_yaml(DEPLOYMENTS)
    create_pool(url, POOL, content)
    earlier = switches(url)
    command = [str(BIN / "prefect"), "--no-prompt", "deploy", "--all"]
    try:
        _call(command, services, "prefect.yaml could not be deployed", folder=ROOT)
        put_automations(url, read_yaml(AUTOMATIONS))
    finally:  # of half a deploy, too
        for kept in restore(url, earlier):
            _say(kept_line(kept, content))
    _say_without_slug(content)


def switch(services: Services, command: str) -> None:
    """Turn schedules or automations: `chain-on` and the like."""
    what, _, state = command.partition("-")
    found, content = switches(_server(services)), read_yaml(DEPLOYMENTS)
    for name in names_of(what, content):
        if name not in found:
            raise ServiceError(f"{name} is not deployed; `make deploy`, then again")
        found[name].turn(on=state == "on")
        _say(f"{state:<4}{name}")
    if what == "schedules":
        _say_without_slug(content)


def _say_without_slug(content: Mapping[str, Any]) -> None:
    if names := without_slug(content):
        _say(f"no switch: schedules of {', '.join(names)} without a slug; each deploy makes them as prefect.yaml says")


def _server(services: Services) -> str:
    """Address of the Prefect server.

    Raises:
        ServiceError: it does not answer.
    """
    if not services.answers(PREFECT):
        raise ServiceError(f"no Prefect server at {services.prefect_url}; start it with `make up` or `make prefect`")
    return services.prefect_url


def foreground(services: Services, name: str) -> None:
    """Run one of the two UIs in this terminal, on the data that runs without a server have written."""
    port, url = (services.prefect, services.prefect_url) if name == PREFECT else (services.mlflow, services.mlflow_url)
    label = "Prefect" if name == PREFECT else "MLflow"
    if services.answers(name):
        _say(f"{label} runs already: {services.addresses()[label]}")
        return
    _require_free(services, name)
    environment = services.environment()
    del environment[MARK]  # it ends with this terminal, not with `make down`
    _say(f"{services.addresses()[label]}   (Ctrl-C ends it; it may take a minute until {url} answers)")
    store, artifacts = environment["TAGLM_MLFLOW_STORE"], environment["TAGLM_MLFLOW_ARTIFACTS"]
    where = ["--host", "127.0.0.1", "--port", str(port)]
    serve = {
        PREFECT: ["python", str(ROOT / "ops" / "prefect_server.py"), *where],
        MLFLOW: ["mlflow", "server", *where, "--workers", "1", "--no-serve-artifacts", "--backend-store-uri", store,
                 "--default-artifact-root", artifacts],
    }[name]  # fmt: skip
    services.home.mkdir(parents=True, exist_ok=True)
    os.chdir(services.home)
    os.execve(BIN / serve[0], [str(BIN / serve[0]), *serve[1:]], environment)


def _wait_for(services: Services, name: str) -> None:
    """Wait until a service answers.

    Raises:
        ServiceError: it ended, or did not answer in time; with the end of its log.
    """

    def settled() -> bool:
        return services.answers(name) or _states(services).get(name) in ("FATAL", "EXITED", None)

    until(settled, START_SECONDS)
    if not services.answers(name):
        url = services.health()[name]
        raise ServiceError(f"{name} does not answer at {url}; `make down`, then again. {_end_of_log(services, name)}")


def _end_of_log(services: Services, name: str) -> str:
    log = services.home / f"{name}.log"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    return "\n".join([f"The end of {log}:", *lines[-15:]])


def _states(services: Services) -> dict[str, str]:
    """State by service as supervisor sees it; empty where supervisor does not run."""
    if _supervisor(services) is None:
        return {}
    lines = (line.split() for line in _control(services, "status", check=False).splitlines())
    return {words[0]: words[1] for words in lines if len(words) > 1 and words[0] in (PREFECT, MLFLOW, WORKER)}


def _supervisor(services: Services) -> int | None:
    """Process id of the supervisor, if it is alive."""
    try:
        pid = int((services.home / "supervisord.pid").read_text())
        os.kill(pid, 0)
    except (OSError, ValueError):
        return None
    return pid if pid in marked(services.mark, default={pid}) else None  # an id is used again after a restart


def _control(services: Services, *arguments: str, check: bool = True) -> str:
    command = [str(BIN / "supervisorctl"), "-c", str(CONFIG), *arguments]
    return _call(command, services, f"supervisorctl {arguments[0]} fails", check=check)


def _call(
    command: list[str], services: Services, trouble: str, *, check: bool = True, folder: Path | None = None
) -> str:
    environment = services.environment()
    done = subprocess.run(
        command, cwd=folder or services.home, env=environment, capture_output=True, text=True, check=False
    )
    if check and done.returncode:
        raise ServiceError(f"{trouble}:\n{done.stdout}{done.stderr}")
    return done.stdout


def _left_behind(services: Services) -> list[int]:
    """Processes that a service started and that outlive it: a flow run, its training process."""
    return sorted(marked(services.mark, default=set()))


def _require_free(services: Services, name: str) -> None:
    port, variable = {
        PREFECT: (services.prefect, "TAGLM_PREFECT_PORT"),
        MLFLOW: (services.mlflow, "TAGLM_MLFLOW_PORT"),
    }[name]
    if not is_free(port):
        raise ServiceError(f"port {port} is taken; `make down` ends what is ours, {variable}=... chooses another port")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _known(data: Path) -> Services:
    """Services that run, with the ports they were started with; else with those that links lead to."""
    asked = Services(data, chosen_port("prefect", data), chosen_port("mlflow", data))
    return asked if _supervisor(asked) is None else replace(asked, **started_ports(data))


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description="Prefect server, worker and MLflow on this machine")
    turned = [f"{name}-{state}" for name in NAMES for state in ("on", "off")]
    parser.add_argument("command", choices=("up", "down", "status", "deploy", "prefect", "mlflow", *turned))
    parser.add_argument("--data", type=Path, default=ROOT / DATA, help="folder of everything (default: data)")
    parser.add_argument("--no-mlflow", action="store_true", help="up: without MLflow")
    given = parser.parse_args()
    quiet_defaults(given.data.absolute())  # before anything is asked: servers of this machine, without a proxy
    try:
        services = _known(given.data.absolute())
        match given.command:
            case "up":
                up(services, mlflow=not given.no_mlflow)
            case "down":
                down(services)
            case "status":
                sys.exit(0 if status(services) else 1)
            case "deploy":
                deploy(services)
            case "prefect" | "mlflow":
                foreground(services, PREFECT if given.command == "prefect" else MLFLOW)
            case turned:
                switch(services, turned)
    except (ServiceError, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
