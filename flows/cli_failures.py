"""Failures of the command line: one message, an exit status, and a trace for bugs."""

from __future__ import annotations

import contextlib
import os
import platform
import shlex
import sys
import tempfile
import traceback
from importlib.metadata import requires, version
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement
from rich.console import Console

from taglm_core.errors import ConfigError, Interrupted, MissingLibrary, TagLMError
from taglm_core.store.system_errors import system_error

FAILED, BAD_ROWS, STOPPED = 1, 3, 75
EXTRAS = ("pipeline", "serve", "spacy", "dev")
EXIT_STATUSES = (
    "Exit status: 0 done; 1 an error, reported in one message; 2 an invalid command line; 3 done, but some rows of "
    "`predict` could not be read; 75 stopped on request, the same command goes on; 130 Ctrl-C."
)


def open_closed_streams() -> None:
    """Open closed standard streams (`taglm status >&-`) on /dev/null, or files of the store get their numbers."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number


def require_folder() -> None:
    """Refuse a current folder that is gone, because relative paths begin there.

    Raises:
        ConfigError: the folder was removed or is not accessible.
    """
    try:
        Path.cwd()
    except OSError as error:
        raise ConfigError(
            f"the current folder cannot be used ({error.strerror}); change to a folder that exists, and run again"
        ) from error


def report(error: Exception, *, debug: bool) -> int:
    """Print an error on standard error and return the exit status.

    Args:
        error: error that ended the command.
        debug: whether to print its trace too.
    """
    console = Console(highlight=False, emoji=False, stderr=True)
    if debug:
        traceback.print_exception(error)
    if isinstance(error, OSError) and error.filename is None and _output_failed():
        problem = "the output cannot be written; free some space on its disk, or redirect it"
        console.print(f"[bold red]error[/]: {problem}", soft_wrap=True)
        return FAILED
    known = error if isinstance(error, TagLMError) else None
    known = known or _of_an_extra(error) or _of_the_system(error) or _of_a_server(error)
    if known is not None:
        console.print(f"[bold red]{type(known).__name__}[/]: ", end="")
        console.print(str(known), markup=False, soft_wrap=True)
        return STOPPED if isinstance(known, Interrupted) else FAILED
    console.print("[bold red]unexpected error[/]: ", end="")
    console.print(f"{_one_line(error)}; {_remedy(error)}", markup=False, soft_wrap=True)
    return FAILED


def _output_failed() -> bool:
    """Return whether standard output fails; then redirect it to /dev/null, so that Python exits silently."""
    try:
        if sys.stdout is not None:
            sys.stdout.write("\n")
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return True
    return False


def _of_an_extra(error: Exception) -> TagLMError | None:
    """Return the error for a library of an optional extra that is not installed."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return None
    library = error.name.partition(".")[0]
    extra = "pipeline" if find_spec("prefect") is None else None  # also for libraries that come with it
    for requirement in map(Requirement, requires("taglm") or ()):
        marker = requirement.marker
        if requirement.name.lower() == library and marker and not marker.evaluate({"extra": ""}):
            extra = next(one for one in EXTRAS if marker.evaluate({"extra": one}))
    if extra is None:
        return None
    return MissingLibrary(f'this command needs {library}; install it with `pip install "taglm[{extra}]"`')


def _of_the_system(error: Exception) -> TagLMError | None:
    return system_error(error) if isinstance(error, OSError | MemoryError) else None


def _of_a_server(error: Exception) -> TagLMError | None:
    """Return the error for a server that went away; httpx raised nothing if it is not loaded."""
    httpx = sys.modules.get("httpx")
    if httpx is None or not isinstance(error, httpx.TransportError):
        return None
    return TagLMError(
        f"Prefect's server does not answer ({_one_line(error)}); run the same command again to go on. "
        "`taglm doctor` lists the configured servers"
    )


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}{'…' if len(text) > 300 else ''}" if text else type(error).__name__


def _remedy(error: Exception) -> str:
    path = _keep_trace(error)
    if path is None:
        return "this is a bug in taglm; run the command again with --debug, and report its output"
    return (
        f"this is a bug in taglm; please report it with {path}, which holds the trace (check it first: it contains "
        "names of your files). --debug prints the trace here"
    )


def _keep_trace(error: Exception) -> Path | None:
    """Write trace, command and versions to a file and return its path; None if no file can be written."""
    text = (
        f"command: {shlex.join(['taglm', *sys.argv[1:]])}\n"
        f"taglm {version('taglm')}, Python {platform.python_version()}, {platform.platform()}\n\n"
        + "".join(traceback.format_exception(error))
    )
    with contextlib.suppress(OSError):
        with tempfile.NamedTemporaryFile(
            "w", prefix="taglm-error-", suffix=".txt", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as file:
            file.write(text)
        return Path(file.name)
    return None
