"""Tables and texts of the command line: plans, store, results."""

from __future__ import annotations

import os
import shlex
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from flows.cli_invocation import Invocation
from taglm_core.config.experiment import Experiment, RunConfig
from taglm_core.evaluation.report import Comparison, read_report
from taglm_core.evaluation.tables import table_rows, type_table_rows
from taglm_core.gc.collect import Marked, Swept, Usage
from taglm_core.gc.garbage import ActiveBuild, Garbage
from taglm_core.pipeline.kinds import Stage
from taglm_core.pipeline.plan import Action, Decision
from taglm_core.store.records import Ref
from taglm_core.store.resources import size_text
from taglm_core.store.store import Pointer, Store
from tasks.tracking.address import resolve_uri
from tasks.tracking.descriptions import TRAINING_VIEW
from tasks.urls import is_server, mlflow_ui, prefect_ui

if TYPE_CHECKING:
    from taglm_core.analysis.text_perplexity import DirectionScore  # imports torch
    from tasks.tracking.links import Link  # imports MLflow

_COLOURS = {Action.REUSE: "green", Action.RUN: "yellow", Action.DEPENDS: "cyan"}


def plan_table(decisions: Mapping[str, Decision]) -> Table:
    """Return a table with the action and reason of each step."""
    table = Table("stage", "step", "what", "why", box=None, pad_edge=False)
    for decision in decisions.values():
        colour = _COLOURS[decision.action]
        table.add_row(
            decision.step.stage, escape(decision.step.name), f"[{colour}]{decision.action}[/]", escape(decision.reason)
        )
    return table


def plan_summary(decisions: Mapping[str, Decision], given: Invocation) -> str:
    """Return the numbers of steps reused and to run, and the command that runs them."""
    counts = Counter(decision.action for decision in decisions.values())
    if counts[Action.REUSE] == len(decisions):
        return f"\nall {len(decisions)} steps are in the store; `{given.command('run')}` prints the report"
    return (
        f"\n{counts[Action.REUSE]} steps reused, {counts[Action.RUN]} to run, {counts[Action.DEPENDS]} depending on "
        f"them; `{given.command('run', refresh=True)}` runs them"
    )


def status_table(store: Store, decisions: Mapping[str, Decision], *, verify: bool) -> Table:
    """Return a table with object, size, age and state of each step."""
    table = Table("stage", "step", "object", "size", "made", "took", "state", box=None, pad_edge=False)
    for decision in decisions.values():
        ref = decision.ref
        if ref is None:
            reason = f"[yellow]{escape(decision.reason)}[/]"
            table.add_row(decision.step.stage, escape(decision.step.name), "", "", "", "", reason)
            continue
        manifest = store.manifest(ref.kind, ref.digest)
        problem = store.damage(ref.kind, ref.digest, hashes=True) if verify else None
        state = "[green]verified[/]" if verify else "[green]there[/]"
        if problem:
            state = f"[red]damaged: {escape(problem)}[/]"
        age = f"{duration(time.time() - manifest.made['time'])} ago"
        row = (ref.digest[:12], size_text(manifest.bytes), age, duration(manifest.seconds), state)
        table.add_row(decision.step.stage, escape(decision.step.name), *row)
    return table


def caches_table(
    store: Store,
    decisions: Mapping[str, Decision],
    readers: Mapping[str, Sequence[Pointer]],
    builds: Sequence[ActiveBuild],
) -> Table:
    """Return a table with content, format and readers of each embedding cache."""
    title = "\nembedding caches (rows: distinct tokens stored; width: numbers of a state)"
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("cache", no_wrap=True)
    for header in ("size", "tokens", "rows", "width", "precision", "layers", "context", "made"):
        table.add_column(header, justify="right" if header in ("size", "tokens", "rows", "width") else "left")
    table.add_column("read by", overflow="fold")
    for decision in decisions.values():
        ref = decision.ref
        if decision.step.kind != "embeddings" or ref is None:
            continue
        manifest = store.manifest(ref.kind, ref.digest)
        counts, config = manifest.counts, manifest.recipe.config
        layers = config.get("layers", "top")
        table.add_row(
            escape(decision.step.name.removeprefix("embeddings/")),
            size_text(manifest.bytes),
            *(f"{counts[name]:,}" if name in counts else "-" for name in ("tokens", "rows", "size")),
            config.get("precision", "float16"),
            layers if isinstance(layers, str) else ", ".join(map(str, layers)),
            config.get("context", "sentence"),
            f"{duration(time.time() - manifest.made['time'])} ago",
            escape(_readers(ref, readers, builds)),
        )
    return table


def _readers(ref: Ref, readers: Mapping[str, Sequence[Pointer]], builds: Sequence[ActiveBuild]) -> str:
    """Return a text such as `3 taggers, 3 evaluations; now by demo/tagger/TagLM/seed-4`."""
    counts = Counter(pointer.recipe.kind for pointer in readers.get(ref.digest, ()))
    parts = ", ".join(f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in sorted(counts.items())) or "nobody"
    works = [build.work for build in builds if build.work is not None]
    now = [work.label for work in works if ref.digest in work.recipe.inputs.values()]
    return f"{parts}; now by {', '.join(now)}" if now else parts


def store_line(store: Store, used: Usage, removable: int) -> str:
    """Return the size of the store, the free space, and a hint if `taglm gc` could remove much."""
    line = (
        f"\nstore {store.root}: objects {size_text(used.objects)}, unfinished work {size_text(used.work)}, damaged "
        f"{size_text(used.damaged)}; {size_text(used.free)} free on its disk"
    )
    if removable > min(0.1 * used.total, 1e9):
        line += f"\nup to {size_text(removable)} of it can be removed: `{_gc_command(store)}` lists and removes it"
    return line


def _gc_command(store: Store) -> str:
    """Return the `taglm gc` command for a store, with --set unless it is the default store."""
    default = RunConfig().store.absolute() == store.root
    return shlex.join(["taglm", "gc", *([] if default else ["--set", f"run.store={store.root}"])])


def marked_parts(store: Store, marked: Marked) -> list[Table | str]:
    """Return a table of garbage (small files one row a reason), a line for each item that stays, and the total."""
    rows: list[tuple[str, str, str, str, str]] = []
    small: dict[tuple[str, str], list[Garbage]] = {}
    for item in marked.garbage:
        if item.kind in ("pointer", "temporary", "raw", "lock", "use"):
            small.setdefault((item.kind, item.reason), []).append(item)
        else:
            age = duration(time.time() - item.time)
            rows.append((item.kind, item.label, size_text(item.bytes), age, item.reason))
    for (kind, reason), several in small.items():
        label = several[0].label if len(several) == 1 else f"{len(several)} files"
        oldest = time.time() - min(item.time for item in several)
        rows.append((kind, label, size_text(sum(item.bytes for item in several)), duration(oldest), reason))
    kept = [escape(f"stays: {line}") for line in marked.kept]
    if not rows:
        return [*kept, escape(f"nothing to remove in {store.root}")]
    total = escape(f"\n{size_text(marked.bytes)} in {len(marked.garbage)} items of {store.root}")
    table = Table("kind", "what", "size", "age", "reason for removal", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    return [table, *kept, total]


def swept_summary(swept: Swept) -> str:
    """Return what was removed and what was not, one line each."""
    lines = [f"removed {size_text(sum(item.bytes for item in swept.removed))} in {len(swept.removed)} items"]
    lines += [f"left: {item.kind} {item.label}: in use by now" for item in swept.in_use]
    lines += [f"cannot be removed: {path}; check its permissions and run `taglm gc` again" for path in swept.failed]
    return "\n".join(lines)


def report(store: Store, decisions: Mapping[str, Decision]) -> list[Table | str]:
    """Return the comparison of the variants, or a table of language models without labelled data."""
    if "report" not in decisions:
        return [language_models(store, decisions)]
    ref = decisions["report"].ref
    if ref is None:
        return ["no report"]
    found = read_report(store.open(ref).path)
    note = "mean and standard deviation over seeds (conlleval's rules, by seqeval)"
    untested = (
        "" if found.split == "test" else "; it chose the epochs, so the figures are too high (labelled.test: null)"
    )
    title = f"{decisions['report'].step.group}: F1 in percent on the {found.split} split, {note}{untested}"
    return comparison(found, title)


def language_models(store: Store, decisions: Mapping[str, Decision]) -> Table:
    """Return a table with training tokens and held-out perplexity of each language model and direction."""
    rows = []
    for decision in decisions.values():
        if decision.step.kind == "language-model" and decision.ref is not None:
            manifest = store.manifest(decision.ref.kind, decision.ref.digest)
            tokens, perplexity = manifest.counts["training_tokens_total"], manifest.metrics["heldout/perplexity"]
            name = decision.step.name.removeprefix("language-model/")
            rows.append([name, f"{tokens:,}", f"{perplexity:.2f}", decision.ref.digest[:12]])
    return plain_table(
        "language models (no labelled data)", ["direction", "tokens read", "held-out perplexity", "object"], rows
    )


def comparison(found: Comparison, title: str) -> list[Table | str]:
    """Return the tables of a comparison: overall and by entity type."""
    headers, rows = table_rows(found)
    kept = [number for number, header in enumerate(headers) if header not in ("precision", "recall")]  # in report.md
    overall = [headers[number] for number in kept], [[row[number] for number in kept] for row in rows]
    return [plain_table(title, *overall), plain_table("F1 by entity type", *type_table_rows(found))]


def differences(labels: Sequence[str], settings: Mapping[str, Sequence[str]]) -> Table | str:
    """Return a table of the settings that differ between runs."""
    if not settings:
        return "\nthe runs differ only in their seeds"
    return plain_table("what differs", ["setting", *labels], [[name, *values] for name, values in settings.items()])


def perplexity_table(scores: Sequence[DirectionScore]) -> Table:
    """Return a table with the perplexities of a text and of held-out text, one row per direction."""
    headers = ["direction", "break state", "carried", "tokens", "unknown", "held-out, break state", "held-out, carried"]
    rows = []
    for score in scores:
        text, heldout = score.text, [score.heldout.get(f"heldout/perplexity{end}") for end in ("_break_state", "")]
        cells = [
            f"{text.from_break:.2f}",
            f"{text.carried:.2f}",
            f"{text.predictions:,}",
            f"{100 * text.unknown:.2f} %",
        ]
        rows.append([str(score.direction), *cells, *("-" if own is None else f"{own:.2f}" for own in heldout)])
    return plain_table("exact perplexity; tokens are words and one end mark per sentence", headers, rows)


def stage_times(store: Store, decisions: Mapping[str, Decision], since: float) -> Table:
    """Return a table with the steps built and reused, their total time and the longest step, by stage.

    Args:
        store: store of the run.
        decisions: plan after the run.
        since: start of the run, in seconds since 1970.
    """
    headers = ("stage", "made", "reused", "work", "longest step")
    table = Table(*headers, title="what this run did", title_justify="left", box=None)
    for stage in Stage:
        mine = [d for d in decisions.values() if d.step.stage is stage and d.ref is not None]
        seconds = {d.step.name: _seconds(store, d) for d in mine if _made_since(store, d, since)}
        work, slowest = "-", "-"
        if seconds:
            longest = max(seconds, key=lambda name: seconds[name])
            work, slowest = duration(sum(seconds.values())), f"{longest} ({duration(seconds[longest])})"
        if mine:
            table.add_row(stage, str(len(seconds)), str(len(mine) - len(seconds)), work, escape(slowest))
    return table


def _made_since(store: Store, decision: Decision, since: float) -> bool:
    """Return whether the pointer of a step is newer than `since`, even if its object is older."""
    pointer = None if decision.recipe is None else store.pointer(decision.recipe.kind, decision.recipe.key)
    return pointer is not None and pointer.time >= since


def _seconds(store: Store, decision: Decision) -> float:
    return 0.0 if decision.ref is None else store.manifest(decision.ref.kind, decision.ref.digest).seconds


def locations(experiment: Experiment, given: Invocation) -> list[str]:
    """Return the paths of the store and the addresses of the UIs, with the commands that open them."""
    lines = [f"store    {experiment.run.store.absolute()}"]
    if experiment.run.tracking:
        uri = resolve_uri(experiment.run.tracking_uri)
        opens = "" if is_server(uri) else "make mlflow   then "
        lines.append(f"MLflow   {opens}{mlflow_ui(uri)}/#/experiments?{TRAINING_VIEW}")
        lines.append(f"         `{given.command('links')}` has a link for each question")
    opens = "" if "PREFECT_API_URL" in os.environ else "make prefect  then "
    return [*lines, f"Prefect  {opens}{prefect_ui()}/runs"]


def link_lines(found: Sequence[Link], given: Invocation) -> list[str]:
    """Return lines of rich markup with each question and its addresses below."""
    if not found:
        return [escape(f"nothing was logged for this experiment yet; run `{given.command('run')}`")]
    lines = []
    for question, several in groupby(found, key=lambda link: link.question):
        lines += [f"[bold]{question}[/]", *(escape(f"  {link.url}\n    {link.what}") for link in several)]
    return lines


def plain_table(title: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Return a table of plain cells with a title; the first column is text, the others are numbers."""
    table = Table(title=f"\n{escape(title)}", title_justify="left", title_style="bold", header_style="bold")
    for number, header in enumerate(headers):
        table.add_column(escape(header), justify="left" if number == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    return table


def duration(seconds: float) -> str:
    """Return a duration such as `5.0 s`, `3.4 min`, `7.0 h`, `4 days`."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    if seconds < 172_800:
        return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
    return f"{seconds / 86_400:.0f} days"
