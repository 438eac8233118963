"""`taglm export`: writes a tagger with everything that it needs into a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli_invocation import Sets, console
from taglm_core.config.load import load_experiment
from taglm_core.errors import ConfigError
from tasks.environment import quiet_defaults


def export(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="models:/NAME@champion, EXPERIMENT.yaml:VARIANT (its best seed on dev), the beginning of a digest, or "
            "the MLflow run id of a tagger",
        ),
    ],
    folder: Annotated[Path, typer.Argument(help="folder to write, new or empty")],
    overrides: Sets = None,
    experiment: Annotated[
        Path | None, typer.Option("--experiment", metavar="FILE", help="experiment of the store and of the tokenizer")
    ] = None,
    vectors: Annotated[str | None, typer.Option(help="word vectors to include: table, needed or reference")] = None,
    with_baseline: Annotated[
        bool, typer.Option("--with-baseline", help="include the baseline of the same experiment and seed")
    ] = False,
) -> None:
    """Write a trained tagger into a folder that tags text on any machine, without store, Prefect and MLflow."""
    quiet_defaults()
    from taglm_core.analysis.exporting import baseline_of, export_tagger
    from taglm_core.tagging.exported import BASELINE, VectorsIncluded
    from tasks.models import find_stored

    found = find_stored(model, load_experiment(experiment, overrides or ()), overrides or ())
    try:
        included = VectorsIncluded(vectors or found.experiment.registry.vectors)
    except ValueError:
        raise ConfigError(f"--vectors: found {vectors!r}; expected {', '.join(VectorsIncluded)}") from None
    index = export_tagger(found.context, found.tagger, folder, text=found.experiment.text, vectors=included)
    if with_baseline:
        baseline = baseline_of(found.context, found.tagger)
        export_tagger(found.context, baseline, folder / BASELINE, text=found.experiment.text, vectors=included)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    console.print(f"{folder}: {index.facts['label']}, {size / 1e6:,.1f} MB", markup=False, soft_wrap=True)
    console.print(f"tag text with it: taglm predict {folder} -", markup=False, soft_wrap=True)
