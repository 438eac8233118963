"""Faults of Prefect: its settings, the configured server, or what the own server of a run requires.

Prefect's settings come from the environment, `.env`, `prefect.toml`, `pyproject.toml` and a profile. Reading them takes
two seconds, so that `plan` and `status` do not. Prefect's server is not imported, because wrong versions break that.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import warnings
from collections.abc import Iterator
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path
from ssl import SSLError
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import yaml
from pydantic import SecretStr, ValidationError
from pydantic_settings.exceptions import SettingsError

from taglm_core.errors import ConfigError
from tasks.environment import bypass_proxy, proxies, quiet_defaults
from tasks.http import ASK_SECONDS, PREFECT_HEALTHY, causes, may_pass, reason, tls_reason
from tasks.preflight.fault import Fault, folder_fault, refused, sqlite_fault
from tasks.urls import without_password

if TYPE_CHECKING:
    import httpx
    from prefect.settings import Settings

VARIABLE = "PREFECT_API_URL"
DATABASE = "PREFECT_SERVER_DATABASE_CONNECTION_URL"
DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}
SHOW = "`.venv/bin/prefect config view --show-sources` shows which file sets it"
OWN_SERVER = "every run then starts its own server"
OWN = f"`make up` starts a server on this machine; or unset PREFECT_API_URL: {OWN_SERVER}"
TLS = (
    "set PREFECT_API_SSL_CERT_FILE to the CA certificate of the server (or PREFECT_API_TLS_INSECURE_SKIP_VERIFY=true "
    "to skip the check); a server without TLS has an address with http://"
)
MAJOR = "3"


def prefect_settings() -> Settings:
    """Return Prefect's settings; copy a server address from a file into the environment, where links read it.

    Raises:
        ConfigError: Prefect cannot read them; the message names the variable.
    """
    quiet_defaults()
    try:
        # Prefect also prints errors on stderr; they are reported below
        with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("always")
            from prefect.settings import Settings

            settings = Settings()
    except ValidationError as error:
        raise ConfigError("; ".join(_wrong_values(error))) from error
    except (SettingsError, OSError, ValueError) as error:
        raise ConfigError(f"Prefect cannot read its settings ({error}); correct or remove the setting") from error
    if unread := [str(one.message) for one in caught if "Failed to load profiles" in str(one.message)]:
        raise ConfigError(f"Prefect's profiles cannot be read ({unread[0]}); correct the file, or remove it")
    if settings.api.url and settings.api.url.strip():
        os.environ[VARIABLE] = settings.api.url.strip()
    return settings


def prefect_faults() -> list[Fault]:
    """Return the faults that keep a run from using Prefect."""
    from_file = not os.environ.get(VARIABLE)
    try:
        settings = prefect_settings()
    except ConfigError as error:
        return [refused("Prefect", error)]
    if (fault := _logging_fault(settings)) is not None:
        return [fault]
    url = settings.api.url
    if url is None:
        return list(_own_server_faults(settings))
    if not url.strip():
        return [
            Fault("Prefect", f"{VARIABLE} is empty in one of Prefect's files; expected an address", f"{SHOW}; {OWN}")
        ]
    if (fault := _server_fault(settings, url.strip().rstrip("/"))) is None:
        return []
    return [Fault(fault.what, fault.found, f"{fault.remedy}; {SHOW}" if from_file else fault.remedy)]


def _logging_fault(settings: Settings) -> Fault | None:
    """Return the fault of Prefect's logging file, which Prefect reads only when the first flow starts."""
    path = settings.logging.config_path
    if path is None or not path.exists():
        return None
    try:
        yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, OSError, ValueError) as error:
        text = " ".join(str(error).split())
        remedy = "correct the file, or remove it (PREFECT_LOGGING_SETTINGS_PATH names another one)"
        return Fault("Prefect", f"its logging settings {path} cannot be read ({text})", remedy)
    return None


def _wrong_values(error: ValidationError) -> Iterator[str]:
    """Yield a line with the variable of each value that Prefect refuses."""
    for one in error.errors(include_url=False):
        if one["type"] == "default_factory_not_called":  # a consequence of another error
            continue
        message = one["msg"].removeprefix("Value error, ")
        if not one["loc"]:  # about several settings together
            yield f"Prefect cannot use its settings ({message}); {SHOW}"
            continue
        field, value = str(one["loc"][-1]).upper(), str(one["input"])
        names = [name for name, text in os.environ.items() if name.startswith("PREFECT_") and text == value]
        ours = [name for name in names if name.endswith(field)] or names
        name = ours[0] if ours else f"Prefect's setting {field.lower()} of {error.title}"
        yield f"{name} is {value!r}: {message[:1].lower()}{message[1:]}; " + (
            f"correct or unset {name}" if ours else SHOW
        )


def _own_server_faults(settings: Settings) -> Iterator[Fault]:
    """Yield the faults of what the own server of a run requires: permission, a folder, a database."""
    if not settings.server.ephemeral.enabled:
        remedy = "set it to true, or set PREFECT_API_URL to a server that is running (`make up` starts one)"
        yield Fault("Prefect", "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE is false, so a run cannot start a server", remedy)
    fault = folder_fault("Prefect", settings.home, "set PREFECT_HOME to a writable folder")
    if fault is not None:
        yield fault
        return
    yield from _database_faults(settings.server.database.connection_url)


def _database_faults(connection_url: SecretStr | None) -> Iterator[Fault]:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    address = connection_url.get_secret_value() if connection_url is not None else ""
    try:
        url = make_url(address)
    except (ArgumentError, ValueError):
        remedy = f"set {DATABASE}=sqlite+aiosqlite:////folder/prefect.db, or unset it"
        yield Fault(
            "Prefect", f"{DATABASE} is {without_password(address)!r}; expected an address of a database", remedy
        )
        return
    if url.drivername not in DRIVERS.values():
        wanted = DRIVERS.get(url.drivername.partition("+")[0])
        remedy = f"set {DATABASE}={wanted}://..., or unset it" if wanted else f"unset {DATABASE}"
        expected = " or ".join(dict.fromkeys(f"{driver}://" for driver in DRIVERS.values()))
        yield Fault("Prefect", f"{DATABASE} begins with {url.drivername}://; expected {expected}", remedy)
    elif url.get_backend_name() == "sqlite" and url.database and not url.database.startswith(("file:", ":memory:")):
        remedy = f"set {DATABASE} to another file"
        if (fault := sqlite_fault("Prefect", Path(url.database), remedy)) is not None:
            yield fault


def _server_fault(settings: Settings, url: str) -> Fault | None:
    """Return the fault of a configured server: no answer, not Prefect, another version, or no access."""
    import httpx

    shown = without_password(url)
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    is_http = url.lower().startswith(("http://", "https://"))
    if not is_http or not host:
        whole = shown.rpartition("://")[2]
        wanted = f"{VARIABLE}=http://{whole if '/' in whole else f'{whole}/api'}"
        remedy = "correct its host and port" if is_http else f"set {wanted}"
        expected = "expected an address such as http://127.0.0.1:4200/api"
        return Fault("Prefect", f"{VARIABLE} is {shown!r}; {expected}", f"{remedy}, or unset it: {OWN_SERVER}")
    _reach_directly(host)
    try:
        with _client(settings) as client:
            health = client.get(f"{url}/health")
            if (fault := _refusal(url, health, settings)) is not None:
                return fault
            return _version_fault(shown, client.get(f"{url}/admin/version"))
    except (httpx.HTTPError, httpx.InvalidURL, ImportError, OSError, ValueError) as error:
        if any(isinstance(one, SSLError) for one in causes(error)):
            return Fault("Prefect", f"{VARIABLE} is {shown}, and TLS fails there ({tls_reason(error)})", TLS)
        via = f" through {', '.join(proxies())}" if proxies() and not _is_loopback(host) else ""
        return Fault("Prefect", f"{VARIABLE} is {shown}, and nobody answers there{via} ({reason(error)})", OWN)


def _client(settings: Settings) -> httpx.Client:
    """Return a client with the key or password and the certificates of Prefect's own client."""
    import ssl

    import httpx

    headers = {}
    if settings.api.auth_string is not None:
        login = base64.b64encode(settings.api.auth_string.get_secret_value().encode()).decode()
        headers["Authorization"] = f"Basic {login}"
    elif settings.api.key is not None:
        headers["Authorization"] = f"Bearer {settings.api.key.get_secret_value()}"
    verify: ssl.SSLContext | bool = not settings.api.tls_insecure_skip_verify
    if verify and settings.api.ssl_cert_file:
        verify = ssl.create_default_context(cafile=settings.api.ssl_cert_file)
    return httpx.Client(headers=headers, verify=verify, timeout=ASK_SECONDS)


def _refusal(url: str, answer: httpx.Response, settings: Settings) -> Fault | None:
    shown, status = without_password(url), answer.status_code
    if may_pass(status):
        return Fault(
            "Prefect", f"{VARIABLE} is {shown}, which answers HTTP {status}", "see the log of that server; " + OWN
        )
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return _access_denied(shown, status)
    is_cloud = url.startswith(settings.cloud.api_url)
    if status == HTTPStatus.OK and (is_cloud or answer.content.strip() == PREFECT_HEALTHY):
        return None
    answered = f"HTTP {status}" if status != HTTPStatus.OK else "another program"
    wanted = (
        ""
        if urlsplit(url).path.rstrip("/").endswith("/api")
        else f"an address of Prefect's API ends with /api: set {VARIABLE}={shown}/api; "
    )
    return Fault("Prefect", f"{VARIABLE} is {shown}; {answered} answers there, not Prefect's API", f"{wanted}{OWN}")


def _access_denied(shown: str, status: int) -> Fault:
    remedy = "set PREFECT_API_AUTH_STRING=user:password (a server of your own) or PREFECT_API_KEY (Prefect Cloud)"
    return Fault("Prefect", f"{VARIABLE} is {shown}, which denies access (HTTP {status})", remedy)


def _version_fault(shown: str, answer: httpx.Response) -> Fault | None:
    if answer.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return _access_denied(shown, answer.status_code)
    try:
        version = json.loads(answer.content)
    except ValueError:  # Prefect Cloud has no such endpoint
        return None
    if not isinstance(version, str) or version.partition(".")[0] == MAJOR:
        return None
    remedy = f"expected version {MAJOR}: choose another server; {OWN}"
    return Fault("Prefect", f"{VARIABLE} is {shown}, a server of Prefect {version}", remedy)


def _is_loopback(host: str | None) -> bool:
    try:
        return host == "localhost" or (host is not None and ip_address(host).is_loopback)
    except ValueError:
        return False


def _reach_directly(host: str | None) -> None:
    """Bypass proxies for an address of this machine; a user's NO_PROXY may lack it."""
    if host is not None and _is_loopback(host):
        bypass_proxy(host)
