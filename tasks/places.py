"""Addresses of the two UIs: of the servers that are configured, else where `make up`, `make mlflow` open them."""

from __future__ import annotations

import os
from urllib.parse import urlsplit, urlunsplit

HOST = "http://127.0.0.1"
MLFLOW_PORT, PREFECT_PORT = "5000", "4200"


def mlflow_ui(uri: str) -> str:
    """Address of MLflow's UI.

    Args:
        uri: tracking store, as given by `resolve_uri`; a server shows itself, a database has to be opened.
    """
    if is_server(uri):
        return without_password(uri).rstrip("/")
    return f"{HOST}:{os.environ.get('TAGLM_MLFLOW_PORT', MLFLOW_PORT)}"


def prefect_api() -> str:
    """Address of the API of the Prefect server that is configured, or that `make up` would start."""
    given = os.environ.get("PREFECT_API_URL")
    return given.rstrip("/") if given else f"{HOST}:{os.environ.get('TAGLM_PREFECT_PORT', PREFECT_PORT)}/api"


def prefect_ui() -> str:
    """Address of Prefect's UI."""
    return os.environ.get("PREFECT_UI_URL", prefect_api().removesuffix("/api")).rstrip("/")


def prefect_run(run_id: str) -> str:
    """Address of a flow run."""
    return f"{prefect_ui()}/runs/flow-run/{run_id}"


def prefect_line(run_id: str) -> str:
    """A line of Markdown that leads to a flow run."""
    return f"- [its run in Prefect]({prefect_run(run_id)})"


def is_server(uri: str) -> bool:
    """Whether a tracking store is a server, which has pages of its own."""
    return urlsplit(uri).scheme in ("http", "https")


def without_password(uri: str) -> str:
    """An address that may be shown: without user and password."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if "@" in parts.netloc else uri
