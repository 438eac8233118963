"""Faults of MLflow: its variables, the address, the database or server there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from socket import EAI_NONAME, gaierror

from taglm_core.config.experiment import RunConfig
from taglm_core.errors import ConfigError
from tasks.environment import quiet_defaults
from tasks.http import ASK_SECONDS, causes, may_pass, reason, speaks_no_http, tls_reason
from tasks.preflight.fault import Fault, refused, sqlite_fault
from tasks.tracking.address import SQLITE, resolve_uri
from tasks.urls import is_server, without_password

CERTIFICATES = (
    "MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_TRACKING_CLIENT_CERT_PATH", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"
)  # fmt: skip
POOL_CLASS = "MLFLOW_SQLALCHEMYSTORE_POOLCLASS"
SEARCH = "/api/2.0/mlflow/experiments/search"
LATER = "start it, or set run.tracking_uri; work goes on, and results are sent when it is back"
TLS = (
    "set MLFLOW_TRACKING_SERVER_CERT_PATH to the CA certificate of the server (or MLFLOW_TRACKING_INSECURE_TLS=true to "
    "skip the check); a server without TLS has an address with http://"
)
OTHER = "set another run.tracking_uri, or run.tracking=false to run without MLflow"


def tracking_faults(run: RunConfig) -> list[Fault]:
    """Return the faults that keep a run from reporting to MLflow."""
    if not run.tracking:
        return []
    quiet_defaults()
    try:
        uri = resolve_uri(run.tracking_uri)
    except ConfigError as error:
        return [refused("MLflow", error)]
    if faults := list(_setting_faults()):
        return faults
    if uri.startswith(SQLITE):
        fault = sqlite_fault("MLflow", Path(uri.removeprefix(SQLITE)), OTHER)
    else:
        fault = _server_fault(uri) if is_server(uri) else _driver_fault(uri)
    return [fault] if fault is not None else []


def require_mlflow_settings() -> None:
    """Refuse invalid MLflow variables before a command that uses MLflow without a run.

    Raises:
        ConfigError: MLflow cannot read a variable.
    """
    quiet_defaults()
    if faults := list(_setting_faults()):
        raise ConfigError("\n".join(map(str, faults)))


def _setting_faults() -> Iterator[Fault]:
    """Yield variables that MLflow cannot read; it would notice some only in the middle of a run."""
    try:
        from mlflow import environment_variables
    except ValueError as error:
        yield _unreadable(error)
        return
    known = [one for one in vars(environment_variables).values() if hasattr(one, "get") and hasattr(one, "name")]
    for variable in known:
        if variable.name in os.environ:
            try:
                variable.get()
            except ValueError as error:
                yield _unreadable(error)
    yield from _value_faults()


def _value_faults() -> Iterator[Fault]:
    """Yield values that MLflow accepts, but that fail whenever it opens a store."""
    import sqlalchemy.pool

    for name in CERTIFICATES:
        if (value := os.environ.get(name)) and not Path(value).exists():
            yield Fault("MLflow", f"{name} is {value}, which does not exist", f"correct or unset {name}")
    value = os.environ.get(POOL_CLASS, "")
    if value and not hasattr(sqlalchemy.pool, value):
        yield Fault("MLflow", f"{POOL_CLASS} is {value!r}; expected a pool of SQLAlchemy", f"unset {POOL_CLASS}")


def _unreadable(error: ValueError) -> Fault:
    """Return the fault of a variable; MLflow's message has its value and mostly its name."""
    text = str(error)
    given = {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_") and value}
    named = [name for name in given if name in text] or [name for name, value in given.items() if value in text]
    names = ", ".join(named[:1]) or "one of the MLFLOW_ variables"
    value = f" is {given[named[0]]!r}" if named else ""
    return Fault("MLflow", f"{names}{value}, which MLflow cannot read ({text})", f"correct or unset {names}")


def _driver_fault(uri: str) -> Fault | None:
    """Return the fault of a missing driver of SQLAlchemy; do not connect to the database."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    shown = without_password(uri)
    try:
        make_url(uri).get_dialect().import_dbapi()
    except ImportError as error:
        wanted = {"psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}.get(error.name or "", error.name)
        remedy = f"`.venv/bin/uv pip install --python .venv/bin/python {wanted}`, or {OTHER}"
        return Fault("MLflow", f"{shown} needs the Python package {error.name}, which is not installed", remedy)
    except NoSuchModuleError:
        driver = uri.partition(":")[0]
        return Fault("MLflow", f"{shown}: SQLAlchemy has no driver {driver}", f"write {driver.partition('+')[0]}://")
    except (ArgumentError, ValueError) as error:
        return Fault("MLflow", f"{shown} is not an address of a database ({error})", OTHER)
    return None


def _server_fault(uri: str) -> Fault | None:
    """Return the fault of a server, from a cheap request with the user's credentials; `/health` ignores them."""
    from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_TIMEOUT
    from mlflow.exceptions import MlflowException
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    shown = without_password(uri)
    try:
        answer = http_request(
            get_default_host_creds(uri.rstrip("/")), SEARCH, "POST",
            json={"max_results": 1}, timeout=min(ASK_SECONDS, MLFLOW_HTTP_REQUEST_TIMEOUT.get()), raise_on_status=False,
        )  # fmt: skip
    except (MlflowException, OSError, ValueError) as error:
        return _no_answer(shown, error)
    status = answer.status_code
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        remedy = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD (or MLFLOW_TRACKING_TOKEN)"
        return Fault("MLflow", f"{shown} denies access (HTTP {status})", remedy)
    if may_pass(status):
        return Fault("MLflow", f"{shown} answers HTTP {status}", LATER, passing=True)
    if status != HTTPStatus.OK or not _is_mlflow(answer.text):
        answered = f"HTTP {status}" if status != HTTPStatus.OK else "another program"
        return Fault(
            "MLflow", f"{shown}: {answered} answers there, not MLflow's API", f"correct the address, or {OTHER}"
        )
    return None


def _no_answer(shown: str, error: Exception) -> Fault:
    import requests

    layers = list(causes(error))
    unknown_host = any(isinstance(one, gaierror) and one.errno == EAI_NONAME for one in layers)
    if any(isinstance(one, requests.exceptions.SSLError) for one in layers):
        return Fault("MLflow", f"{shown}: TLS fails there ({tls_reason(error)})", TLS)
    lasting = (
        requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.exceptions.TooManyRedirects
    )  # fmt: skip
    if (
        unknown_host
        or speaks_no_http(error)
        or any(isinstance(one, lasting) for one in layers)
        or not any(isinstance(one, OSError) for one in layers)
    ):
        return Fault("MLflow", f"{shown} cannot be reached ({reason(error)})", f"correct the address, or {OTHER}")
    return Fault("MLflow", f"{shown} does not answer ({reason(error)})", LATER, passing=True)


def _is_mlflow(text: str) -> bool:
    """Return whether an answer to a search for experiments is MLflow's; without experiments it is `{}`."""
    try:
        answer = json.loads(text)
    except ValueError:
        return False
    return isinstance(answer, dict) and answer.keys() <= {"experiments", "next_page_token"}
