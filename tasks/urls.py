"""Addresses of the two UIs: of the servers that are configured, else where `make up`, `make mlflow` open them.

A port is what the environment says, else what `make up` was told (a file of `data/` that `make down` removes), else the
usual one.
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
USUAL_PORTS = {"prefect": 4200, "mlflow": 5000}
_USER = re.compile(r"^((?:[^:/?#@]*:)?//)?[^/?#]*@")  # scheme, if there is one; all before the last @ of the authority
_SECRET = re.compile(r"([?&](?:password|passwd|pwd|sslpassword)=)[^&]*", re.IGNORECASE)


def ports_file(data: Path = DATA) -> Path:
    """Where `make up` writes its ports, as JSON: there while the services are meant to run.

    Args:
        data: folder of the services.
    """
    return data / "services" / "ports.json"


def started_ports(data: Path = DATA) -> dict[str, int]:
    """Ports by service as `make up` wrote them; a file that is missing or damaged has none.

    Args:
        data: folder of the services.
    """
    try:
        found = json.loads(ports_file(data).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: found[name] for name in USUAL_PORTS if isinstance(found.get(name), int)}


def port_of(service: str, data: Path = DATA) -> str:
    """Port of `prefect` or `mlflow` on this machine.

    Args:
        service: which one.
        data: folder of the services.
    """
    asked = os.environ.get(f"TAGLM_{service.upper()}_PORT")
    return asked or str(started_ports(data).get(service, USUAL_PORTS[service]))


def mlflow_ui(uri: str) -> str:
    """Address of MLflow's UI.

    Args:
        uri: tracking store, as given by `resolve_uri`; a server shows itself, a database has to be opened.
    """
    if is_server(uri):
        return without_password(uri).rstrip("/")
    return f"{HOST}:{port_of('mlflow')}"


def prefect_api() -> str:
    """Address of the API of the Prefect server that is configured, or that `make up` would start; not to be shown."""
    given = os.environ.get("PREFECT_API_URL")
    return given.rstrip("/") if given else f"{HOST}:{port_of('prefect')}/api"


def prefect_ui() -> str:
    """Address of Prefect's UI."""
    return without_password(os.environ.get("PREFECT_UI_URL", prefect_api().removesuffix("/api"))).rstrip("/")


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
    """An address that may be shown: without user and password, and without the passwords in its query."""
    return _SECRET.sub(r"\1", _USER.sub(r"\1", uri))
