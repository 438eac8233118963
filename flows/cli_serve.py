"""`taglm serve`: answers HTTP requests with a tagger."""

from __future__ import annotations

import ipaddress
import logging
import math
import signal
import socket
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.logging import RichHandler

from flows.cli_invocation import Model, Sets, console
from taglm_core.config.load import load_experiment
from taglm_core.errors import ConfigError
from tasks.environment import quiet_defaults

if TYPE_CHECKING:
    from taglm.serving.models import CurrentModel
    from taglm_core.config.experiment import Experiment

SHORTEST_TOKEN = 8  # characters


def serve(
    model: Model,
    overrides: Sets = None,
    experiment: Annotated[
        Path | None, typer.Option("--experiment", metavar="FILE", help="experiment of the store and of MLflow")
    ] = None,
    host: Annotated[str, typer.Option(help="address to listen at; other machines need one of this machine's")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0: any free one")] = 8500,
    token: Annotated[
        str | None, typer.Option(envvar="TAGLM_TOKEN", help="what clients must send; required beyond this machine")
    ] = None,
    max_characters: Annotated[int, typer.Option(min=1, help="characters of a request")] = 100_000,
    max_texts: Annotated[int, typer.Option(min=1, help="texts of a request")] = 256,
    max_waiting: Annotated[int, typer.Option(min=1, help="requests that wait for their turn")] = 256,
    timeout: Annotated[float, typer.Option(min=0.1, help="seconds for a request")] = 30.0,
    reload_seconds: Annotated[
        float, typer.Option(min=0, help="seconds between two looks at a registered model's alias; 0: never look")
    ] = 30.0,
    threads: Annotated[int | None, typer.Option(min=1, help="threads that compute; all cores if not given")] = None,
    vectors: Annotated[str | None, typer.Option(help="word vectors, for exports that include none")] = None,
) -> None:
    """Answer HTTP requests with a tagger: POST /tag, and a page at /."""
    _require_safe(host, token)
    listening = _listen(host, port)
    logging.getLogger("taglm").addHandler(RichHandler(console=console, show_path=False))
    logging.getLogger("taglm").setLevel(logging.INFO)
    quiet_defaults()
    import torch
    import uvicorn

    from taglm.serving.application import create_application
    from taglm.serving.messages import Limits

    if threads is not None:
        torch.set_num_threads(threads)
    # torch says once that projected LSTMs leave oneDNN on CPU
    warnings.filterwarnings("ignore", message="LSTM with projections is not supported with oneDNN")
    current = _load(model, load_experiment(experiment, overrides or ()), overrides or (), vectors, reload_seconds)
    limits = Limits(max_characters, max_texts, timeout, max_waiting)
    server = uvicorn.Server(
        uvicorn.Config(
            create_application(current, limits, token),
            log_level="error",
            access_log=False,
            timeout_graceful_shutdown=math.ceil(timeout),
        )
    )

    def end(*_: object) -> None:
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)  # uvicorn raises the signal again after the last answer
    shown = f"[{host}]" if ":" in host else host
    described = " ".join(current.model.to_dict().values())
    console.print(f"{described}\nhttp://{shown}:{listening.getsockname()[1]}", markup=False, soft_wrap=True)
    server.run(sockets=[listening])
    console.print("stopped")


def _require_safe(host: str, token: str | None) -> None:
    """Refuse to listen beyond this machine without a token.

    Raises:
        ConfigError: there is no token, or it is too short.
    """
    if token is not None and (len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable()):
        raise ConfigError(
            f"--token: found {len(token)} characters; expected {SHORTEST_TOKEN} or more printable ASCII characters, "
            "as `openssl rand -hex 16` writes them"
        )
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback and token is None:
        raise ConfigError(
            f"--host {host}: other machines could use this server; give a --token (or set TAGLM_TOKEN), or listen at "
            "127.0.0.1"
        )


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        ConfigError: the port is in use, or the address is none of this machine.
    """
    listening = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # asyncio sets TCP_NODELAY where the protocol is named; without it answers may wait 40 ms for a delayed ACK
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(1024)
    except OSError as error:
        if listening is not None:
            listening.close()
        raise ConfigError(
            f"--host {host} --port {port}: cannot listen there ({error.strerror or error}); choose another --port (0: "
            "any free one) or --host, or stop what listens there"
        ) from error
    return listening


def _load(
    name: str, experiment: Experiment, overrides: list[str] | tuple[str, ...], vectors: str | None, seconds: float
) -> CurrentModel:
    """Load a tagger by any of its names.

    Raises:
        TagLMError: the name stands for no tagger, or it cannot be loaded.
    """
    from taglm.serving.models import CurrentModel, RegisteredModel, ServedModel
    from tasks.models import REGISTERED, open_tagger
    from tasks.tracking.address import resolve_uri

    if name.startswith(REGISTERED):
        source = RegisteredModel(name, resolve_uri(experiment.run.tracking_uri), vectors)
        first = source.load(source.version())
        return CurrentModel(first, source if "@" in name else None, seconds)
    if Path(name).is_dir():
        return CurrentModel(ServedModel.of_folder(name, Path(name), vectors=vectors))
    return CurrentModel(ServedModel(name, open_tagger(name, experiment, overrides, vectors=vectors)))
