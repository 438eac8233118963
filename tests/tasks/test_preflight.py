"""What in the environment keeps a run from working is said before it starts, with what to set."""

from __future__ import annotations

import contextlib
import http.server
import os
import socket
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from flows.cli_services import _worker
from taglm_core.config.experiment import RunConfig
from taglm_core.errors import ConfigError
from tasks.environment import quiet_defaults
from tasks.http import reason
from tasks.preflight.check import require_environment
from tasks.preflight.machine import machine_faults
from tasks.preflight.prefect_server import prefect_faults
from tasks.preflight.tracking_store import require_mlflow_settings, tracking_faults
from tasks.tracking.address import resolve_uri

NOBODY = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment in which nothing is set; what the code sets goes away with the test."""
    for name in [*os.environ]:
        if name.startswith(("PREFECT_", "MLFLOW_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    for name in ("PREFECT_API_URL", "no_proxy", "NO_PROXY"):  # remembered, so that they are restored
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home" / "prefect"))
    quiet_defaults()


class Answer(http.server.BaseHTTPRequestHandler):
    """Answers everything with a status and a text."""

    status, text = 200, "true"

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(self.text.encode())

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server() -> Iterator[str]:
    """Address of a server that answers as `Answer` says."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_a_plain_environment_has_no_faults() -> None:
    """Nothing set, nothing there yet: a run may start."""
    require_environment(RunConfig())


@pytest.mark.parametrize("given", ["", "example.org", "*"])
def test_this_machine_is_never_asked_through_a_proxy(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By no client: they read NO_PROXY in either case, and what the user excepts stays excepted."""
    import httpx
    import requests.utils

    monkeypatch.setenv("HTTP_PROXY", NOBODY)
    monkeypatch.setenv("no_proxy", given)
    quiet_defaults()
    assert os.environ["NO_PROXY"] == os.environ["no_proxy"]
    assert not given or given in os.environ["NO_PROXY"].split(",")
    for host in ("localhost", "127.0.0.1", "0.0.0.0", "[::1]"):
        assert urllib.request.proxy_bypass(host.strip("[]"))
        assert requests.utils.should_bypass_proxies(f"http://{host}:4200", None) or host == "[::1]"
        with httpx.Client() as client:
            assert client._transport_for_url(httpx.URL(f"http://{host}:4200")) is client._transport


def test_without_a_proxy_no_exceptions_are_set() -> None:
    """They would hide the proxies of the system on macOS."""
    quiet_defaults()
    assert "NO_PROXY" not in os.environ


def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefect would take an empty address for one."""
    monkeypatch.setenv("PREFECT_API_URL", " ")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    require_environment(RunConfig())
    assert "PREFECT_API_URL" not in os.environ


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALL_PROXY", "socks4://127.0.0.1:9"),
        ("HTTP_PROXY", "nonsense://x"),
        ("SSL_CERT_FILE", "/nowhere/ca.pem"),
    ],
)
def test_what_no_client_can_use_is_named(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable, its value, and what to do with it."""
    monkeypatch.setenv(name, value)
    [fault] = machine_faults()
    assert name in fault.remedy
    assert value in fault.found


def test_socks_proxies_can_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The packages for them are installed."""
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    quiet_defaults()
    assert list(machine_faults()) == []


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PREFECT_API_URL", f"{NOBODY}/api", "nobody answers there (Connection refused)"),
        ("PREFECT_API_URL", "localhost:4200/api", "set PREFECT_API_URL=http://localhost:4200/api"),
        ("PREFECT_API_URL", "localhost:4200", "set PREFECT_API_URL=http://localhost:4200/api"),
        ("PREFECT_API_URL", "ftp://x/api", "expected an address such as http://"),
        ("PREFECT_API_URL", "http://host:port/api", "correct its host and port"),
        ("PREFECT_HOME", "{file}", "is a file; expected a folder; set PREFECT_HOME"),
        ("PREFECT_HOME", "{file}/below", "is a file; expected a folder; set PREFECT_HOME"),
        ("PREFECT_API_DATABASE_CONNECTION_URL", "postgresql://u:p@h/x", "=postgresql+asyncpg://..."),
        ("PREFECT_SERVER_DATABASE_CONNECTION_URL", "mysql://u:p@h/x", "expected sqlite+aiosqlite:// or postgresql"),
        ("PREFECT_SERVER_DATABASE_CONNECTION_URL", "nonsense", "expected an address of a database"),
        ("PREFECT_SERVER_DATABASE_CONNECTION_URL", "sqlite+aiosqlite:///{file}", "file is not a database"),
        ("PREFECT_SERVER_DATABASE_DRIVER", "postgresql+asyncpg", "Missing required database connection settings"),
        ("PREFECT_SERVER_ALLOW_EPHEMERAL_MODE", "false", "set PREFECT_API_URL"),
        ("PREFECT_LOGGING_LEVEL", "LOUD", "PREFECT_LOGGING_LEVEL is 'LOUD': input should be 'DEBUG'"),
        ("PREFECT_API_REQUEST_TIMEOUT", "abc", "PREFECT_API_REQUEST_TIMEOUT is 'abc': input should be a valid number"),
        ("PREFECT_CLIENT_CUSTOM_HEADERS", "abc", "custom_headers"),
    ],
)
def test_what_prefect_cannot_use_is_named(
    name: str, value: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """In one fault with a remedy, and nothing else is printed."""
    (tmp_path / "file").write_text("x" * 100)
    monkeypatch.setenv(name, value.replace("{file}", str(tmp_path / "file")))
    [fault] = prefect_faults()
    assert said in str(fault)
    assert "u:p" not in str(fault)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (".env", f"PREFECT_API_URL={NOBODY}/api"),
        ("prefect.toml", f'[api]\nurl = "{NOBODY}/api"'),
        ("pyproject.toml", f'[tool.prefect.api]\nurl = "{NOBODY}/api"'),
        ("home/prefect/profiles.toml", f'active = "mine"\n[profiles.mine]\nPREFECT_API_URL = "{NOBODY}/api"'),
    ],
)
def test_prefect_says_what_is_configured(file: str, text: str, tmp_path: Path) -> None:
    """A server that a file names counts like one of the environment; the remedy says how to find the file."""
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(text)
    [fault] = prefect_faults()
    assert "nobody answers there" in fault.found
    assert "--show-sources" in fault.remedy


@pytest.mark.parametrize("file", ["prefect.toml", "home/prefect/profiles.toml"])
def test_files_that_prefect_cannot_read_are_named(file: str, tmp_path: Path) -> None:
    """Prefect itself passes over a damaged profile."""
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text("[api")
    [fault] = prefect_faults()
    assert Path(file).name in str(fault)


@pytest.mark.parametrize(
    ("status", "text", "said"),
    [
        (401, "", "PREFECT_API_AUTH_STRING"),
        (404, "", "HTTP 404 answers there, not Prefect's API"),
        (502, "", "which answers HTTP 502"),
        (200, "<html>", "another program"),
    ],
)
def test_who_answers_must_be_prefect(
    status: int, text: str, said: str, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And must let us in."""
    monkeypatch.setattr(Answer, "status", status)
    monkeypatch.setattr(Answer, "text", text)
    monkeypatch.setenv("PREFECT_API_URL", server)
    [fault] = prefect_faults()
    assert said in str(fault)
    assert (f"set PREFECT_API_URL={server}/api" in fault.remedy) is (status in (200, 404))


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("localhost:5000", "found a host without http:// before it; "),
        ("127.0.0.1:5000/", "=http://127.0.0.1:5000/"),
        ("http//host:5000", "=http://host:5000"),
        ("http:/host", "=http://host"),
        ("http://", "an incomplete address of a server"),
        ("http://host:port", "host or port cannot be read"),
        ("http://host:5000/#/experiments/1", "found the address of a page; "),
        ("'http://host'", "=http://host"),
        ("sqlite://x.db", "=sqlite:///x.db"),
        ("sqlite:x.db", "=sqlite:///x.db"),
        ("sqlite:/a/x.db", "=sqlite:////a/x.db"),
        ("sqlite:///:memory:", "a database in memory"),
        ("x.db", "=sqlite:///x.db"),
        ("runs", "found a folder"),
        ("file:///runs", "found a folder"),
        ("databricks", "an address of Databricks"),
        ("databricks://profile", "an address of Databricks"),
        ("uc:models", "an address of Databricks"),
        ("postgres://user:secret@host/x", "=postgresql://host/x"),
        ("s3://bucket/runs", "an address that begins with s3:"),
    ],
)
def test_what_is_no_tracking_store_is_refused(address: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For what it is, with what was probably meant, naming the place where it is set."""
    for configured, setting in ((address, "run.tracking_uri"), (None, "MLFLOW_TRACKING_URI")):
        if configured is None:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        with pytest.raises(ConfigError) as refused:
            resolve_uri(configured)
        assert said in str(refused.value)
        assert str(refused.value).startswith(f"{setting} is ")
        assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("MLFLOW_TRACKING_URI", "postgresql://u:p@h/x", "needs the Python package psycopg2"),
        ("MLFLOW_TRACKING_URI", "postgresql+nonsense://h/x", "no driver postgresql+nonsense"),
        ("MLFLOW_TRACKING_URI", "sqlite:///{file}", "file is not a database"),
        ("MLFLOW_TRACKING_URI", "sqlite:///{file}/x.db", "is a file; expected a folder"),
        ("MLFLOW_HTTP_REQUEST_TIMEOUT", "abc", "correct or unset MLFLOW_HTTP_REQUEST_TIMEOUT"),
        ("MLFLOW_TRACKING_CLIENT_CERT_PATH", "/nowhere.pem", "is /nowhere.pem, which does not exist"),
        ("REQUESTS_CA_BUNDLE", "/nowhere.pem", "correct or unset REQUESTS_CA_BUNDLE"),
        ("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "Foo", "is 'Foo'; expected a pool of SQLAlchemy"),
        ("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "maybe", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR is 'maybe'"),
    ],
)
def test_what_mlflow_cannot_use_is_named(
    name: str, value: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is computed."""
    (tmp_path / "file").write_text("x" * 100)
    monkeypatch.setenv(name, value.replace("{file}", str(tmp_path / "file")))
    [fault] = tracking_faults(RunConfig())
    assert said in str(fault)
    assert "u:p" not in str(fault)
    with pytest.raises(ConfigError, match=r"^MLflow: "):
        require_environment(RunConfig())
    assert tracking_faults(RunConfig(tracking=False)) == []
    if name != "MLFLOW_TRACKING_URI":
        with pytest.raises(ConfigError):
            require_mlflow_settings()


@pytest.mark.parametrize(
    ("status", "text", "passing", "said"),
    [
        (401, "", False, "MLFLOW_TRACKING_USERNAME"),
        (403, "", False, "MLFLOW_TRACKING_USERNAME"),
        (404, "", False, "not MLflow's API"),
        (200, "<html>", False, "another program answers there"),
        (200, '{"ok": 1}', False, "another program answers there"),
        (503, "", True, "HTTP 503"),
    ],
)
def test_only_what_may_come_back_is_waited_for(
    *, status: int, text: str, passing: bool, said: str, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal and a wrong address do not pass; a server that is busy or down may."""
    monkeypatch.setattr(Answer, "status", status)
    monkeypatch.setattr(Answer, "text", text)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    [fault] = tracking_faults(RunConfig(tracking_uri=server))
    assert fault.passing is passing
    assert said in str(fault)


def test_a_server_that_is_down_may_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run goes on without it; why it does not answer is said in two words."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    [fault] = tracking_faults(RunConfig(tracking_uri=NOBODY))
    assert fault.passing
    assert fault.found == f"{NOBODY} does not answer (Connection refused)"
    assert require_environment(RunConfig(tracking_uri=NOBODY)) == [str(fault)]  # said at the start of the run
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "-1")
    with pytest.raises(ConfigError, match="timeout"):
        require_environment(RunConfig(tracking_uri=NOBODY))


@pytest.fixture
def mute() -> Iterator[str]:
    """A program that answers in another protocol, and the beginning of its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def greet() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    connection.sendall(b"SSH-2.0-OpenSSH_9\r\n")
                    connection.recv(10_000)
                    connection.close()

        thread = threading.Thread(target=greet, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_another_kind_of_program_is_not_waited_for(mute: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over http and https: what it is not, and what to set."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    [fault] = tracking_faults(RunConfig(tracking_uri=f"http://{mute}"))
    assert not fault.passing
    assert fault.found == f"http://{mute} cannot be reached (the answer is not HTTP)"
    [fault] = tracking_faults(RunConfig(tracking_uri=f"https://{mute}"))
    assert not fault.passing
    assert "TLS fails there" in fault.found
    assert "MLFLOW_TRACKING_SERVER_CERT_PATH" in fault.remedy
    assert "_ssl.c" not in fault.found
    monkeypatch.setenv("PREFECT_API_URL", f"https://{mute}/api")
    [fault] = prefect_faults()
    assert "TLS fails there" in fault.found
    assert "PREFECT_API_SSL_CERT_FILE" in fault.remedy


def test_a_server_that_hangs_is_said_in_few_words() -> None:
    """However many layers a library puts around it."""
    layered = OSError("HTTPConnectionPool(host='127.0.0.1', port=1): Max retries exceeded with url: /")
    layered.__cause__ = requests.exceptions.ReadTimeout("read timeout=20")
    assert reason(layered) == "no answer in time"


def test_the_doctor_outlives_answers_that_are_not_prefects(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that answers JSON to everything is no reason to end."""
    monkeypatch.setattr(Answer, "status", 200)
    monkeypatch.setattr(Answer, "text", '{"ok": 1}')
    monkeypatch.setenv("PREFECT_API_URL", f"{server}/api")
    assert "another program" in _worker().found


def test_logging_settings_that_prefect_cannot_read_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefect would end the run in the middle of its start."""
    (tmp_path / "logging.yml").write_text("{{")
    monkeypatch.setenv("PREFECT_LOGGING_SETTINGS_PATH", str(tmp_path / "logging.yml"))
    [fault] = prefect_faults()
    assert f"its logging settings {tmp_path / 'logging.yml'} cannot be read" in fault.found
    assert "PREFECT_LOGGING_SETTINGS_PATH" in fault.remedy
