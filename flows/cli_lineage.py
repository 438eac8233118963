"""What `taglm lineage` shows: two trees, raw files at the end of the one, and the runs that made what is in them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from rich.markup import escape
from rich.tree import Tree

from flows.cli_views import duration
from taglm_core.config.experiment import Experiment
from taglm_core.errors import ConfigError, MissingObject
from taglm_core.lineage import Lineage, Node, Thing, find_object, things
from taglm_core.pipeline.context import PipelineContext
from taglm_core.pipeline.roles import RAW
from taglm_core.pipeline.steps import Graph
from taglm_core.store.resources import size_text
from taglm_core.store.store import Store
from tasks.preflight.tracking_store import require_mlflow_settings
from tasks.tracking.address import is_there, resolve_uri
from tasks.tracking.descriptions import run_by_id_link
from tasks.urls import mlflow_ui, prefect_run

WIDTH = 1000  # characters: a tree's lines hold whole paths and digests, and are not cut
_MODEL = "models:/"


def find(text: str, experiment: Experiment, *, named: bool) -> tuple[str, str]:
    """Kind and digest of what a user names.

    Args:
        text: digest, kind and digest, step or registered model.
        experiment: whose store is looked at.
        named: whether the user gave the experiment, so that its steps can be meant.

    Raises:
        ConfigError: it is no such name, or several objects are meant.
        MissingObject: it is not in the store.
        TrackingAway: a registered model is asked for, and MLflow does not answer.
    """
    store = Store(experiment.run.store)
    if text.startswith(_MODEL):
        uri = resolve_uri(experiment.run.tracking_uri)
        if not is_there(uri):
            raise ConfigError(f"{text}: there is no {uri} yet, so no registered model; run an experiment first")
        require_mlflow_settings()
        from tasks.tracking.aliases import registered_object

        return find_object(store, f"tagger/{registered_object(uri, text.removeprefix(_MODEL))}")
    context = PipelineContext.resolve(experiment) if named else PipelineContext(experiment, Graph([]))
    if text in context.graph:
        decision = context.plan()[text]
        if decision.ref is None:
            raise MissingObject(f"{text} is not in {store.root}: {decision.reason}; `taglm run` makes it")
        return decision.ref.kind, decision.ref.digest
    try:
        return find_object(store, text)
    except (ConfigError, MissingObject) as error:
        alike = get_close_matches(text, context.graph, n=4)
        if not alike:
            raise
        raise type(error)(f"{error}; steps alike: {', '.join(alike)}") from error


def show(experiment: Experiment, kind: str, digest: str, *, named: bool = False) -> list[Tree | str]:
    """What it is, what it was made from, what was made from it, by which runs, and which experiments use it.

    Args:
        experiment: whose store is looked at.
        kind: of the object.
        digest: of the object.
        named: whether the user gave the experiment, so that its own names are shown.
    """
    store = Store(experiment.run.store)
    lineage = Lineage(store)
    if named:
        lineage = Lineage(store, experiment.name, PipelineContext.resolve(experiment).plan().values())
    above, below = lineage.inputs(kind, digest), lineage.users(kind, digest)
    shown: list[Tree | str] = [f"[bold]{kind} {digest}[/]", *_facts(above.thing), *_experiments(above.thing)]
    shown += ["\n[bold]made from[/]", _tree(above), "\n[bold]used by[/]", _tree(below)]
    if not below.below:
        shown[-1] = "nothing in the store"
    return [*shown, *_runs(things(above, below), mlflow_ui(resolve_uri(experiment.run.tracking_uri)))]


def _facts(thing: Thing) -> list[str]:
    if not thing.there:
        return ["not in the store any more; its key tells what it was made from. The next run that needs it makes it"]
    when = "" if thing.time is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(thing.time))
    return [f"first made for {escape(thing.made_for)}, {when}, in {duration(thing.seconds)}; {size_text(thing.bytes)}"]


def _experiments(thing: Thing) -> list[str]:
    """The experiments that made or used it, each by the name of its own step."""
    if not thing.uses:
        return []
    since = [time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(use.time)) for use in thing.uses]
    lines = [f"{escape(use.label)}  since {when}" for use, when in zip(thing.uses, since, strict=True)]
    return ["\n[bold]made or used by the experiments[/]", *lines]


def _tree(node: Node) -> Tree:
    tree = Tree(_line(node), highlight=False)
    for file in node.thing.files:
        state = "" if file.there else "  [yellow]changed or gone since[/]"
        tree.add(f"{escape(file.path)}  {size_text(file.bytes)}  sha256 {file.sha256}{state}")
    for below in node.below:
        tree.children.append(_tree(below))
    return tree


def _line(node: Node) -> str:
    thing = node.thing
    role = f"[dim]{escape(node.role)}:[/] " if node.role else ""
    more = "  [dim](more above)[/]" if node.repeated else ""
    if thing.kind == RAW:
        gone = "" if thing.files else f"  [yellow]the store does not remember these bytes[/] {thing.digest}"
        return f"{role}raw files {escape(thing.label)}{gone}"
    state = size_text(thing.bytes) if thing.there else "[yellow]not in the store any more[/]"
    run = f"  [cyan]run {thing.mlflow_run[:8]}[/]" if thing.mlflow_run else ""
    label = f"  {escape(thing.label)}" if thing.label else ""  # gone with its key, it has none
    return f"{role}[bold]{thing.kind}[/] {thing.digest[:12]}{label}{_others(thing)}  {state}{run}{more}"


def _others(thing: Thing) -> str:
    """The experiments beside the one that a thing is labelled with."""
    known = [thing.made_for.partition("/")[0], *(use.experiment for use in thing.uses)]
    others = [name for name in dict.fromkeys(known) if name not in ("", thing.label.partition("/")[0])]
    return f"  [dim](also {escape(', '.join(others))})[/]" if others else ""


def _runs(found: Sequence[Thing], base: str) -> list[str]:
    """Addresses of all runs that made or used the things."""
    made = [(thing.made_for, thing.mlflow_run, thing.prefect_run) for thing in found]
    uses = [use for thing in found for use in thing.uses]
    used = [(use.label, use.mlflow_run, use.prefect_run) for use in uses]
    pipelines = [(use.label, use.pipeline_run) for use in uses]
    mlflow = _by_run([*((label, run) for label, run, _ in (*made, *used)), *pipelines])
    prefect = _by_run([(label, run) for label, _, run in (*made, *used)])
    if not mlflow and not prefect:
        return ["\nno runs are known: they were made without tracking"]
    lines = ["\n[bold]runs[/]"]
    lines += [f"MLflow   {run_by_id_link(base, run)}  {escape(label)}" for run, label in mlflow.items()]
    return lines + [f"Prefect  {prefect_run(run)}  {escape(label)}" for run, label in prefect.items()]


def _by_run(runs: Iterable[tuple[str, str | None]]) -> dict[str, str]:
    """What each run made or used: the first label, and how many more.

    Args:
        runs: label and run of each thing.
    """
    found: dict[str, dict[str, None]] = {}
    for label, run in runs:
        if run is not None:
            found.setdefault(run, {})[label] = None
    more = {run: f" and {len(labels) - 1} more" if len(labels) > 1 else "" for run, labels in found.items()}
    return {run: f"{next(iter(labels))}{more[run]}" for run, labels in found.items()}
