"""`taglm promote`: move the alias `champion` by hand."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from taglm_core.config.load import load_experiment
from taglm_core.errors import ConfigError
from taglm_core.store.store import Store
from tasks.environment import quiet_defaults
from tasks.tracking.address import is_there, resolve_uri


def promote(
    model: Annotated[str, typer.Argument(help="registered model, such as taglm-conll2003", show_default=False)],
    version: Annotated[str, typer.Argument(help="version, such as 3", show_default=False)],
    why: Annotated[str, typer.Option("--why", help="reason, recorded with the version", show_default=False)],
    experiment: Annotated[
        Path | None, typer.Option("--experiment", metavar="FILE", help="experiment of the tracking store")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="override a setting, repeatable")
    ] = None,
) -> None:
    """Make a version of a registered model the champion, with the reason on its page in MLflow."""
    run = load_experiment(experiment, overrides or ()).run
    uri = resolve_uri(run.tracking_uri)
    if not is_there(uri):
        raise ConfigError(f"{uri} does not exist yet and has no registered model; run an experiment first")
    quiet_defaults()
    from tasks.tracking.aliases import promote as move_alias

    for line in move_alias(uri, Store(run.store), model, version, why, _user()):
        Console(highlight=False).print(line, markup=False, soft_wrap=True)


def _user() -> str | None:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return None
