"""The doctor finds what is wrong, and finds nothing on a machine that works."""

from __future__ import annotations

import base64
import http.server
import io
import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from flows import cli
from flows.cli_check import Check, table
from flows.cli_doctor import check, resolved
from taglm_core.config.load import build_experiment
from tasks.urls import ports_file


def _found(**settings: object) -> dict[str, Check]:
    """Checks by subject; of several with one subject the last bad one, else the last."""
    experiment = build_experiment(dict(settings), "test")
    checks = check(experiment, resolved(experiment).graph)
    return {one.what: one for one in sorted(checks, key=lambda one: one.bad)}


@pytest.fixture(autouse=True)
def _no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("TAGLM_PREFECT_PORT", "1")
    monkeypatch.setenv("TAGLM_MLFLOW_PORT", "1")


class Server:
    """Answers every GET as a Prefect server that is well, a search as MLflow, every other POST with what it is told to.

    Attributes:
        health: the answer to a GET.
        status: of the answer to a POST.
        answer: to a POST, as JSON.
        asked: path of the last POST.
        user: who asked last, as the header `Authorization` says.
    """

    health: bytes = b"true"
    status: int = 200
    answer: object = ()
    asked: str = ""
    user: str = ""
    port: int = 0


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that runs as long as the test."""
    told = Server()

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told.user = self.headers["Authorization"] or ""
            self.send_response(200)
            self.end_headers()
            self.wfile.write(told.health)

        def do_POST(self) -> None:
            told.asked, told.user = self.path, self.headers["Authorization"] or ""
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(told.status)
            self.end_headers()
            is_search = self.path.endswith("/experiments/search")
            self.wfile.write(json.dumps({} if is_search else told.answer).encode())

        def log_message(self, *_: object) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as running:
        told.port = running.server_port
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield told
        running.shutdown()
        thread.join()


@pytest.fixture
def healthy_server(server: Server) -> str:
    """Address of something that answers every request with 200."""
    return f"http://127.0.0.1:{server.port}/api"


def test_a_machine_that_works_has_nothing_bad() -> None:
    """This very environment, in which the tests run, is good; both vital pins are named."""
    experiment = build_experiment({}, "test")
    checks = check(experiment, resolved(experiment).graph)
    assert [one for one in checks if one.bad] == []
    assert {"pin fastapi<0.151", "pin sqlalchemy<2.1", "torch", "disk", "store", "telemetry"} <= {
        c.what for c in checks
    }


def test_what_a_language_model_can_be_trained_on_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Number of CUDA devices, native bfloat16; a precision that the CPU lacks, or too many ranks, is bad."""
    monkeypatch.setattr("taglm_core.training.devices.native_bfloat16", lambda: False)
    found = _found(run={"precision": "bfloat16", "device": "cpu"})
    assert found["CUDA devices"].found.isdecimal()
    assert found["instruction set"].bad
    assert "no native bfloat16" in found["instruction set"].found
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda _: "one")
    assert "run.ranks=2" in _found(run={"ranks": 4})["CUDA devices"].remedy
    assert not _found(run={"ranks": 2})["CUDA devices"].bad


@pytest.mark.parametrize(("name", "version"), [("fastapi", "0.165.0"), ("sqlalchemy", "2.1.9")])
def test_versions_that_break_prefect_are_named(
    name: str, version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A vital package in a version that installs cleanly but does not work is bad, with the consequence."""
    folder = tmp_path / "site" / f"{name}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    found = _found()
    pin = next(one for what, one in found.items() if what.startswith(f"pin {name}<"))
    assert pin.bad
    assert pin.found == version
    assert "no flow runs" in pin.remedy or "schedules silently create no runs" in pin.remedy
    assert found["requirements"].bad
    assert f"{name} {version}" in found["requirements"].found
    assert f"{name} {version} (tested: " in found["requirements.lock"].found


def test_missing_input_files_are_named(tmp_path: Path) -> None:
    """Each raw file of the experiment is looked for: those that are there are counted, the others are bad."""
    (tmp_path / "there.txt").write_text("a b\n")
    labelled = {"train": "nowhere/train.conll", "dev": "demo:dev", "test": None}
    found = _found(labelled=labelled, unlabelled={"path": "demo:text"})["input files"]
    assert found.bad
    assert "nowhere/train.conll" in found.found
    there = _found(unlabelled={"path": str(tmp_path / "there.txt")})["input files"]
    assert not there.bad
    assert "1 file" in there.found


def test_several_files_of_word_vectors_are_bad(tmp_path: Path) -> None:
    """As the plan refuses them; of text they are read in their order."""
    for name in "ab":
        (tmp_path / name).write_text("word 1 2\n")
    vectors = _found(language_models={"main": {"vectors": str(tmp_path)}})["input files"]
    assert vectors.bad
    assert "2 files" in vectors.found
    assert "name one of them" in vectors.remedy
    assert not _found(unlabelled={"path": str(tmp_path)})["input files"].bad


def test_a_store_that_cannot_be_made_is_bad(tmp_path: Path) -> None:
    """A store below something that is no folder is noticed before any work."""
    (tmp_path / "file").write_text("")
    assert _found(run={"store": str(tmp_path / "file" / "store")})["store"].bad
    assert not (tmp_path / "data").exists(), "looking makes nothing"


def test_the_prefect_server_is_asked_where_one_is_set(healthy_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that answers is good; an address where nobody answers is bad; none is good."""
    assert not _found()["Prefect"].bad
    monkeypatch.setenv("PREFECT_API_URL", healthy_server)
    assert not _found()["Prefect"].bad
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    assert _found()["Prefect"].bad


@pytest.mark.parametrize(
    ("status", "answer", "found"),
    [
        (200, [{"name": "one", "status": "ONLINE", "last_heartbeat_time": "12:00"}], "one (last heartbeat 12:00)"),
        (200, [{"name": "one", "status": "OFFLINE", "last_heartbeat_time": "12:00"}], "none online, 1 known before"),
        (200, [], "none online"),
        (404, {}, "no work pool taglm"),
        (500, {}, "HTTP 500"),
    ],
)
def test_the_worker_is_asked_for(
    status: int, answer: object, found: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only one that is online works; whatever it is, experiments run without."""
    server.status, server.answer = status, answer
    monkeypatch.setenv("TAGLM_PREFECT_PORT", str(server.port))
    check = _found()["worker"]
    assert check.found.startswith(found)
    assert not check.bad
    assert ("make up" in check.remedy) is (found[:3] != "one")
    assert server.asked == "/api/work_pools/taglm/workers/filter"


def test_pages_are_named_whether_open_or_not(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's in the view for training; the command that opens what is closed."""
    found = _found()
    assert found["MLflow UI"].found == "http://127.0.0.1:1/#/experiments?workflowType=machine_learning (not open)"
    assert "`make mlflow`" in found["MLflow UI"].remedy
    assert "`make prefect`" in found["Prefect UI"].remedy
    monkeypatch.setenv("TAGLM_PREFECT_PORT", str(server.port))
    opened = _found(run={"tracking_uri": f"http://user:secret@127.0.0.1:{server.port}/"})
    assert opened["Prefect UI"].found == f"http://127.0.0.1:{server.port}"
    assert opened["MLflow UI"].found.startswith(f"http://127.0.0.1:{server.port}/#/experiments")
    assert not opened["MLflow UI"].remedy
    assert "MLflow UI" not in _found(run={"tracking": False})


@pytest.mark.parametrize("status", [200, 404, 500])
@pytest.mark.parametrize("away", [False, True])
def test_no_row_shows_a_password(*, away: bool, status: int, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever answers, or does not; those who are asked are told it."""
    server.status = status
    address = f"http://user:sec%40ret@127.0.0.1:{1 if away else server.port}"
    monkeypatch.setenv("PREFECT_API_URL", f"{address}/api")
    found = _found(run={"tracking_uri": address})
    assert "user" not in str(list(found.values()))
    assert [found[name].bad for name in ("Prefect", "MLflow")] == [away, away or status != 200]
    assert server.user == ("" if away else f"Basic {base64.b64encode(b'user:sec@ret').decode()}")


@pytest.mark.parametrize("host", ["user:secret@nowhere.invalid", "nowhere.invalid:port"])
def test_an_address_that_cannot_be_asked_is_a_row(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes after the colon of a password is no port; a port that is no number is nobody's."""
    monkeypatch.setenv("PREFECT_API_URL", f"http://{host}/api")
    found = _found()["Prefect"]
    assert found.bad
    assert f"http://{host.removeprefix('user:secret@')}/api" in found.found
    assert "secret" not in found.found


def test_another_program_on_the_port_is_no_prefect_server(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers, with success even, but not as Prefect would."""
    server.health = b"<html>"
    monkeypatch.setenv("TAGLM_PREFECT_PORT", str(server.port))
    assert _found()["Prefect"].found.startswith("none running")
    assert "not open" in _found()["Prefect UI"].found
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{server.port}/api")
    assert _found()["Prefect"].bad


@pytest.mark.parametrize("port", ["abc", "70000"])
def test_a_port_that_is_none_is_nobodys(port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No number, or too large a one: nobody is there."""
    monkeypatch.setenv("TAGLM_PREFECT_PORT", port)
    assert _found()["Prefect"].found.startswith("none running")


def test_services_on_other_ports_are_found(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """`make up` was told which; this shell was not."""
    for name in ("TAGLM_PREFECT_PORT", "TAGLM_MLFLOW_PORT"):
        monkeypatch.delenv(name)
    ports_file().parent.mkdir(parents=True)
    ports_file().write_text(json.dumps({"prefect": server.port, "mlflow": server.port}))
    found, here = _found(), f"http://127.0.0.1:{server.port}"
    assert found["Prefect"].found.startswith(f"{here} answers")
    assert found["Prefect UI"].found == here
    assert found["MLflow UI"].found == f"{here}/#/experiments?workflowType=machine_learning"
    assert server.asked == "/api/work_pools/taglm/workers/filter"


def test_tracking_stores_are_looked_at(tmp_path: Path, healthy_server: str) -> None:
    """Absent is good (the first run makes it), something else than a database is bad, and so is a server away."""
    found = _found(run={"tracking_uri": f"sqlite:///{tmp_path}/absent.db"})["MLflow"]
    assert not found.bad
    (tmp_path / "torn.db").write_bytes(b"no database" * 1000)
    assert _found(run={"tracking_uri": f"sqlite:///{tmp_path}/torn.db"})["MLflow"].bad
    assert _found(run={"tracking_uri": "http://127.0.0.1:1"})["MLflow"].bad
    assert not _found(run={"tracking_uri": healthy_server})["MLflow"].bad
    assert _found(run={"tracking_uri": str(tmp_path)})["MLflow"].bad, "MLflow keeps no runs in folders any more"
    assert "off" in _found(run={"tracking": False})["MLflow"].found


def test_a_tracking_store_that_is_locked_is_busy_and_not_bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is told to move a database away in which somebody writes."""
    monkeypatch.setattr("flows.cli_services.ASK_SECONDS", 0.1)
    with closing(sqlite3.connect(tmp_path / "busy.db", isolation_level=None)) as database:
        database.execute("CREATE TABLE runs (id)")
        database.execute("BEGIN EXCLUSIVE")
        found = _found(run={"tracking_uri": f"sqlite:///{tmp_path}/busy.db"})["MLflow"]
    assert not found.bad
    assert "is busy: database is locked" in found.found
    assert found.remedy == "try again in a moment"
    found = _found(run={"tracking_uri": f"sqlite:///{tmp_path}/busy.db"})["MLflow"]
    assert found.found.endswith("0 runs")


def test_memory_is_that_of_the_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's is no use where a control group allows less."""
    (tmp_path / "memory.max").write_text("1500000000\n")
    (tmp_path / "memory.current").write_text("1000000000\n")
    monkeypatch.setattr("taglm_core.store.resources._cgroups", lambda: [tmp_path])
    memory = _found()["memory"]
    assert memory.bad
    assert memory.found.startswith("0.5 GB free of ")


def test_more_workers_than_cores_is_said_but_not_bad() -> None:
    """Running slower is no reason not to run."""
    cores = _found(run={"workers": 100_000})["cores"]
    assert not cores.bad
    assert "100000" in cores.remedy.replace(",", "")


def test_telemetry_switched_on_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever switched it on reads so."""
    assert "off" in _found()["telemetry"].found
    monkeypatch.setenv("DO_NOT_TRACK", "false")
    assert "DO_NOT_TRACK=false" in _found()["telemetry"].found


def test_the_table_shows_everything_as_it_is() -> None:
    """Square brackets in what was found are not read as markup, long paths are not cut off."""
    output = io.StringIO()
    found = Check("files", "glob [ab]*.txt " + "x" * 200, True, "look at [red]")
    Console(file=output, width=100).print(table([found]))
    shown = "".join(output.getvalue().split())
    assert "[ab]*.txt" in shown
    assert shown.count("x") >= 200
    assert "[red]" in shown


def test_the_command_fails_where_something_is_bad(tmp_path: Path) -> None:
    """`taglm doctor` ends with status 1 if anything is bad, so that scripts can ask it."""
    experiment = tmp_path / "experiment.yaml"
    experiment.write_text("run: {tracking: false}\n")
    assert CliRunner().invoke(cli.app, ["doctor", str(experiment)]).exit_code == 0
    experiment.write_text("run: {tracking: false}\nunlabelled: {path: nowhere.txt}\n")
    assert CliRunner().invoke(cli.app, ["doctor", str(experiment)]).exit_code == 1


def test_an_experiment_that_goes_on_from_the_latest_model_is_looked_at(tmp_path: Path) -> None:
    """Its corpora are shown before any language model is there."""
    path = tmp_path / "x.yaml"
    path.write_text("{name: x, language_models: {main: {continue_from: latest}}, run: {tracking: false}}")
    done = CliRunner().invoke(cli.app, ["doctor", str(path)])
    assert done.exception is None or isinstance(done.exception, SystemExit)
    assert "not read yet" in done.output
