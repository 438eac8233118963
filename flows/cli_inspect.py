"""`taglm inspect` and `taglm init`: say what files hold, and write the settings that read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from flows.cli_corpora import entities_text
from flows.cli_invocation import Sets, console
from taglm_core.config.load import build_experiment, read_settings
from taglm_core.errors import ConfigError, TagLMError

if TYPE_CHECKING:
    from taglm_core.analysis.inspecting import Inspected

SPLITS = {"train": "labelled training sentences", "dev": "development set (empty: a tenth of train)",
          "test": "test set (empty: none)", "text": "unlabelled text (empty: none)"}  # fmt: skip
SECTIONS = ("labelled", "unlabelled", "text")
_COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "red")
FAILED = 1


def inspect(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="files, folders or globs, each a split")],
    text: Annotated[
        bool | None,
        typer.Option("--text/--labelled", help="unlabelled text, or labelled files; found out if not given"),
    ] = None,
    overrides: Sets = None,
) -> None:
    """Look at files as ingest reads them: format, counts, oddities, ten sentences, and the settings to write."""
    given = read_settings(None, overrides or ())
    files = list(dict.fromkeys(files))
    seen = _inspected(dict.fromkeys(files, text), given)
    for one in seen:
        _show(one)
    if seen:
        from taglm_core.analysis.proposing import proposed_yaml

        try:
            settings = proposed_yaml(seen, given)
        except ConfigError as error:
            console.print(Text(f"\nno settings: {error}", "yellow"), soft_wrap=True)
        else:
            console.print("\n[bold]settings that read these files[/] (guesses of splits are by the names of the files)")
            console.print(Text(settings), soft_wrap=True)
    if len(seen) < len(files):
        raise typer.Exit(FAILED)


def init(
    train: Annotated[str | None, typer.Option(metavar="FILE", help=SPLITS["train"])] = None,
    dev: Annotated[str | None, typer.Option(metavar="FILE", help=SPLITS["dev"])] = None,
    test: Annotated[str | None, typer.Option(metavar="FILE", help=SPLITS["test"])] = None,
    text: Annotated[str | None, typer.Option(metavar="FILE", help=SPLITS["text"])] = None,
    to: Annotated[Path, typer.Option(metavar="FILE", help="experiment to write")] = Path("mine.yaml"),
    force: Annotated[bool, typer.Option("--force", help="replace the file")] = False,
    overrides: Sets = None,
) -> None:
    """Write an experiment for your files, with the reason of each setting; asks for them if none is given."""
    if to.exists() and not force:
        raise ConfigError(f"{to}: the file exists; give another name with --to, or --force to replace it")
    files = {"train": train, "dev": dev, "test": test, "text": text}
    if not any(files.values()):
        files = {split: typer.prompt(what, default="", show_default=False) for split, what in SPLITS.items()}
    splits: dict[str, str] = {}  # split by file
    for split, path in files.items():
        if path and path in splits:
            raise ConfigError(f"--{splits[path]} and --{split} are the same file {path}; give each file once")
        if path:
            splits[path] = split
    if not splits:
        raise ConfigError("no file was given; give --train, --text, or both")
    if "train" not in splits.values() and set(splits.values()) != {"text"}:
        raise ConfigError("--dev and --test need --train; name the training sentences")
    given = read_settings(None, overrides or ())
    seen = _inspected({path: split == "text" for path, split in splits.items()}, given)
    if len(seen) < len(splits):
        raise typer.Exit(FAILED)
    from taglm_core.analysis.proposing import described, proposed_yaml

    if refused := [one.refused for one in seen if one.refused]:
        for error in refused:
            console.print(Text(error, "red"), soft_wrap=True)
        raise ConfigError("nothing was written: ingest would refuse these spans; correct them, or add --set "
                          "labelled.misaligned=widen or =drop")  # fmt: skip
    settings = proposed_yaml(seen, given, splits=splits, name=to.stem)
    to.write_text(f"# taglm inspect shows how the files are read\n{settings}", encoding="utf-8")
    for one in seen:
        console.print(f"{splits[one.name]}: {one.name}: {described(one)}", markup=False, soft_wrap=True)
    console.print(f"{to}: written; next: taglm doctor {to}, taglm run {to}", markup=False, soft_wrap=True)


def _inspected(files: Mapping[str, bool | None], given: dict[str, Any]) -> list[Inspected]:
    """Look at files; say why one cannot be read, and go on with the next.

    Args:
        files: whether each is text; None finds out.
        given: settings of the user.

    Raises:
        ConfigError: a setting cannot be used.
    """
    reading = {section: given[section] for section in SECTIONS if section in given}
    experiment = build_experiment(reading, "--set")
    from taglm_core.analysis.inspecting import Sources, inspect_files
    from taglm_core.corpus.paths import resolve_files

    assert experiment.labelled is not None
    assert experiment.unlabelled is not None
    sources, seen = Sources(experiment.labelled, experiment.unlabelled, experiment.text), []
    for name, text in files.items():
        try:
            seen.append(inspect_files(name, resolve_files(name), sources, text=text))
        except TagLMError as error:
            said = str(error)
            console.print(Text(said if said.startswith(name) else f"{name}: {said}", "red"), soft_wrap=True)
    return seen


def _show(one: Inspected) -> None:
    facts = one.facts
    table = Table(title=f"\n{one.name}", title_justify="left", title_style="bold", show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    counted = "" if one.whole else " (the first ones; the rest was not read)"
    median, most, longest = one.lengths
    rows = [
        ("format", f"{'labelled' if one.labelled else 'unlabelled text'}, {one.format} ({one.why})"),
        ("files", one.files), ("columns", one.columns), ("tag scheme", one.scheme),
        ("documents", f"{one.documents:,}"), ("sentences", f"{facts.sentences:,}{counted}"),
        ("tokens", f"{facts.tokens:,}, {facts.types:,} different"),
        ("tokens a sentence", f"median {median}, 95 % have at most {most}, longest {longest}"),
        ("entities", entities_text(facts.entities or {})),
    ]  # fmt: skip
    for name, value in rows:
        if value:
            table.add_row(name, Text(value))
    console.print(table)
    for note in (*one.notes, *([one.refused] if one.refused else [])):
        console.print(Text(note, "yellow"), soft_wrap=True)
    if one.refused:
        console.print(Text("--set labelled.misaligned=widen or =drop shows what becomes of them", "yellow"))
    for finding in one.findings:
        line = f"{finding.name}: {finding.what}; {finding.remedy}"
        console.print(Text(line, "red" if finding.stops else "yellow"), soft_wrap=True)
    types = sorted(facts.entities or {})
    for tokens, spans in one.sample:
        console.print(_sentence(tokens, spans, types), soft_wrap=True)


def _sentence(tokens: Sequence[str], spans: Sequence[Any], types: Sequence[str]) -> Text:
    """Return a sentence with its spans in brackets, in the colour of their type."""
    line, place = Text("  "), 0
    for span in spans:
        line.append("".join(f"{token} " for token in tokens[place : span.start]))
        colour = _COLOURS[types.index(span.type) % len(_COLOURS)]
        line.append(f"[{' '.join(tokens[span.start : span.end])}]{span.type} ", f"bold {colour}")
        place = span.end
    return line.append(" ".join(tokens[place:]))
