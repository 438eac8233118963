"""The command line: `taglm COMMAND EXPERIMENT`.

`--help`, `plan`, `status`, and `run` with nothing to build import neither Prefect nor MLflow nor torch. `perplexity`
imports torch, and `gc` imports MLflow if a tracking store exists.
"""

from __future__ import annotations

import contextlib
import io
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from flows import cli_views
from flows.cli_corpora import show_corpora, show_samples
from flows.cli_evaluate import evaluate
from flows.cli_explain import explain
from flows.cli_export import export
from flows.cli_failures import EXIT_STATUSES, open_closed_streams, report, require_folder
from flows.cli_gc import gc
from flows.cli_inspect import init, inspect
from flows.cli_invocation import ExperimentFile, Invocation, Sets, console, load, require_before
from flows.cli_predict import predict
from flows.cli_promote import promote
from flows.cli_serve import serve
from flows.cli_suggest import suggest
from flows.cli_sweep import sweep
from taglm_core.analysis.comparing import compare_runs, differing_settings, find_run, labels_of
from taglm_core.analysis.corpora import refuse_meaningless, report_corpora
from taglm_core.config.load import load_experiment
from taglm_core.errors import ConfigError, CorpusRefused, TagLMError
from taglm_core.gc.collect import mark, usage
from taglm_core.gc.garbage import active_builds
from taglm_core.gc.reachability import users_by_digest
from taglm_core.pipeline.kinds import Stage, parse_stage
from taglm_core.pipeline.plan import refs_of, what_runs
from tasks.options import Options

app = typer.Typer(
    name="taglm",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
DEBUG = "--debug"  # accepted anywhere on the command line
Refresh = Annotated[list[str] | None, typer.Option("--refresh", metavar="STAGE", help="compute it again, repeatable")]
Only = Annotated[bool, typer.Option("--only", help="this stage alone; refuses if its inputs are missing")]


@app.callback(epilog=EXIT_STATUSES)
def options(
    debug: Annotated[bool, typer.Option(DEBUG, help="show the trace of an error; allowed anywhere")] = False,
) -> None:
    """TagLM: from raw text and few labels to a better sequence tagger."""


@app.command()
def run(
    experiment: ExperimentFile,
    overrides: Sets = None,
    refresh: Refresh = None,
    only: Annotated[str | None, typer.Option("--only", metavar="STAGE", help="this stage alone")] = None,
    first: Annotated[str | None, typer.Option("--from", metavar="STAGE", help="from this stage on")] = None,
    last: Annotated[str | None, typer.Option("--to", metavar="STAGE", help="up to this stage")] = None,
) -> None:
    """Run the pipeline or part of it, reuse what is in the store, and print the comparison."""
    if only is not None and (first is not None or last is not None):
        raise ConfigError("--only STAGE is short for --from STAGE --to STAGE; give one or the other")
    begun, given = time.time(), Invocation(experiment, overrides or (), refresh or ())
    context = load(experiment, overrides)
    start = parse_stage(chosen) if (chosen := only or first) else None
    end = parse_stage(only or last or Stage.TAG)
    if start is not None and start.index > end.index:
        raise ConfigError(f"--from {start} comes after --to {end}; the stages are {', '.join(Stage)}")
    store, stages = context.store, _stages(refresh)
    shown = ("report",) if end is Stage.TAG and "report" in context.graph else ()
    if lines := context.set_damaged_aside(stages, end, shown):
        console.print("\n".join(lines), style="yellow", markup=False)
    decisions = context.up_to(end, stages)
    if start is not None:
        require_before(decisions, start, given)
    waiting = what_runs(decisions)
    if waiting:
        console.print("\n".join(waiting), markup=False)
        from flows.cli_run import ready_flows

        try:
            with ready_flows(console, context) as flows:
                flows[end](context.experiment, Options(first=start, refresh=stages))
        except CorpusRefused:
            context.store_changed()
            show_corpora(console, report_corpora(context, refs_of(context.plan())), findings=False)
            raise
        context.store_changed()
        decisions = context.up_to(end)
    corpora = report_corpora(context, refs_of(decisions))
    if not waiting:
        from flows.cli_run import sync_missed

        refuse_meaningless(corpora)
        sync_missed(console, context.experiment, decisions)
    if end is Stage.TAG:
        for part in cli_views.report(store, decisions):
            console.print(part)
    show_corpora(console, corpora, rows=end is Stage.INGEST)
    if waiting:
        console.print(cli_views.stage_times(store, decisions, begun))
    for line in cli_views.locations(context.experiment, given):
        console.print(line, markup=False, soft_wrap=True)
    done = f"{time.time() - begun:.1f} s" + ("" if waiting else "; everything was built already")
    console.print(f"[green]done[/] in {done}")


@app.command()
def ingest(experiment: ExperimentFile, overrides: Sets = None, refresh: Refresh = None, only: Only = False) -> None:
    """Read the raw files into stored corpora, with statistics."""
    run(experiment, overrides, refresh, first=Stage.INGEST if only else None, last=Stage.INGEST)


@app.command()
def pretrain(experiment: ExperimentFile, overrides: Sets = None, refresh: Refresh = None, only: Only = False) -> None:
    """Train the language models."""
    run(experiment, overrides, refresh, first=Stage.PRETRAIN if only else None, last=Stage.PRETRAIN)


@app.command()
def embed(experiment: ExperimentFile, overrides: Sets = None, refresh: Refresh = None, only: Only = False) -> None:
    """Compute the embeddings of the labelled corpora."""
    run(experiment, overrides, refresh, first=Stage.EMBED if only else None, last=Stage.EMBED)


@app.command()
def tag(experiment: ExperimentFile, overrides: Sets = None, refresh: Refresh = None, only: Only = False) -> None:
    """Train, evaluate and compare the taggers."""
    run(experiment, overrides, refresh, first=Stage.TAG if only else None, last=Stage.TAG)


@app.command(name="plan")
def show_plan(experiment: ExperimentFile, overrides: Sets = None, refresh: Refresh = None) -> None:
    """Show what would run, and why. Compute nothing."""
    decisions = load(experiment, overrides).plan(_stages(refresh))
    console.print(cli_views.plan_table(decisions))
    given = Invocation(experiment, overrides or (), refresh or ())
    console.print(cli_views.plan_summary(decisions, given), markup=False, soft_wrap=True)


@app.command()
def status(
    experiment: ExperimentFile,
    overrides: Sets = None,
    verify: Annotated[bool, typer.Option("--verify", help="compare the bytes of every object, not only sizes")] = False,
) -> None:
    """Show the objects of an experiment in the store, and the reasons for missing ones."""
    context = load(experiment, overrides)
    store, decisions = context.store, context.plan()
    console.print(cli_views.status_table(store, decisions, verify=verify))
    if any(decision.step.kind == "embeddings" and decision.ref is not None for decision in decisions.values()):
        console.print(cli_views.caches_table(store, decisions, users_by_digest(store), active_builds(store)))
    show_corpora(console, report_corpora(context, refs_of(decisions)))
    console.print(cli_views.store_line(store, usage(store), mark(store).bytes), markup=False, soft_wrap=True)
    given = Invocation(experiment, overrides or ())
    console.print(cli_views.plan_summary(decisions, given), markup=False, soft_wrap=True)


@app.command()
def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN RUN...",
            help="EXPERIMENT.yaml:VARIANT, the beginning of a digest in `taglm status`, "
            "or the MLflow run id of a tagger",
        ),
    ],
    overrides: Sets = None,
    split: Annotated[str, typer.Option(help="dev or test")] = "test",
    rounds: Annotated[int, typer.Option(min=1, help="rounds of randomisation and bootstrap")] = 10_000,
) -> None:
    """Compare runs of any experiments on the same sentences, with significance tests against the first."""
    if len(runs) < 2 or split not in ("dev", "test"):
        raise ConfigError("give two or more runs, and dev or test as --split")
    found = [find_run(text, split=split, overrides=overrides or ()) for text in runs]
    for part in cli_views.comparison(compare_runs(found, rounds=rounds), f"F1 in percent on the {split} split"):
        console.print(part)
    console.print(cli_views.differences(labels_of(found), differing_settings(found)))


@app.command()
def perplexity(
    experiment: ExperimentFile,
    text: Annotated[str, typer.Argument(help="tokenised text, one sentence per line: file, folder or glob")],
    overrides: Sets = None,
    lm: Annotated[str | None, typer.Option("--lm", metavar="NAME", help="language model")] = None,
) -> None:
    """Compute the exact perplexity of a text, from the break state and with carried state."""
    loaded = load_experiment(experiment, overrides or ())
    from taglm_core.analysis.text_perplexity import text_perplexity

    with console.status(escape(f"reading {text}")):
        command = Invocation(experiment, overrides or ()).command("pretrain")
        scores = list(text_perplexity(loaded, text, lm, command=command))
    console.print(cli_views.perplexity_table(scores))


@app.command()
def lineage(
    name: Annotated[
        str,
        typer.Argument(
            metavar="OBJECT",
            help="digest or its beginning, KIND/DIGEST, a step of --experiment, or models:/NAME@champion",
        ),
    ],
    experiment: Annotated[
        Path | None, typer.Option("--experiment", metavar="FILE", help="experiment of the store and of step names")
    ] = None,
    overrides: Sets = None,
) -> None:
    """Show the inputs of an object down to the raw files, the objects made from it, and their runs."""
    from flows import cli_lineage

    loaded = load_experiment(experiment, overrides or ())
    kind, digest = cli_lineage.find(name, loaded, named=experiment is not None)
    wide = Console(highlight=False, emoji=False, width=cli_lineage.WIDTH)
    for part in cli_lineage.show(loaded, kind, digest, named=experiment is not None):
        wide.print(part, soft_wrap=True)


@app.command()
def links(experiment: ExperimentFile, overrides: Sets = None) -> None:
    """Print the addresses of MLflow pages, each below the question that it answers."""
    loaded = load_experiment(experiment, overrides or ())
    if not loaded.run.tracking:
        raise ConfigError("run.tracking is false: nothing is in MLflow")
    from tasks.preflight.tracking_store import require_mlflow_settings

    require_mlflow_settings()
    from tasks.tracking.links import links as find_links

    for line in cli_views.link_lines(find_links(loaded), Invocation(experiment, overrides or ())):
        console.print(line, soft_wrap=True)


app.command()(evaluate)
app.command()(explain)
app.command()(inspect)
app.command()(init)
app.command()(export)
app.command()(gc)
app.command()(predict)
app.command()(suggest)
app.command()(promote)
app.command()(serve)
app.command()(sweep)


@app.command()
def doctor(
    experiment: Annotated[Path | None, typer.Argument(help="YAML file of the experiment")] = None,
    overrides: Sets = None,
) -> None:
    """Check this machine (versions, devices, disk, store, servers, telemetry) and the experiment's input files."""
    from flows.cli_check import table
    from flows.cli_doctor import check, resolved

    loaded = load_experiment(experiment, overrides or ())
    context = resolved(loaded)
    checks = check(loaded, context.graph)
    console.print(table(checks))
    bad = any(one.bad for one in checks)
    if experiment is not None:
        with contextlib.suppress(TagLMError):  # the table above has the error
            corpora = report_corpora(context, refs_of(context.plan()))
            show_corpora(console, corpora)
            bad = bad or bool(corpora.stopping)
        bad = not show_samples(console, context.graph) or bad
    if bad:
        raise typer.Exit(1)


def main() -> None:
    """Run the command line; turn every error into one message without a trace."""
    open_closed_streams()
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # users can do nothing about warnings of libraries
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal may lack characters
    try:
        require_folder()
        app(args=[argument for argument in sys.argv[1:] if argument != DEBUG])
    except Exception as error:  # noqa: BLE001 (the last place where a trace can become a message)
        sys.exit(report(error, debug=DEBUG in sys.argv))


def _stages(names: Sequence[str] | None) -> tuple[Stage, ...]:
    return tuple(parse_stage(name) for name in names or ())


if __name__ == "__main__":
    main()
