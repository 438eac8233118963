"""What both libraries need of the machine: a folder for temporary files, proxies and certificates that can be used."""

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
    """Yield what no run can work with."""
    try:
        fault = folder_fault("temporary files", Path(tempfile.gettempdir()), "set TMPDIR to a folder with free space")
    except FileNotFoundError:  # not even the present folder
        fault = Fault("temporary files", "no folder can be written to", "set TMPDIR to a folder with free space")
    if fault is not None:
        yield fault
    yield from _client_faults()


def _client_faults() -> Iterator[Fault]:
    """Ask httpx, by which Prefect asks its server: it reads proxies and certificates before it knows any address."""
    import httpx

    for name in CERTIFICATES:
        if (value := os.environ.get(name)) and not Path(value).exists():
            yield Fault("certificates", f"{name} is {value}, and nothing is there", f"unset {name}, or correct it")
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
