"""Addresses of the UIs: configured servers, else the ports of `make up`."""

from __future__ import annotations

import pytest

from tasks.urls import is_server, mlflow_ui, ports_file, prefect_api, prefect_run, prefect_ui, without_password


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PREFECT_API_URL", "PREFECT_UI_URL", "TAGLM_PREFECT_PORT", "TAGLM_MLFLOW_PORT"):
        monkeypatch.delenv(name, raising=False)


def test_pages_are_on_the_ports_of_make_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database has no page of its own: `make mlflow` opens it."""
    assert mlflow_ui("sqlite:///a.db") == "http://127.0.0.1:5000"
    assert prefect_run("id") == "http://127.0.0.1:4200/runs/flow-run/id"
    monkeypatch.setenv("TAGLM_MLFLOW_PORT", "5001")
    monkeypatch.setenv("TAGLM_PREFECT_PORT", "4201")
    assert mlflow_ui("postgresql://host/db") == "http://127.0.0.1:5001"
    assert (prefect_api(), prefect_ui()) == ("http://127.0.0.1:4201/api", "http://127.0.0.1:4201")


def test_a_server_shows_itself_without_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """As configured, without what is secret."""
    assert mlflow_ui("https://user:secret@tracking:80/") == "https://tracking:80"
    assert is_server("https://tracking")
    assert not is_server("sqlite:///a.db")
    assert without_password("postgresql://user:secret@host/db") == "postgresql://host/db"
    assert without_password("http://host/a@b") == "http://host/a@b"
    monkeypatch.setenv("PREFECT_API_URL", "http://prefect:4200/api/")
    assert prefect_ui() == "http://prefect:4200"
    monkeypatch.setenv("PREFECT_API_URL", "http://user:secret@prefect:4200/api/")
    assert prefect_ui() == "http://prefect:4200"
    monkeypatch.setenv("PREFECT_UI_URL", "http://user:secret@pages/")
    assert prefect_run("id") == "http://pages/runs/flow-run/id"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("postgresql://h/db?user=u&password=secret", "postgresql://h/db?user=u&password="),
        ("postgresql://h/db?sslPassword=se@cr#et&sslmode=on", "postgresql://h/db?sslPassword=&sslmode=on"),
        ("mysql+pymysql://u:se@cret@[::1]:80/db?pwd=secret", "mysql+pymysql://[::1]:80/db?pwd="),
        ("user:secret@host:5000/a@b", "host:5000/a@b"),
        ("//user:secret@host", "//host"),
        ("sqlite:///a@b.db", "sqlite:///a@b.db"),
        ("/home/a@b/mlflow.db", "/home/a@b/mlflow.db"),
        ("http://host:80/?mail=a@b", "http://host:80/?mail=a@b"),
    ],
)
def test_no_password_is_shown_wherever_it_stands(given: str, shown: str) -> None:
    """In the query, in an address without a scheme, with an @ of its own; an @ of a path is no password's."""
    assert without_password(given) == shown


def test_ports_are_those_that_make_up_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell that knows nothing of them finds the services; one that says otherwise means it."""
    ports_file().parent.mkdir(parents=True)
    ports_file().write_text('{"prefect": 4300, "mlflow": 5100}')
    assert (mlflow_ui("sqlite:///a.db"), prefect_ui()) == ("http://127.0.0.1:5100", "http://127.0.0.1:4300")
    monkeypatch.setenv("TAGLM_MLFLOW_PORT", "5001")
    assert (mlflow_ui("sqlite:///a.db"), prefect_ui()) == ("http://127.0.0.1:5001", "http://127.0.0.1:4300")
    monkeypatch.setenv("PREFECT_API_URL", "http://prefect:4200/api")
    assert prefect_ui() == "http://prefect:4200"


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b"null", b'{"prefect": "4300", "other": 1}'])
def test_a_damaged_file_of_ports_is_no_error(content: bytes) -> None:
    """The usual ports are as good a guess as any."""
    ports_file().parent.mkdir(parents=True)
    ports_file().write_bytes(content)
    assert (mlflow_ui("sqlite:///a.db"), prefect_ui()) == ("http://127.0.0.1:5000", "http://127.0.0.1:4200")
