"""Where the tracking store is. Says it without importing MLflow."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from taglm_core.errors import ConfigError
from tasks.environment import DATA

SQLITE = "sqlite:///"


def resolve_uri(configured: str | None = None) -> str:
    """Address of the tracking store: as configured, else MLFLOW_TRACKING_URI, else sqlite below `data/`.

    A relative sqlite path is made absolute: MLflow would look for it from wherever a process was started.

    Raises:
        ConfigError: a folder; MLflow no longer keeps runs in files.
    """
    uri = configured or os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{DATA / 'mlflow.db'}"
    if uri.startswith(SQLITE):
        return f"{SQLITE}{Path(uri.removeprefix(SQLITE)).expanduser().absolute()}"
    if urlsplit(uri).scheme in ("", "file"):
        raise ConfigError(
            f"tracking store {uri!r}: found a folder; expected a database or a server, as in sqlite:///data/mlflow.db "
            "or http://127.0.0.1:5000; change run.tracking_uri or MLFLOW_TRACKING_URI"
        )
    return uri


def is_there(uri: str) -> bool:
    """Whether there is something to ask: a database file that nobody has made yet would be made by asking."""
    return not uri.startswith(SQLITE) or Path(uri.removeprefix(SQLITE)).exists()
