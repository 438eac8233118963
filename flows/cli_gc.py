"""`taglm gc`: what nobody needs any more is shown, and removed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from flows import cli_views
from flows.cli_given import Sets, console, load
from taglm_core.config.load import load_experiment
from taglm_core.errors import ConfigError
from taglm_core.gc.collect import GRACE_SECONDS, mark, sweep
from taglm_core.store.store import Store
from tasks.housekeeping import end_orphans, needs_of, spare_unreported


def gc(
    experiments: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[EXPERIMENT...]", help="keep what these use, and nothing else", show_default=False),
    ] = None,
    overrides: Sets = None,
    yes: Annotated[bool, typer.Option("--yes", help="remove without asking")] = False,
    grace: Annotated[float, typer.Option(min=0, metavar="MINUTES", help="keep what is younger")] = GRACE_SECONDS / 60,
    no_aliases: Annotated[bool, typer.Option("--no-aliases", help="do not ask MLflow which taggers it names")] = False,
) -> None:
    """Show what nobody needs (no key, no alias, no running job) and remove it. Without experiments every key counts."""
    loaded = [load(path, overrides).experiment for path in experiments or ()]
    run = (loaded[0] if loaded else load_experiment(None, overrides or ())).run
    if len({each.run.store.absolute() for each in loaded}) > 1:
        raise ConfigError("the experiments have several stores; give those of one store, or --set run.store=...")
    store = Store(run.store)
    found = mark(store, needs_of(run, loaded, aliases=not no_aliases), grace=grace * 60)
    if no_aliases:
        found = spare_unreported(run, found)
    for part in cli_views.marked_parts(store, found):
        console.print(part)
    if not found.garbage or not (yes or _agreed()):
        return
    if not no_aliases:
        end_orphans(run)
        found = spare_unreported(run, found)
    needs = needs_of(run, loaded, aliases=not no_aliases)  # asking may have taken a while
    console.print(cli_views.swept_summary(sweep(store, found, needs, grace=grace * 60)), markup=False)


def _agreed() -> bool:
    """Whether a person says so; nobody to ask means no."""
    if sys.stdin.isatty():
        return typer.confirm("remove all this?")
    console.print("nothing was removed: no terminal to ask at; the same command with --yes removes it")
    return False
