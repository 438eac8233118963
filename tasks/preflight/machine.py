"""Faults of the machine that affect both libraries: temporary files, proxies, certificates."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tasks.environment import proxies
from tasks.preflight.fault import Fault, folder_fault
from tasks.urls import without_password

CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


def machine_faults() -> Iterator[Fault]:
    """Yield the faults of the machine that keep every run from working."""
    try:
        fault = folder_fault("temporary files", Path(tempfile.gettempdir()), "set TMPDIR to a folder with free space")
    except FileNotFoundError:  # not even the current folder
        fault = Fault("temporary files", "no folder is writable", "set TMPDIR to a folder with free space")
    if fault is not None:
        yield fault
    yield from _client_faults()


def _client_faults() -> Iterator[Fault]:
    """Yield the faults that httpx, the client of Prefect, finds in proxies and certificates when it starts."""
    import httpx

    for name in CERTIFICATES:
        if (value := os.environ.get(name)) and not Path(value).exists():
            yield Fault("certificates", f"{name} is {value}, which does not exist", f"unset {name}, or correct it")
            return
    try:
        httpx.Client().close()
    except (ImportError, OSError, ValueError, httpx.InvalidURL) as error:
        given = proxies()
        shown = ", ".join(f"{name}={without_password(value)}" for name, value in given.items())
        if given:
            yield Fault(
                "proxy", f"{shown} cannot be used ({error})", f"unset {', '.join(given)}, or correct the address"
            )
        else:
            yield Fault("certificates", f"cannot be read ({error})", f"correct or unset {', '.join(CERTIFICATES)}")
