"""What a user gave to a command: the experiment, and the settings that messages repeat as a shell takes them."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from taglm_core.config.load import load_experiment
from taglm_core.errors import MissingObject
from taglm_core.pipeline.context import PipelineContext
from taglm_core.pipeline.kinds import Stage
from taglm_core.pipeline.plan import Decision

# a log has no width of its own; there is no output at all after `>&-`
WIDTH = None if sys.stdout is not None and sys.stdout.isatty() else 120
console = Console(highlight=False, emoji=False, width=WIDTH)

ExperimentFile = Annotated[Path, typer.Argument(help="YAML file of the experiment", show_default=False)]
Sets = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="override a setting, repeatable")]


@dataclass(frozen=True, slots=True)
class Invocation:
    """What a user gave to a command, so that a hint can repeat it.

    Attributes:
        path: file of the experiment.
        overrides: values of --set.
        refresh: values of --refresh.
    """

    path: Path
    overrides: Sequence[str] = ()
    refresh: Sequence[str] = ()

    def command(self, name: str, *, refresh: bool = False) -> str:
        """Another command on the same experiment, as a shell takes it; with --refresh where that is asked for."""
        sets = [part for override in self.overrides for part in ("--set", override)]
        stages = [part for stage in self.refresh for part in ("--refresh", stage)] if refresh else []
        return shlex.join(["taglm", name, str(self.path), *sets, *stages])


def require_before(decisions: Mapping[str, Decision], first: Stage, given: Invocation) -> None:
    """Refuse to begin with a stage that needs what is not there.

    Raises:
        MissingObject: names what is missing, and the command that makes it.
    """
    missing = [d.step for d in decisions.values() if d.step.stage.index < first.index and d.ref is None]
    if missing:
        names = ", ".join(step.name for step in missing[:6]) + (", ..." if len(missing) > 6 else "")
        last = max(missing, key=lambda step: step.stage.index).stage
        command = given.command(last)
        raise MissingObject(f"the {first} stage needs what is not there: {names}; make it with `{command}`")


def load(path: Path, overrides: Sequence[str] | None) -> PipelineContext:
    """Return the context of an experiment; what `continue_from: latest` has come to is printed."""
    context = PipelineContext.resolve(load_experiment(path, overrides or ()))
    for line in context.messages:
        console.print(line, markup=False)
    return context
