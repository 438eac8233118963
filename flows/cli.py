"""The command line: `taglm COMMAND EXPERIMENT`.

`--help`, `plan` and `status` import neither Prefect nor MLflow nor torch, and `run` with nothing to build does not
either: it prints the report from the store. `perplexity` imports torch when it is called, `gc` MLflow if there is one.
"""

from __future__ import annotations

import io
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flows import cli_views
from taglm_core.config.experiment import Experiment
from taglm_core.config.load import load_experiment
from taglm_core.errors import ConfigError, Interrupted, MissingObject, TagLMError
from taglm_core.stages.comparing import compare_runs, differing_settings, find_run, labels_of
from taglm_core.stages.continuing import settle_bases
from taglm_core.stages.graph import build_graph
from taglm_core.stages.housekeeping import GRACE_SECONDS, survey, sweep, usage
from taglm_core.stages.needs import readers
from taglm_core.stages.planning import Decision, plan, set_damaged_aside, what_runs
from taglm_core.stages.steps import Stage, parse_stage
from taglm_core.store.garbage import running_jobs
from taglm_core.store.store import Store
from tasks.housekeeping import end_orphans, has_word, leave_word, needs_of, spare_untold, tell_missed

app = typer.Typer(
    name="taglm",
    help="TagLM: from raw text and few labels to a better sequence tagger.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)  # a log has no width of its own

ExperimentFile = Annotated[Path, typer.Argument(help="YAML file of the experiment", show_default=False)]
Sets = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="override a setting, repeatable")]
Refresh = Annotated[list[str] | None, typer.Option("--refresh", metavar="STAGE", help="compute again, repeatable")]
Only = Annotated[bool, typer.Option("--only", help="this stage alone; refuses if what it needs is not there")]


@app.command()
def run(
    experiment: ExperimentFile,
    overrides: Sets = None,
    refresh: Refresh = None,
    only: Annotated[str | None, typer.Option("--only", metavar="STAGE", help="this stage alone")] = None,
    first: Annotated[str | None, typer.Option("--from", metavar="STAGE", help="from this stage on")] = None,
    last: Annotated[str | None, typer.Option("--to", metavar="STAGE", help="up to this stage")] = None,
) -> None:
    """Run the pipeline (or part of it): what is in the store already is reused. Prints the comparison."""
    if only is not None and (first is not None or last is not None):
        raise ConfigError("--only STAGE is short for --from STAGE --to STAGE; give one or the other")
    _run(experiment, overrides, refresh, first=only or first, last=only or last)


@app.command()
def ingest(experiment: ExperimentFile, overrides: Sets = None, refresh: Refresh = None, only: Only = False) -> None:
    """Read the raw files into stored corpora, with statistics."""
    _run(experiment, overrides, refresh, first=Stage.INGEST if only else None, last=Stage.INGEST)


@app.command()
def pretrain(experiment: ExperimentFile, overrides: Sets = None, refresh: Refresh = None, only: Only = False) -> None:
    """Train the language models."""
    _run(experiment, overrides, refresh, first=Stage.PRETRAIN if only else None, last=Stage.PRETRAIN)


@app.command()
def embed(experiment: ExperimentFile, overrides: Sets = None, refresh: Refresh = None, only: Only = False) -> None:
    """Compute the embeddings of the labelled corpora."""
    _run(experiment, overrides, refresh, first=Stage.EMBED if only else None, last=Stage.EMBED)


@app.command()
def tag(experiment: ExperimentFile, overrides: Sets = None, refresh: Refresh = None, only: Only = False) -> None:
    """Train, evaluate and compare the taggers."""
    _run(experiment, overrides, refresh, first=Stage.TAG if only else None, last=Stage.TAG)


@app.command(name="plan")
def show_plan(experiment: ExperimentFile, overrides: Sets = None, refresh: Refresh = None) -> None:
    """Say what would run, and why. Computes nothing."""
    loaded = _load(experiment, overrides)
    decisions = plan(Store(loaded.run.store), build_graph(loaded), _stages(refresh))
    console.print(cli_views.plan_table(decisions))
    console.print(cli_views.plan_summary(decisions, experiment))


@app.command()
def status(
    experiment: ExperimentFile,
    overrides: Sets = None,
    verify: Annotated[bool, typer.Option("--verify", help="compare the bytes of every object, not only sizes")] = False,
) -> None:
    """Show what is in the store for an experiment, and why the rest is not."""
    loaded = _load(experiment, overrides)
    store = Store(loaded.run.store)
    decisions = plan(store, build_graph(loaded))
    console.print(cli_views.status_table(store, decisions, verify=verify))
    if any(decision.step.kind == "embeddings" and decision.ref is not None for decision in decisions.values()):
        console.print(cli_views.caches_table(store, decisions, readers(store), running_jobs(store)))
    console.print(cli_views.store_line(store, usage(store), survey(store).bytes), soft_wrap=True)
    console.print(cli_views.plan_summary(decisions, experiment))


@app.command()
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
    loaded = [_load(path, overrides) for path in experiments or ()]
    run = (loaded[0] if loaded else load_experiment(None, overrides or ())).run
    if len({each.run.store.absolute() for each in loaded}) > 1:
        raise ConfigError("the experiments have several stores; give those of one store, or --set run.store=...")
    store = Store(run.store)
    found = survey(store, needs_of(run, loaded, aliases=not no_aliases), grace=grace * 60)
    if no_aliases:
        found = spare_untold(run, found)
    for part in cli_views.survey_parts(store, found):
        console.print(part)
    if not found.garbage or not (yes or _agreed()):
        return
    if not no_aliases:
        end_orphans(run)
        found = spare_untold(run, found)
    needs = needs_of(run, loaded, aliases=not no_aliases)  # asking may have taken a while
    console.print(cli_views.swept_summary(sweep(store, found, needs, grace=grace * 60)))


@app.command()
def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN RUN...",
            help="EXPERIMENT.yaml:VARIANT, or the beginning of "
            "an object of `taglm status`, or a tagger's MLflow run id",
        ),
    ],
    overrides: Sets = None,
    split: Annotated[str, typer.Option(help="dev or test")] = "test",
    rounds: Annotated[int, typer.Option(min=1, help="rounds of randomisation and bootstrap")] = 10_000,
) -> None:
    """Compare runs of any experiments on the same sentences, with significance against the first one."""
    if len(runs) < 2 or split not in ("dev", "test"):
        raise ConfigError("give two runs or more, and dev or test as --split")
    found = [find_run(text, split=split, overrides=overrides or ()) for text in runs]
    for part in cli_views.comparison(compare_runs(found, rounds=rounds), f"F1 in percent on the {split} split"):
        console.print(part)
    console.print(cli_views.differences(labels_of(found), differing_settings(found)))


@app.command()
def perplexity(
    experiment: ExperimentFile,
    text: Annotated[str, typer.Argument(help="tokenised text, one sentence a line: file, folder or glob (.gz, .zst)")],
    overrides: Sets = None,
    lm: Annotated[str | None, typer.Option("--lm", metavar="NAME", help="which language model")] = None,
) -> None:
    """Perplexity of a text under a trained language model, exact, from the break state and with carried state."""
    loaded = load_experiment(experiment, overrides or ())
    from taglm_core.stages.scoring import text_perplexity

    with console.status(f"reading {text}"):
        scores = list(text_perplexity(loaded, text, lm, source=experiment))
    console.print(cli_views.perplexity_table(scores))


@app.command()
def lineage(
    thing: Annotated[
        str,
        typer.Argument(
            metavar="OBJECT",
            help="digest or its beginning, KIND/DIGEST, a step of --experiment, or models:/NAME@champion",
        ),
    ],
    experiment: Annotated[
        Path | None, typer.Option("--experiment", metavar="FILE", help="whose store is meant, and whose steps")
    ] = None,
    overrides: Sets = None,
) -> None:
    """Show what an object was made from, down to the raw files, what was made from it, and by which runs."""
    from flows import cli_lineage

    loaded = load_experiment(experiment, overrides or ())
    kind, digest = cli_lineage.find(thing, loaded, named=experiment is not None)
    wide = Console(highlight=False, width=cli_lineage.WIDTH)
    for part in cli_lineage.show(loaded, kind, digest):
        wide.print(part, soft_wrap=True)


@app.command()
def links(experiment: ExperimentFile, overrides: Sets = None) -> None:
    """Print addresses of the pages in MLflow that answer a question about an experiment each."""
    loaded = load_experiment(experiment, overrides or ())
    if not loaded.run.tracking:
        raise ConfigError("run.tracking is false: nothing is in MLflow")
    from tasks.preflight.tracking_store import require_mlflow_settings

    require_mlflow_settings()
    from tasks.tracking.links import links as find_links

    for line in cli_views.link_lines(find_links(loaded), experiment):
        console.print(line, soft_wrap=True)


@app.command()
def doctor(experiment: Annotated[Path | None, typer.Argument(help="YAML file of the experiment")] = None) -> None:
    """Check this machine: versions and pins, devices, disk, store, telemetry; and the experiment's input files."""
    from flows.cli_check import table
    from flows.cli_doctor import check

    loaded = load_experiment(experiment) if experiment is not None else Experiment()
    checks = check(loaded)
    console.print(table(checks))
    if any(one.bad for one in checks):
        raise typer.Exit(1)


def main() -> None:
    """Entry point: errors that are the user's come as one message, without a stack trace."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # what libraries say about libraries is nothing that a user could mend
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that cannot show a character shows another one
    try:
        app()
    except TagLMError as error:
        console.print(f"[bold red]{type(error).__name__}[/]: ", end="")
        console.print(str(error), markup=False)
        sys.exit(75 if isinstance(error, Interrupted) else 1)


def _run(
    path: Path, overrides: Sequence[str] | None, refresh: Sequence[str] | None, *, first: str | None, last: str | None
) -> None:
    begun = time.monotonic()
    experiment = _load(path, overrides)
    start = parse_stage(first) if first else None
    end = parse_stage(last) if last else Stage.TAG
    if start is not None and start.place > end.place:
        raise ConfigError(f"--from {start} comes after --to {end}; the stages are {', '.join(Stage)}")
    store, graph, stages = Store(experiment.run.store), build_graph(experiment), _stages(refresh)
    shown = ("report",) if end is Stage.TAG else ()
    decisions = {n: d for n, d in plan(store, graph, stages).items() if d.step.stage.place <= end.place}
    while lines := set_damaged_aside(store, decisions, shown):
        console.print("\n".join(lines), style="yellow", markup=False)
        decisions = {n: d for n, d in plan(store, graph, stages).items() if d.step.stage.place <= end.place}
    if start is not None:
        _require(decisions, start, path)
    waiting = what_runs(decisions)
    if waiting:
        console.print("\n".join(waiting), markup=False)
        from flows.cli_run import run_flow

        run_flow(console, experiment, start, end, stages)
        decisions = {n: d for n, d in plan(store, graph).items() if d.step.stage.place <= end.place}
    else:
        _tell_missed(experiment, decisions)
    if end is Stage.TAG:
        for part in cli_views.report(store, decisions):
            console.print(part)
    console.print(cli_views.stage_times(store, decisions))
    for line in cli_views.places(experiment, path):
        console.print(line, soft_wrap=True)
    done = f"{time.monotonic() - begun:.1f} s" + ("" if waiting else "; everything was built already")
    console.print(f"[green]done[/] in {done}")


def _tell_missed(experiment: Experiment, decisions: Mapping[str, Decision]) -> None:
    """Nothing is to be built; an earlier run may have been killed before MLflow had heard of all."""
    if "report" in decisions:
        leave_word(experiment, {name: decision.ref for name, decision in decisions.items() if decision.ref is not None})
    if has_word(experiment.run):
        tell_missed(experiment.run)
        left = has_word(experiment.run)
        console.print(f"what MLflow has missed of earlier runs {'waits: it is still away' if left else 'was told'}")


def _load(path: Path, overrides: Sequence[str] | None) -> Experiment:
    """The experiment with the language models that others go on from found, and said."""
    experiment = load_experiment(path, overrides or ())
    settled = settle_bases(Store(experiment.run.store), experiment)
    for line in settled.lines:
        console.print(line, markup=False)
    return settled.experiment


def _agreed() -> bool:
    """Whether a person says so; nobody to ask means no."""
    if sys.stdin.isatty():
        return typer.confirm("remove all this?")
    console.print("nothing was removed: no terminal to ask at; `taglm gc --yes` removes it")
    return False


def _require(decisions: Mapping[str, Decision], first: Stage, path: Path) -> None:
    missing = [d.step for d in decisions.values() if d.step.stage.place < first.place and d.ref is None]
    if missing:
        names = ", ".join(step.name for step in missing[:6]) + (", ..." if len(missing) > 6 else "")
        last = max(missing, key=lambda step: step.stage.place).stage
        raise MissingObject(f"the {first} stage needs what is not there: {names}; make it with `taglm {last} {path}`")


def _stages(names: Sequence[str] | None) -> tuple[Stage, ...]:
    return tuple(parse_stage(name) for name in names or ())


if __name__ == "__main__":
    main()
