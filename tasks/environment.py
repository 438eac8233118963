"""Environment defaults of Prefect and MLflow: no telemetry, little logging, all files below `data/`.

Both libraries read most variables on import, so that `quiet_defaults` must run before the first import of either. The
user's values win, with three exceptions: an empty variable counts as unset, servers on this machine are never reached
through a proxy, and warnings of libraries are never errors.
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
    # Prefect's default profile allows it, a user's profile may not.
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    # The UI shows log lines with their runs; lines outside of a run cause no warning.
    "PREFECT_LOGGING_EXTRA_LOGGERS": "taglm",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    # Seconds. The automation of `make up` crashes runs without heartbeats (ops/automations.yaml); Prefect's own 180 is
    # too long for it.
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # An unreachable tracking server must not delay the work; MLflow would try 8 times, up to 2 minutes each.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    # A pooled connection to an SQLite file that disappeared never sees the file that comes back.
    "MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool",
}
# urllib3 logs every attempt to reach an unreachable server; we report the failure once.
NOISY = {"mlflow": logging.WARNING, "alembic": logging.WARNING, "urllib3.connectionpool": logging.ERROR}
LIBRARIES = ("PREFECT_", "MLFLOW_")
# httpx, requests, urllib and websockets all read NO_PROXY; only some of them support address ranges.
LOOPBACK = ("localhost", "127.0.0.1", "::1", "0.0.0.0", "127.0.0.0/8")
PROXIES = ("http_proxy", "https_proxy", "all_proxy")


def quiet_defaults(data: Path = DATA) -> None:
    """Set the variables that the user has not set. Child processes inherit them.

    Args:
        data: folder of Prefect's home.
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
    with contextlib.suppress(OSError):  # Prefect does not create parents of its home
        Path(home).parent.mkdir(parents=True, exist_ok=True)
    for name, level in NOISY.items():
        logging.getLogger(name).setLevel(level)


def proxies() -> dict[str, str]:
    """Return the proxy variables that are set, by name."""
    return {name: value for name, value in os.environ.items() if name.lower() in PROXIES and value}


def bypass_proxy(*hosts: str) -> None:
    """Add hosts to NO_PROXY if a proxy is set.

    Without a proxy NO_PROXY stays unset, because on macOS it would hide the proxies of the system.
    """
    if not proxies():
        return
    # Clients prefer the lower-case name; for some of them an empty one hides the other.
    given = ",".join(os.environ.get(name, "") for name in ("no_proxy", "NO_PROXY"))
    listed = dict.fromkeys(host.strip() for host in given.split(",") if host.strip())
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(listed | dict.fromkeys(hosts))
