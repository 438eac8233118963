"""`taglm gc`: show what is unreachable in the store, ask, and remove it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from flows import cli_views
from flows.cli_invocation import Sets, console, load
from taglm_core.config.load import load_experiment
from taglm_core.errors import ConfigError
from taglm_core.gc.collect import GRACE_SECONDS, mark, sweep
from taglm_core.store.store import Store
from tasks.housekeeping import end_orphans, gc_roots, spare_unreported


def gc(
    experiments: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[EXPERIMENT...]", help="keep only what these use", show_default=False),
    ] = None,
    overrides: Sets = None,
    yes: Annotated[bool, typer.Option("--yes", help="remove without asking")] = False,
    grace: Annotated[float, typer.Option(min=0, metavar="MINUTES", help="keep younger files")] = GRACE_SECONDS / 60,
    no_aliases: Annotated[bool, typer.Option("--no-aliases", help="ignore aliases in MLflow")] = False,
) -> None:
    """Remove what no key, alias or running build uses. With experiments, only their keys count."""
    loaded = [load(path, overrides).experiment for path in experiments or ()]
    run = (loaded[0] if loaded else load_experiment(None, overrides or ())).run
    if len({each.run.store.absolute() for each in loaded}) > 1:
        raise ConfigError("the experiments have different stores; give those of one store, or --set run.store=...")
    store = Store(run.store)
    found = mark(store, gc_roots(run, loaded, aliases=not no_aliases), grace=grace * 60)
    if no_aliases:
        found = spare_unreported(run, found)
    for part in cli_views.marked_parts(store, found):
        console.print(part)
    if not found.garbage or not (yes or _agreed()):
        return
    if not no_aliases:
        end_orphans(run)
        found = spare_unreported(run, found)
    roots = gc_roots(run, loaded, aliases=not no_aliases)  # again: the answer of the user may have taken a while
    console.print(cli_views.swept_summary(sweep(store, found, roots, grace=grace * 60)), markup=False)


def _agreed() -> bool:
    """Return whether the user agrees; False without a terminal."""
    if sys.stdin.isatty():
        return typer.confirm("remove all this?")
    console.print("nothing was removed: there is no terminal to ask on; the same command with --yes removes it")
    return False
