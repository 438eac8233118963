"""What ops/services.py tells a Prefect server; the server is a record of what it was told."""

from __future__ import annotations

import http.server
import importlib
import json
import os
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from tasks.urls import ports_file
from tests.services import OURS, ROOT

FILE = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
CONTENT = {"deployments": [one for one in FILE["deployments"] if one["name"] in OURS]}
URL = "http://server"


@dataclass
class Server:
    """Answers by address, and what was sent beside questions."""

    answers: dict[str, Any]
    told: list[tuple[str, str, Any]] = field(default_factory=list)

    def send(self, url: str, body: Any, method: str = "POST") -> Any:
        """As tasks.http.send."""
        if url in self.answers:
            return self.answers[url]
        self.told.append((method, url, body))
        return None


@pytest.fixture
def ops(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """The modules of ops/, which are a program and not a package."""
    monkeypatch.syspath_prepend(str(ROOT / "ops"))
    return {name: importlib.import_module(name) for name in ("server", "switches", "services")}


def automation(name: str, *, enabled: bool) -> dict[str, Any]:
    """As the server tells it."""
    return {"name": name, "id": name.replace(" ", "-"), "enabled": enabled}


def test_each_queue_has_one_place_unless_somebody_chose_another_number(
    ops: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A queue that is not there is made, one without a limit gets it, one with a limit is left alone."""
    queues = f"{URL}/api/work_pools/taglm/queues"
    there = [{"name": "tag", "concurrency_limit": None}, {"name": "embed", "concurrency_limit": 3}]
    server = Server({f"{queues}/filter": there, f"{URL}/api/work_pools/": {}})
    monkeypatch.setattr(ops["server"], "send", server.send)
    ops["server"].create_pool(URL, "taglm", CONTENT)
    made = [body["name"] for method, url, body in server.told if (method, url) == ("POST", queues)]
    assert sorted(made) == ["ingest", "pipeline", "predict", "pretrain"]
    assert [one for one in server.told if one[0] == "PATCH"] == [("PATCH", f"{queues}/tag", {"concurrency_limit": 1})]


def test_each_command_turns_its_switches(ops: dict[str, ModuleType]) -> None:
    """The triggers of three stages, the schedules of five flows, one automation; none of the pipeline's."""
    names = {what: ops["switches"].names_of(what, CONTENT) for what in ops["switches"].NAMES}
    assert {what: len(found) for what, found in names.items()} == {"chain": 3, "schedules": 5, "rerun": 1}
    assert not any("nightly" in name for found in names.values() for name in found)
    automations = yaml.safe_load((ROOT / "ops" / "automations.yaml").read_text(encoding="utf-8"))
    assert names["rerun"] == [f"automation {one['name']}" for one in automations if not one["enabled"]]


def test_half_a_deploy_leaves_the_switches(
    ops: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Prefect makes triggers anew, off, and then fails: what was on is on again."""
    services, switches = ops["services"], ops["switches"]
    server = Server({f"{URL}/api/automations/filter": [automation("a trigger", enabled=True)]})
    server.answers[f"{URL}/api/deployments/filter"] = []

    def fails(*_: object, **__: object) -> str:
        server.answers[f"{URL}/api/automations/filter"] = [automation("a trigger", enabled=False)]
        raise services.ServiceError("prefect.yaml could not be deployed")

    monkeypatch.setattr(switches, "send", server.send)
    for name, instead in (("_server", lambda _: URL), ("create_pool", lambda *_: None), ("_call", fails)):
        monkeypatch.setattr(services, name, instead)
    with pytest.raises(services.ServiceError):
        services.deploy(services.Services(tmp_path, 1, 2))
    assert server.told == [("PATCH", f"{URL}/api/automations/a-trigger", {"enabled": True})]


def test_services_that_run_are_found_where_they_were_started(
    ops: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whatever this shell says. Before they run it decides, and after a reboot their file, as it does for links."""
    services = ops["services"]
    for name in ("TAGLM_PREFECT_PORT", "TAGLM_MLFLOW_PORT"):
        monkeypatch.delenv(name, raising=False)
    assert services._known(tmp_path) == services.Services(tmp_path, 4200, 5000)
    ports_file(tmp_path).parent.mkdir(parents=True)
    ports_file(tmp_path).write_text('{"prefect": 4300, "mlflow": 5100}')
    assert services._known(tmp_path) == services.Services(tmp_path, 4300, 5100)
    monkeypatch.setenv("TAGLM_PREFECT_PORT", "4400")
    assert services._known(tmp_path) == services.Services(tmp_path, 4400, 5100)
    monkeypatch.setattr(services, "_supervisor", lambda _: 1)
    assert services._known(tmp_path) == services.Services(tmp_path, 4300, 5100)
    ports_file(tmp_path).write_text("[]")
    assert services._known(tmp_path) == services.Services(tmp_path, 4400, 5000)


@pytest.mark.parametrize(
    ("said", "prefect"),
    [
        ("HTTP/1.0 200 OK\r\n\r\ntrue", True),
        ("HTTP/1.0 200 OK\r\n\r\nOK", False),
        ("HTTP/1.0 503 Busy\r\n\r\ntrue", False),
        ("220 mail", False),
        ("", False),
    ],
)
def test_another_program_on_a_port_is_not_the_service(
    said: str, *, prefect: bool, ops: dict[str, ModuleType], tmp_path: Path
) -> None:
    """Whatever it answers, HTTP or not, it is asked without a traceback; Prefect is known by what it says."""

    class Say(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline().strip():
                pass
            self.wfile.write(said.encode())

    with socketserver.TCPServer(("127.0.0.1", 0), Say) as running:
        threading.Thread(target=running.serve_forever).start()
        services = ops["services"].Services(tmp_path, running.server_address[1], running.server_address[1])
        assert services.answers("prefect-server") is prefect
        assert services.answers("mlflow") is ("200 OK" in said)
        running.shutdown()


@pytest.fixture
def ours(ops: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """Services of a folder of their own, on ports where nobody is; nothing of them outlives the test."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    with socket.socket() as first, socket.socket() as second:
        for probe in (first, second):
            probe.bind(("127.0.0.1", 0))
        services = ops["services"].Services(tmp_path, first.getsockname()[1], second.getsockname()[1])
    monkeypatch.setattr(ops["services"], "PATIENT_SECONDS", 0.5)
    yield services
    ops["services"].down(services)


@contextmanager
def prefect(port: int, workers: list[dict[str, str]] | None = None) -> Iterator[None]:
    """A Prefect server that is well and knows of workers, or is too busy to do anything."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(True)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_error(503) if workers is None else self.answer(workers)

        def answer(self, content: object) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, *_: object) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", port), Answer) as running:
        threading.Thread(target=running.serve_forever).start()
        yield
        running.shutdown()


def supervised(services: ModuleType, ours: Any) -> None:
    """Start supervisord, which starts nothing by itself."""
    services._start_supervisor(ours)
    assert services.until(lambda: services._supervisor(ours) is not None, 30)


def test_a_busy_server_does_not_keep_the_rest_running(
    ops: dict[str, ModuleType], ours: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """That runs in progress were not ended is said, and everything stops."""
    monkeypatch.setattr("tasks.http.BUSY_SECONDS", ())
    services = ops["services"]
    supervised(services, ours)
    with prefect(ours.prefect):
        services.down(ours)
    assert services._left_behind(ours) == []
    said = capsys.readouterr().out.splitlines()
    assert "503" in said[0]
    assert said[1] == "stopped"


@pytest.mark.parametrize("lives", [True, False])
def test_a_worker_runs_once_the_server_has_heard_of_it(
    *, lives: bool, ops: dict[str, ModuleType], ours: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A sign of life of an earlier one is none; of a worker that ends the reason is shown."""
    services = ops["services"]
    worker = tmp_path / "prefect"
    worker.write_text(f"#!/bin/sh\necho no reason\nsleep {600 if lives else 3}\nexit 1\n")
    worker.chmod(0o755)
    monkeypatch.setattr("layout.BIN", tmp_path)
    supervised(services, ours)
    told = {"name": ours.worker, "status": "ONLINE", "last_heartbeat_time": "2020-01-01T00:00:00Z"}
    with prefect(ours.prefect, [told]):
        if lives:
            now = datetime.now(UTC) + timedelta(seconds=4)
            threading.Timer(4, lambda: told.update(last_heartbeat_time=now.isoformat())).start()
            services._start_worker(ours)
            assert datetime.now(UTC) > now
        else:
            with pytest.raises(services.ServiceError, match="no reason"):
                services._start_worker(ours)


def test_a_worker_that_was_left_behind_is_no_second_ones_neighbour(ops: dict[str, ModuleType], ours: Any) -> None:
    """Nothing is started while a process of earlier services lives; a stop ends it."""
    services = ops["services"]
    name, _, value = ours.mark.partition("=")
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env={**os.environ, name: value})
    assert services.until(lambda: services._left_behind(ours) == [left.pid], 30)
    threading.Thread(target=left.wait).start()
    with pytest.raises(services.ServiceError, match=rf"\[{left.pid}\] .* `make down` first"):
        services.up(ours)
    assert not ours.home.exists()
    services.down(ours)
    assert services._left_behind(ours) == []


def test_a_start_that_fails_leaves_no_ports_for_links(
    ops: dict[str, ModuleType], ours: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whether supervisord says so or is not there."""
    services = ops["services"]
    monkeypatch.setattr(services, "CONFIG", tmp_path / "missing.conf")
    with pytest.raises(services.ServiceError, match=r"missing\.conf"):
        services.up(ours)
    assert not ports_file(tmp_path).exists()
    monkeypatch.setattr(services, "BIN", tmp_path)
    with pytest.raises(FileNotFoundError):
        services.up(ours)
    assert not ports_file(tmp_path).exists()


@pytest.mark.parametrize("port", ["abc", "70000", "0", "-1"])
def test_a_port_that_is_none_is_said(port: str, tmp_path: Path) -> None:
    """Each command says what is expected."""
    command = [sys.executable, str(ROOT / "ops" / "services.py"), "status", "--data", str(tmp_path)]
    environment = {**os.environ, "TAGLM_PREFECT_PORT": port}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"ServiceError: TAGLM_PREFECT_PORT={port}: expected a number from 1 to 65535\n"


OWN = [
    {"name": "mine", "entrypoint": "flows/pipeline.py:pipeline", "work_pool": {"name": "taglm"}},
    {"name": "other", "entrypoint": "flows/tag.py:tag", "work_pool": {"name": "gpus", "work_queue_name": "tag"}},
    {"name": "bare", "entrypoint": "flows/ingest.py:ingest", "work_pool": None, "schedules": None, "triggers": None},
    {"entrypoint": "flows/ingest.py:ingest", "schedules": [{"cron": "0 1 * * *"}], "triggers": [{"type": "event"}]},
    {
        "name": "daily",
        "entrypoint": "flows/ingest.py:ingest",
        "work_pool": {"name": "taglm", "work_queue_name": "ingest"},
        "schedules": [{"cron": "0 1 * * *"}, {"slug": "noon", "cron": "0 12 * * *"}],
        "triggers": [{"type": "event", "enabled": False, "expect": ["something"]}],
    },
]


def test_deployments_of_ones_own_may_say_as_little_as_prefect_asks_for(
    ops: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No queue: the pool's default one, without a limit from us. Queues of other pools are not ours."""
    queues = f"{URL}/api/work_pools/taglm/queues"
    there = [{"name": "default", "concurrency_limit": None}]
    server = Server({f"{queues}/filter": there, f"{URL}/api/work_pools/": {}})
    monkeypatch.setattr(ops["server"], "send", server.send)
    ops["server"].create_pool(URL, "taglm", {"deployments": OWN})
    assert server.told == [("POST", queues, {"name": "ingest", "concurrency_limit": 1})]


def test_switches_of_ones_own_deployments(ops: dict[str, ModuleType]) -> None:
    """A trigger has the name that Prefect gives it; a schedule that was switched on in the file is still a stage's."""
    switches, content = ops["switches"], {"deployments": OWN}
    assert switches.names_of("chain", content) == ["automation daily__automation_1"]
    assert switches.names_of("schedules", content) == ["schedule daily/noon"]
    assert switches.names_of("rerun", content) == ["automation run again after a crash"]
    assert switches.without_slug(content) == ["daily"]
    assert switches.without_slug(CONTENT) == []


def deployment(name: str, *schedules: tuple[str | None, bool]) -> dict[str, Any]:
    """As the server tells it; schedules by slug and whether they are on."""
    told = [{"id": f"{slug}-{number}", "slug": slug, "active": on} for number, (slug, on) in enumerate(schedules)]
    return {"name": name, "id": name, "schedules": told}


def test_a_schedule_without_a_slug_is_not_switched(ops: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each deploy makes it anew, and nothing says which of the earlier ones it was."""
    server = Server({f"{URL}/api/automations/filter": []})
    server.answers[f"{URL}/api/deployments/filter"] = [deployment("daily", (None, True), (None, False), ("noon", True))]
    monkeypatch.setattr(ops["switches"], "send", server.send)
    assert list(ops["switches"].switches(URL)) == ["schedule daily/noon"]


def test_a_deploy_says_what_it_keeps_against_the_file(
    ops: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who has edited the file reads that it was switched otherwise, and the command that follows the file."""
    services, switches = ops["services"], ops["switches"]
    automations, deployments = f"{URL}/api/automations/filter", f"{URL}/api/deployments/filter"
    names = ("tag after new embeddings", "run again after a crash", "a person's own")
    server = Server({automations: [automation(name, enabled=True) for name in names]})
    server.answers[deployments] = [
        deployment("demo-ingest", ("hourly", False)),
        deployment("demo-nightly", ("nightly", False)),
        deployment("demo-tag", ("weekly", False)),
    ]

    def deploys(*_: object, **__: object) -> str:
        server.answers[automations] = [automation(name, enabled=name == "a person's own") for name in names]
        server.answers[deployments] = [
            deployment("demo-ingest", ("hourly", True)),
            deployment("demo-nightly", ("nightly", True)),
            deployment("demo-tag", ("weekly", False)),
            deployment("mine", ("new", True)),
        ]
        return ""

    monkeypatch.setattr(switches, "send", server.send)
    for name, instead in (
        ("_server", lambda _: URL), ("create_pool", lambda *_: None), ("put_automations", lambda *_: None),
        ("_call", deploys), ("read_yaml", lambda _: {"deployments": [*CONTENT["deployments"], *OWN]}),
    ):  # fmt: skip
        monkeypatch.setattr(services, name, instead)
    services.deploy(services.Services(tmp_path, 1, 2))
    assert [(url.rpartition("/api/")[2], body) for _, url, body in server.told] == [
        ("automations/tag-after-new-embeddings", {"enabled": True}),
        ("automations/run-again-after-a-crash", {"enabled": True}),
        ("deployments/demo-ingest/schedules/hourly-0", {"active": False}),
        ("deployments/demo-nightly/schedules/nightly-0", {"active": False}),
    ]
    assert capsys.readouterr().out.splitlines() == [
        "kept on: automation tag after new embeddings (prefect.yaml says off; make chain-off)",
        "kept on: automation run again after a crash (ops/automations.yaml says off; make rerun-off)",
        "kept off: schedule demo-ingest/hourly (prefect.yaml says on; make schedules-on)",
        "kept off: schedule demo-nightly/nightly (prefect.yaml says on; switch it in the UI)",
        "no switch: schedules of daily have no slug; each deploy resets them to prefect.yaml",
    ]
