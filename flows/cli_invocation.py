"""Console, common options, and the invocation of a command: experiment file, --set and --refresh."""

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

# characters; a log file has no width, and stdout is None after `>&-`
WIDTH = None if sys.stdout is not None and sys.stdout.isatty() else 120
console = Console(highlight=False, emoji=False, width=WIDTH)

ExperimentFile = Annotated[Path, typer.Argument(help="YAML file of the experiment", show_default=False)]
Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="folder that `taglm export` wrote, models:/NAME@champion, EXPERIMENT.yaml:VARIANT, the beginning of a "
        "digest, or the MLflow run id of a tagger",
        show_default=False,
    ),
]
Sets = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="override a setting, repeatable")]


@dataclass(frozen=True, slots=True)
class Invocation:
    """Arguments that a user gave to a command, so that hints can repeat them.

    Attributes:
        path: experiment file.
        overrides: values of --set.
        refresh: values of --refresh.
    """

    path: Path
    overrides: Sequence[str] = ()
    refresh: Sequence[str] = ()

    def command(self, name: str, *, refresh: bool = False) -> str:
        """Return the shell line of a command on the same experiment, with --refresh if `refresh` is set."""
        sets = [part for override in self.overrides for part in ("--set", override)]
        stages = [part for stage in self.refresh for part in ("--refresh", stage)] if refresh else []
        return shlex.join(["taglm", name, str(self.path), *sets, *stages])


def require_before(decisions: Mapping[str, Decision], first: Stage, given: Invocation) -> None:
    """Refuse to begin with a stage whose inputs of earlier stages are missing.

    Raises:
        MissingObject: lists the missing objects and the command that builds them.
    """
    missing = [d.step for d in decisions.values() if d.step.stage.index < first.index and d.ref is None]
    if missing:
        names = ", ".join(step.name for step in missing[:6]) + (", ..." if len(missing) > 6 else "")
        last = max(missing, key=lambda step: step.stage.index).stage
        command = given.command(last)
        raise MissingObject(
            f"the {first} stage reads objects that are not in the store: {names}; build them with `{command}`"
        )


def load(path: Path, overrides: Sequence[str] | None) -> PipelineContext:
    """Return the context of an experiment; print the models that `continue_from: latest` resolves to."""
    context = PipelineContext.resolve(load_experiment(path, overrides or ()))
    for line in context.messages:
        console.print(line, markup=False)
    return context
