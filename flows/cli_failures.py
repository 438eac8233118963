"""How the command line ends when something went wrong: one message, an exit status, and the trace where it helps."""

from __future__ import annotations

import contextlib
import os
import platform
import shlex
import sys
import tempfile
import traceback
from importlib.metadata import version
from pathlib import Path

from rich.console import Console

from taglm_core.errors import ConfigError, Interrupted, TagLMError
from taglm_core.store.system_errors import system_error

FAILED, STOPPED = 1, 75
EXIT_STATUSES = (
    "Exit status: 0 done; 1 an error, said in one message; 2 a command line that cannot be understood; 75 stopped on "
    "request, the same command goes on; 130 Ctrl-C."
)


def open_closed_streams() -> None:
    """Lead closed standard streams (`taglm status >&-`) nowhere: else a file of the store gets their number."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free


def require_folder() -> None:
    """Refuse to work in a folder that is gone: relative paths begin there.

    Raises:
        ConfigError: the folder was removed, or may not be looked at.
    """
    try:
        Path.cwd()
    except OSError as error:
        raise ConfigError(
            f"the current folder cannot be used ({error.strerror}); change to a folder that exists, and run again"
        ) from error


def report(error: Exception, *, debug: bool) -> int:
    """Say on standard error what went wrong, and give the exit status.

    Args:
        error: what ended the command.
        debug: whether its trace is shown, too.
    """
    console = Console(highlight=False, emoji=False, stderr=True)
    if debug:
        traceback.print_exception(error)
    if isinstance(error, OSError) and error.filename is None and _output_failed():
        said = "the output cannot be written; make room where it goes, or send it elsewhere"
        console.print(f"[bold red]error[/]: {said}", soft_wrap=True)
        return FAILED
    known = error if isinstance(error, TagLMError) else _of_the_system(error) or _of_a_server(error)
    if known is not None:
        console.print(f"[bold red]{type(known).__name__}[/]: ", end="")
        console.print(str(known), markup=False, soft_wrap=True)
        return STOPPED if isinstance(known, Interrupted) else FAILED
    console.print("[bold red]unexpected error[/]: ", end="")
    console.print(f"{_one_line(error)}; {_what_to_do(error)}", markup=False, soft_wrap=True)
    return FAILED


def _output_failed() -> bool:
    """Whether standard output takes no more; it leads nowhere from then on, so that Python's end is silent about it."""
    try:
        if sys.stdout is not None:
            sys.stdout.write("\n")
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return True
    return False


def _of_the_system(error: Exception) -> TagLMError | None:
    return system_error(error) if isinstance(error, OSError | MemoryError) else None


def _of_a_server(error: Exception) -> TagLMError | None:
    """A server that went away while it was used. What was not loaded has raised nothing."""
    httpx = sys.modules.get("httpx")
    if httpx is None or not isinstance(error, httpx.TransportError):
        return None
    return TagLMError(
        f"Prefect's server does not answer ({_one_line(error)}); run the same command again: it goes on with what is "
        "finished. `taglm doctor` says which servers are configured"
    )


def _one_line(error: Exception) -> str:
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said[:300]}{'…' if len(said) > 300 else ''}" if said else type(error).__name__


def _what_to_do(error: Exception) -> str:
    place = _keep_trace(error)
    if place is None:
        return "this is a fault of taglm; run the command again with --debug, and report what it prints"
    return (
        f"this is a fault of taglm; where it happened stands in {place}; please report it with that file (look through "
        "it first: it holds names of your files). --debug shows it here"
    )


def _keep_trace(error: Exception) -> Path | None:
    """A file with the trace, the command and the versions; None where none can be written."""
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
