"""Environment defaults of Prefect and MLflow: no telemetry, no noise, everything below `data/`.

Both libraries read most of these when they are imported, so `quiet_defaults` comes before the first import of either.
What the user has set stays as it is, with three exceptions: an empty variable counts as unset, servers on this machine
are never asked through a proxy, and a warning of a library never ends the program.
"""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from pathlib import Path

DATA = Path("data")

DEFAULTS = {
    # Prefect's client takes 1, true or yes, MLflow exactly "true". Without it a fresh sqlite also prints a traceback.
    "DO_NOT_TRACK": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    # The first start of a server without a database takes about 40 s; Prefect gives up after 20.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    # Prefect's default profile says so, a profile of the user's does not.
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    # What the steps say appears with their runs in the UI; what is said outside of a run is no reason for a warning.
    "PREFECT_LOGGING_EXTRA_LOGGERS": "taglm",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    # Seconds. A server that `make up` started takes a run that is silent for longer than ops/automations.yaml says for
    # dead; Prefect's own 180 would be too long.
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # A tracking server that is away must not hold the work up: MLflow would ask 8 times, up to 2 minutes each.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    # A connection kept open to an sqlite file that was away never finds the file that came back.
    "MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool",
}
# urllib3 reports each attempt to reach a server that is away; the failure itself is reported once, by us.
NOISY = {"mlflow": logging.WARNING, "alembic": logging.WARNING, "urllib3.connectionpool": logging.ERROR}
LIBRARIES = ("PREFECT_", "MLFLOW_")
# httpx, requests, urllib and websockets all read NO_PROXY; only some of them understand a range of addresses.
LOOPBACK = ("localhost", "127.0.0.1", "::1", "0.0.0.0", "127.0.0.0/8")
PROXIES = ("http_proxy", "https_proxy", "all_proxy")


def quiet_defaults(data: Path = DATA) -> None:
    """Set what the user has not set. Child processes inherit it.

    Args:
        data: folder that holds Prefect's home.
    """
    for name in [name for name, value in os.environ.items() if name.startswith(LIBRARIES) and not value.strip()]:
        del os.environ[name]
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    bypass_proxy(*LOOPBACK)
    if "error" in os.environ.setdefault("PYTHONWARNINGS", "ignore"):
        os.environ["PYTHONWARNINGS"] = "default"
        warnings.simplefilter("default")
    home = os.environ.setdefault("PREFECT_HOME", str((data / "prefect").absolute()))
    with contextlib.suppress(OSError):  # Prefect makes no folders above its own; where none can be made it says so
        Path(home).parent.mkdir(parents=True, exist_ok=True)
    for name, level in NOISY.items():
        logging.getLogger(name).setLevel(level)


def proxies() -> dict[str, str]:
    """Return the proxy variables that are set, by name."""
    return {name: value for name, value in os.environ.items() if name.lower() in PROXIES and value}


def bypass_proxy(*hosts: str) -> None:
    """Add hosts to NO_PROXY where a proxy is set.

    Without a proxy NO_PROXY stays unset: on macOS its presence would hide the system's own proxies.
    """
    if not proxies():
        return
    # Clients prefer the lower-case name, but an empty one hides the other from some of them.
    given = ",".join(os.environ.get(name, "") for name in ("no_proxy", "NO_PROXY"))
    listed = dict.fromkeys(host.strip() for host in given.split(",") if host.strip())
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(listed | dict.fromkeys(hosts))
