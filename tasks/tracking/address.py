"""Where the tracking store is. Says it without importing MLflow."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from taglm_core.errors import ConfigError
from tasks.environment import DATA
from tasks.urls import without_password

SQLITE = "sqlite:///"
VARIABLE = "MLFLOW_TRACKING_URI"
EXPECTED = "a database or an MLflow server, such as sqlite:///data/mlflow.db or http://127.0.0.1:5000"
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_HOST_AND_PORT = re.compile(r"(//)?([\w.-]+|\[[0-9a-fA-F:]+\]):\d+(/.*)?")


def resolve_uri(configured: str | None = None) -> str:
    """Address of the tracking store: as configured, else MLFLOW_TRACKING_URI, else sqlite below `data/`.

    A relative sqlite path is made absolute: MLflow would look for it from wherever a process was started.

    Raises:
        ConfigError: nothing that could be a tracking store, whatever is running there.
    """
    uri = (configured or os.environ.get(VARIABLE) or "").strip() or f"{SQLITE}{DATA / 'mlflow.db'}"
    if (wrong := _wrong(uri)) is not None:
        found, instead = wrong
        setting = "run.tracking_uri" if configured else VARIABLE
        remedy = f"set {setting}={instead}" if instead else f"change {setting}"
        shown = without_password(uri)
        raise ConfigError(f"{setting} is {shown!r}: found {found}; expected {EXPECTED}; {without_password(remedy)}")
    if uri.startswith(SQLITE):
        return f"{SQLITE}{Path(uri.removeprefix(SQLITE)).expanduser().absolute()}"
    return uri


def is_there(uri: str) -> bool:
    """Whether there is something to ask: a database file that nobody has made yet would be made by asking."""
    return not uri.startswith(SQLITE) or Path(uri.removeprefix(SQLITE)).exists()


def _wrong(uri: str) -> tuple[str, str | None] | None:
    """What an address is instead of a tracking store's, and what was probably meant; None for a good one."""
    if uri[0] in "\"'":
        return "an address in quotation marks", uri.strip("\"'")
    word, _, rest = uri.partition(":")
    kind = word.lower().partition("+")[0]
    if kind in ("databricks", "databricks-uc", "uc"):
        return "an address of Databricks, to which TagLM cannot write", None
    if kind == "sqlite" or uri.lower().startswith("sqlite/"):
        return _wrong_file(uri)
    if _HOST_AND_PORT.fullmatch(uri):
        return "a host without http:// before it", f"http://{uri.lstrip('/')}"
    if re.match(r"https?\b", uri, re.IGNORECASE):
        return _wrong_server(uri)
    if kind == "postgres":
        return "the old name of postgresql://", f"postgresql:{rest}"
    if not rest or kind == "file":
        path = uri.partition("?")[0]
        is_file = Path(path).suffix in (".db", ".sqlite", ".sqlite3") and kind != "file"
        return ("a file without sqlite:/// before it", f"{SQLITE}{path}") if is_file else ("a folder", None)
    if kind not in DATABASES:
        return f"an address that begins with {word}:", None
    return (
        None
        if rest.startswith("//")
        else ("an address without // after its first word", f"{word}://{rest.lstrip('/')}")
    )


def _wrong_file(uri: str) -> tuple[str, str | None] | None:
    scheme, colon, path = uri.partition(":")
    if "+" in scheme and path.startswith("///"):
        return None  # a driver named
    if not uri.startswith(SQLITE):
        lead, name = ("/" if colon and re.match(r"/[^/]", path) else ""), re.sub(r"^sqlite\W*", "", uri, flags=re.I)
        return "an sqlite address without three slashes", f"{SQLITE}{lead}{name or DATA / 'mlflow.db'}"
    name = uri.removeprefix(SQLITE).partition("?")[0]
    if name in ("", ":memory:"):
        return "a database in memory, which ends with each process", f"{SQLITE}{DATA / 'mlflow.db'}"
    return None


def _wrong_server(uri: str) -> tuple[str, str | None] | None:
    whole = re.fullmatch(r"(https?)[:/\s]*(.*)", uri, re.IGNORECASE)
    scheme, rest = (whole[1].lower(), whole[2]) if whole else ("http", "")
    if not re.match(r"https?://[^/?#]", uri, re.IGNORECASE):
        return "an incomplete address of a server", f"{scheme}://{rest}" if rest else None
    try:
        parts = urlsplit(uri)
        is_host = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        is_host = False
    if not is_host:
        return "an address whose host or port cannot be read", None
    if parts.fragment or parts.query:
        return "the address of a page", f"{scheme}://{parts.netloc}{parts.path.rstrip('/')}"
    return None
