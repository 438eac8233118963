"""Addresses of the two UIs: those of configured servers, else those of `make up`, `make prefect` and `make mlflow`.

A port comes from the environment, else from the ports file of `make up` (removed by `make down`), else the default.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from tasks.environment import DATA

HOST = "http://127.0.0.1"
POOL = "taglm"  # work pool of the deployments (prefect.yaml) and of the worker (ops/supervisord.conf)
DEFAULT_PORTS = {"prefect": 4200, "mlflow": 5000}
_USER = re.compile(r"^((?:[^:/?#@]*:)?//)?[^/?#]*@")  # optional scheme; everything before the last @ of the authority
_SECRET = re.compile(r"([?&](?:password|passwd|pwd|sslpassword)=)[^&]*", re.IGNORECASE)


def ports_file(data: Path = DATA) -> Path:
    """Return the JSON file of the ports of `make up`, which exists while the services are meant to run.

    Args:
        data: folder of the services.
    """
    return data / "services" / "ports.json"


def started_ports(data: Path = DATA) -> dict[str, int]:
    """Return the ports by service that `make up` wrote; none if the file is missing or damaged.

    Args:
        data: folder of the services.
    """
    try:
        found = json.loads(ports_file(data).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: found[name] for name in DEFAULT_PORTS if isinstance(found.get(name), int)}


def port_of(service: str, data: Path = DATA) -> str:
    """Return the port of `prefect` or `mlflow` on this machine.

    Args:
        service: name of the service.
        data: folder of the services.
    """
    given = os.environ.get(f"TAGLM_{service.upper()}_PORT")
    return given or str(started_ports(data).get(service, DEFAULT_PORTS[service]))


def mlflow_ui(uri: str) -> str:
    """Return the address of MLflow's UI.

    Args:
        uri: tracking store from `resolve_uri`; a server has its own UI, a database needs `make mlflow`.
    """
    if is_server(uri):
        return without_password(uri).rstrip("/")
    return f"{HOST}:{port_of('mlflow')}"


def prefect_api() -> str:
    """Return the API address of the configured Prefect server, else of `make up`; it may hold a password."""
    given = os.environ.get("PREFECT_API_URL")
    return given.rstrip("/") if given else f"{HOST}:{port_of('prefect')}/api"


def prefect_ui() -> str:
    """Return the address of Prefect's UI."""
    return without_password(os.environ.get("PREFECT_UI_URL", prefect_api().removesuffix("/api"))).rstrip("/")


def prefect_run(run_id: str) -> str:
    """Return the address of a flow run."""
    return f"{prefect_ui()}/runs/flow-run/{run_id}"


def prefect_line(run_id: str) -> str:
    """Return a line of Markdown with a link to a flow run."""
    return f"- [its run in Prefect]({prefect_run(run_id)})"


def is_server(uri: str) -> bool:
    """Return whether a tracking store is a server with its own UI."""
    return urlsplit(uri).scheme in ("http", "https")


def without_password(uri: str) -> str:
    """Return an address without user, password, and passwords in its query."""
    return _SECRET.sub(r"\1", _USER.sub(r"\1", uri))
