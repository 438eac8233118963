"""Whether Prefect can be used: its settings as Prefect reads them, the server they name, or one of the run's own.

Prefect's settings come from the environment, `.env`, `prefect.toml`, `pyproject.toml` and a profile. Reading them takes
two seconds, so `plan` and `status` do not. Prefect's server part is not imported: with the wrong versions it cannot be.
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
    "set PREFECT_API_SSL_CERT_FILE to the file of the certificate that signed the server's (or "
    "PREFECT_API_TLS_INSECURE_SKIP_VERIFY=true, without any check); a server without TLS has an address with http://"
)
MAJOR = "3"


def prefect_settings() -> Settings:
    """Return Prefect's settings. An address of a server found in a file goes into the environment, for links.

    Raises:
        ConfigError: Prefect cannot read them; it names the variable.
    """
    quiet_defaults()
    try:
        # what cannot be read is said below, once; Prefect says it on stderr as well
        with warnings.catch_warnings(record=True) as said, contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("always")
            from prefect.settings import Settings

            settings = Settings()
    except ValidationError as error:
        raise ConfigError("; ".join(_wrong_values(error))) from error
    except (SettingsError, OSError, ValueError) as error:
        raise ConfigError(
            f"Prefect cannot read its settings ({error}); correct what this names, or remove it"
        ) from error
    if unread := [str(one.message) for one in said if "Failed to load profiles" in str(one.message)]:
        raise ConfigError(f"Prefect's profiles cannot be read ({unread[0]}); correct the file, or remove it")
    if settings.api.url and settings.api.url.strip():
        os.environ[VARIABLE] = settings.api.url.strip()
    return settings


def prefect_faults() -> list[Fault]:
    """Return what keeps a run from using Prefect."""
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
    """Prefect reads its logging file when the first flow starts."""
    path = settings.logging.config_path
    if path is None or not path.exists():
        return None
    try:
        yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, OSError, ValueError) as error:
        said = " ".join(str(error).split())
        remedy = "correct the file, or remove it (PREFECT_LOGGING_SETTINGS_PATH names another one)"
        return Fault("Prefect", f"its logging settings {path} cannot be read ({said})", remedy)
    return None


def _wrong_values(error: ValidationError) -> Iterator[str]:
    """Name the variable of each value that Prefect does not take."""
    for one in error.errors(include_url=False):
        if one["type"] == "default_factory_not_called":  # a consequence of another one
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
    """What the server of a run needs: a folder, a database, permission."""
    if not settings.server.ephemeral.enabled:
        remedy = "set it to true, or set PREFECT_API_URL to a server that is running (`make up` starts one)"
        yield Fault("Prefect", "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE is false, so a run cannot start a server", remedy)
    fault = folder_fault("Prefect", settings.home, "set PREFECT_HOME to a folder that can be written to")
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
    """Whether a server is there, is Prefect's, of this version, and lets us in."""
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
    """As Prefect's own client asks: with its key or password, and its idea of certificates."""
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
            "Prefect", f"{VARIABLE} is {shown}, which answers HTTP {status}", "look at that server's log; " + OWN
        )
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return _no_entry(shown, status)
    is_cloud = url.startswith(settings.cloud.api_url)
    if status == HTTPStatus.OK and (is_cloud or answer.content.strip() == PREFECT_HEALTHY):
        return None
    said = f"HTTP {status}" if status != HTTPStatus.OK else "something else than Prefect"
    wanted = (
        ""
        if urlsplit(url).path.rstrip("/").endswith("/api")
        else f"an address of Prefect's API ends with /api: set {VARIABLE}={shown}/api; "
    )
    return Fault("Prefect", f"{VARIABLE} is {shown}; {said} answers there, not Prefect's API", f"{wanted}{OWN}")


def _no_entry(shown: str, status: int) -> Fault:
    remedy = "set PREFECT_API_AUTH_STRING=user:password (a server of your own) or PREFECT_API_KEY (Prefect Cloud)"
    return Fault("Prefect", f"{VARIABLE} is {shown}, which does not let us in (HTTP {status})", remedy)


def _version_fault(shown: str, answer: httpx.Response) -> Fault | None:
    if answer.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return _no_entry(shown, answer.status_code)
    try:
        version = json.loads(answer.content)
    except ValueError:  # Prefect Cloud has no such page
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
    """A proxy cannot reach this machine's own addresses, and lists of exceptions know some of them only."""
    if host is not None and _is_loopback(host):
        bypass_proxy(host)
