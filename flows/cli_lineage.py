"""`taglm lineage`: the tree of an object's inputs down to the raw files, the tree of its users, and their runs."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from rich.markup import escape
from rich.tree import Tree

from flows.cli_views import duration
from taglm_core.config.experiment import Experiment
from taglm_core.errors import ConfigError, MissingObject
from taglm_core.lineage import Lineage, LineageEntry, Node, entries, find_object
from taglm_core.pipeline.context import PipelineContext
from taglm_core.pipeline.roles import RAW
from taglm_core.pipeline.steps import Graph
from taglm_core.store.resources import size_text
from taglm_core.store.store import Store
from tasks.preflight.tracking_store import require_mlflow_settings
from tasks.tracking.address import is_there, resolve_uri
from tasks.tracking.descriptions import run_by_id_link
from tasks.urls import mlflow_ui, prefect_run

WIDTH = 1000  # characters: lines hold whole paths and digests and must not be cut
_MODEL = "models:/"


def find(text: str, experiment: Experiment, *, named: bool) -> tuple[str, str]:
    """Return kind and digest of the object that a user names.

    Args:
        text: digest, kind and digest, step, or registered model.
        experiment: experiment whose store is read.
        named: whether the user gave the experiment, so that the text may be the name of a step.

    Raises:
        ConfigError: the text names no object, or several.
        MissingObject: the object is not in the store.
        TrackingAway: the text names a registered model and MLflow does not answer.
    """
    store = Store(experiment.run.store)
    if text.startswith(_MODEL):
        uri = resolve_uri(experiment.run.tracking_uri)
        if not is_there(uri):
            raise ConfigError(f"{text}: {uri} does not exist yet and has no registered model; run an experiment first")
        require_mlflow_settings()
        from tasks.tracking.aliases import registered_object

        return find_object(store, f"tagger/{registered_object(uri, text.removeprefix(_MODEL))}")
    context = PipelineContext.resolve(experiment) if named else PipelineContext(experiment, Graph([]))
    if text in context.graph:
        decision = context.plan()[text]
        if decision.ref is None:
            raise MissingObject(f"{text} is not in {store.root}: {decision.reason}; `taglm run` builds it")
        return decision.ref.kind, decision.ref.digest
    try:
        return find_object(store, text)
    except (ConfigError, MissingObject) as error:
        alike = get_close_matches(text, context.graph, n=4)
        if not alike:
            raise
        raise type(error)(f"{error}; similar steps: {', '.join(alike)}") from error


def show(experiment: Experiment, kind: str, digest: str, *, named: bool = False) -> list[Tree | str]:
    """Return facts, uses, inputs, users and runs of an object, ready to print.

    Args:
        experiment: experiment whose store is read.
        kind: kind of the object.
        digest: digest of the object.
        named: whether the user gave the experiment, so that its own labels are shown.
    """
    store = Store(experiment.run.store)
    lineage = Lineage(store)
    if named:
        lineage = Lineage(store, experiment.name, PipelineContext.resolve(experiment).plan().values())
    above, below = lineage.inputs(kind, digest), lineage.users(kind, digest)
    parts: list[Tree | str] = [f"[bold]{kind} {digest}[/]", *_facts(above.entry), *_experiments(above.entry)]
    parts += ["\n[bold]made from[/]", _tree(above), "\n[bold]used by[/]", _tree(below)]
    if not below.below:
        parts[-1] = "nothing in the store"
    return [*parts, *_runs(entries(above, below), mlflow_ui(resolve_uri(experiment.run.tracking_uri)))]


def _facts(entry: LineageEntry) -> list[str]:
    if not entry.present:
        return [
            "no longer in the store; its key records its inputs, and the next run that needs the object builds it again"
        ]
    when = "" if entry.time is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.time))
    return [f"first made for {escape(entry.made_for)}, {when}, in {duration(entry.seconds)}; {size_text(entry.bytes)}"]


def _experiments(entry: LineageEntry) -> list[str]:
    """List the experiments that made or used an object, each with its own step."""
    if not entry.uses:
        return []
    since = [time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(use.time)) for use in entry.uses]
    lines = [f"{escape(use.label)}  since {when}" for use, when in zip(entry.uses, since, strict=True)]
    return ["\n[bold]made or used by the experiments[/]", *lines]


def _tree(node: Node) -> Tree:
    tree = Tree(_line(node), highlight=False)
    for file in node.entry.files:
        state = "" if file.there else "  [yellow]changed or gone since[/]"
        tree.add(f"{escape(file.path)}  {size_text(file.bytes)}  sha256 {file.sha256}{state}")
    for below in node.below:
        tree.children.append(_tree(below))
    return tree


def _line(node: Node) -> str:
    entry = node.entry
    role = f"[dim]{escape(node.role)}:[/] " if node.role else ""
    more = "  [dim](more above)[/]" if node.repeated else ""
    if entry.kind == RAW:
        gone = "" if entry.files else f"  [yellow]the store has no record of these files[/] {entry.digest}"
        return f"{role}raw files {escape(entry.label)}{gone}"
    state = size_text(entry.bytes) if entry.present else "[yellow]no longer in the store[/]"
    run = f"  [cyan]run {entry.mlflow_run[:8]}[/]" if entry.mlflow_run else ""
    label = f"  {escape(entry.label)}" if entry.label else ""  # an object that is gone with its key has none
    return f"{role}[bold]{entry.kind}[/] {entry.digest[:12]}{label}{_others(entry)}  {state}{run}{more}"


def _others(entry: LineageEntry) -> str:
    """Return the experiments of an entry other than the one in its label."""
    known = [entry.made_for.partition("/")[0], *(use.experiment for use in entry.uses)]
    others = [name for name in dict.fromkeys(known) if name not in ("", entry.label.partition("/")[0])]
    return f"  [dim](also {escape(', '.join(others))})[/]" if others else ""


def _runs(found: Sequence[LineageEntry], base: str) -> list[str]:
    """Return the addresses of all runs that made or used the entries."""
    made = [(entry.made_for, entry.mlflow_run, entry.prefect_run) for entry in found]
    uses = [use for entry in found for use in entry.uses]
    used = [(use.label, use.mlflow_run, use.prefect_run) for use in uses]
    pipelines = [(use.label, use.pipeline_run) for use in uses]
    mlflow = _by_run([*((label, run) for label, run, _ in (*made, *used)), *pipelines])
    prefect = _by_run([(label, run) for label, _, run in (*made, *used)])
    if not mlflow and not prefect:
        return ["\nno runs are recorded: the objects were made without tracking"]
    lines = ["\n[bold]runs[/]"]
    lines += [f"MLflow   {run_by_id_link(base, run)}  {escape(label)}" for run, label in mlflow.items()]
    return lines + [f"Prefect  {prefect_run(run)}  {escape(label)}" for run, label in prefect.items()]


def _by_run(runs: Iterable[tuple[str, str | None]]) -> dict[str, str]:
    """Return, by run, the first label of what it made or used and the number of further ones.

    Args:
        runs: label and run of each entry.
    """
    found: dict[str, dict[str, None]] = {}
    for label, run in runs:
        if run is not None:
            found.setdefault(run, {})[label] = None
    more = {run: f" and {len(labels) - 1} more" if len(labels) > 1 else "" for run, labels in found.items()}
    return {run: f"{next(iter(labels))}{more[run]}" for run, labels in found.items()}
