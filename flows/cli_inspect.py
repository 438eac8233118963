"""`taglm inspect` and `taglm init`: say what files hold, and write the settings that read them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from rich.table import Table
from rich.text import Text

from flows.cli_corpora import MOST_TYPES
from flows.cli_invocation import console
from taglm_core.config.data import LabelledFormat, Misaligned, OffsetUnit, TextFormat
from taglm_core.config.experiment import Experiment
from taglm_core.config.raw_text import TextConfig
from taglm_core.errors import ConfigError, TagLMError

if TYPE_CHECKING:
    from taglm_core.analysis.inspecting import Inspected

_COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "red")
_GUESSES = (("test", r"test"), ("dev", r"dev|valid"), ("train", r"train"))
FAILED = 1


def inspect(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="files, folders or globs, each a split")],
    text: Annotated[
        bool | None,
        typer.Option("--text/--labelled", help="unlabelled text, or labelled files; found out if not given"),
    ] = None,
    form: Annotated[LabelledFormat, typer.Option("--format", help="as labelled.format")] = LabelledFormat.AUTO,
    offsets: Annotated[OffsetUnit, typer.Option(help="as labelled.offsets")] = OffsetUnit.CHARACTERS,
    misaligned: Annotated[Misaligned, typer.Option(help="as labelled.misaligned")] = Misaligned.REFUSE,
    language: Annotated[str, typer.Option(help="language of raw text, as text.language")] = "en",
    tokenizer: Annotated[str, typer.Option(help="as text.tokenizer")] = "auto",
) -> None:
    """Look at files as ingest reads them: format, counts, oddities, ten sentences, and the settings to write."""
    config = _text_config(language, tokenizer)
    chosen = {"format": form, "offsets": offsets, "misaligned": misaligned, "text": config}
    seen = _inspected(dict.fromkeys(files, text), chosen)
    for one in seen:
        _show(one)
    if seen:
        console.print("\n[bold]settings that read these files[/] (guesses of splits are by the names of the files)")
        lines = settings(seen, offsets=offsets, misaligned=misaligned, text=config)
        console.print(Text(lines), soft_wrap=True)
    if len(seen) < len(files):
        raise typer.Exit(FAILED)


def init(
    train: Annotated[str | None, typer.Option(metavar="FILE", help="labelled training sentences")] = None,
    dev: Annotated[str | None, typer.Option(metavar="FILE", help="development set; a tenth of train if empty")] = None,
    test: Annotated[str | None, typer.Option(metavar="FILE", help="test set, if there is one")] = None,
    text: Annotated[str | None, typer.Option(metavar="FILE", help="unlabelled text, if there is any")] = None,
    to: Annotated[Path, typer.Option(metavar="FILE", help="experiment to write")] = Path("mine.yaml"),
    force: Annotated[bool, typer.Option("--force", help="replace the file")] = False,
    language: Annotated[str, typer.Option(help="language of raw text, as text.language")] = "en",
    tokenizer: Annotated[str, typer.Option(help="as text.tokenizer")] = "auto",
) -> None:
    """Write an experiment for your files; asks for them if none is given."""
    if to.exists() and not force:
        raise ConfigError(f"{to}: the file exists; give another name with --to, or --force to replace it")
    given = {"train": train, "dev": dev, "test": test, "text": text}
    if not any(given.values()):
        questions = {"train": "labelled training sentences", "dev": "development set (empty: a tenth of train)",
                     "test": "test set (empty: none)", "text": "unlabelled text (empty: none)"}  # fmt: skip
        given = {split: typer.prompt(question, default="", show_default=False) for split, question in questions.items()}
    files = {split: path for split, path in given.items() if path}
    if not files:
        raise ConfigError("no file was given; give --train, --text, or both")
    if "train" not in files and files.keys() != {"text"}:
        raise ConfigError("--dev and --test need --train; name the training sentences")
    config = _text_config(language, tokenizer)
    seen = _inspected({path: split == "text" for split, path in files.items()}, {"text": config})
    if len(seen) < len(files):
        raise typer.Exit(FAILED)
    lines = [f"# {path}: {_described(one)}" for path, one in zip(files.values(), seen, strict=True)]
    body = settings(seen, text=config, splits={path: split for split, path in files.items()}, name=to.stem)
    advice = "# The choice of a language model for little or much text: docs/language-models.md\n" * ("text" in files)
    to.write_text("\n".join(lines) + f"\n{body}{advice}", encoding="utf-8")
    console.print(f"{to}: written; next: taglm doctor {to}, taglm ingest {to}, taglm run {to}", soft_wrap=True)


def _text_config(language: str, tokenizer: str) -> TextConfig:
    try:
        return TextConfig.model_validate({"language": language, "tokenizer": tokenizer})
    except ValueError as error:
        raise ConfigError(f"--language {language}, --tokenizer {tokenizer}: {error}") from None


def _inspected(files: Mapping[str, bool | None], chosen: dict[str, Any]) -> list[Inspected]:
    """Look at files; say why one cannot be read, and go on with the next.

    Args:
        files: whether each is text; None finds out.
        chosen: how they are read.
    """
    from taglm_core.analysis.inspecting import inspect_files
    from taglm_core.corpus.paths import resolve_files
    from taglm_core.formats.labelled import LabelledReading

    reading, seen = LabelledReading(**{"format": LabelledFormat.AUTO, **chosen}), []
    for name, text in files.items():
        try:
            seen.append(inspect_files(name, resolve_files(name), reading, text=text))
        except TagLMError as error:
            said = str(error)
            console.print(Text(said if said.startswith(name) else f"{name}: {said}", "red"), soft_wrap=True)
    return seen


def _described(one: Inspected) -> str:
    kind = f"labelled, {one.format}, tag scheme {one.scheme}" if one.labelled else f"text, {one.format}"
    more = "" if one.whole else "more than "
    return f"{kind}, {more}{one.facts.sentences:,} sentences, {more}{one.facts.tokens:,} tokens"


def settings(
    seen: Sequence[Inspected], *, offsets: OffsetUnit = OffsetUnit.CHARACTERS,
    misaligned: Misaligned = Misaligned.REFUSE, text: TextConfig | None = None,
    splits: Mapping[str, str] | None = None, name: str = "mine",
) -> str:  # fmt: skip
    """Return an experiment of the files in YAML, with the settings that differ from the defaults.

    Args:
        seen: the files.
        offsets: as `labelled.offsets`.
        misaligned: as `labelled.misaligned`.
        text: language and tokenizer.
        splits: split of each file by its name; guessed by the names if not given.
        name: name of the experiment.
    """
    labelled, given = [one for one in seen if one.labelled], text or TextConfig()
    unlabelled = [one for one in seen if not one.labelled]
    data: dict[str, Any] = {"name": name}
    if labelled:
        section = data["labelled"] = _splits(labelled, splits or {})
        if labelled[0].format not in (LabelledFormat.CONLL, LabelledFormat.AUTO):
            section["format"] = labelled[0].format
        section |= {} if offsets is OffsetUnit.CHARACTERS else {"offsets": str(offsets)}
        section |= {} if misaligned is Misaligned.REFUSE else {"misaligned": str(misaligned)}
    if unlabelled:
        one = unlabelled[0]
        raw = any(finding.name == "text-not-tokenised" for finding in one.findings)
        kind = "documents" if raw and one.format == TextFormat.TOKENISED else one.format
        data["unlabelled"] = {"name": name, "path": one.name}
        data["unlabelled"] |= {} if kind == TextFormat.TOKENISED else {"format": kind}
    elif labelled:
        data["variants"] = [{"name": "baseline"}]
    changed = given.model_dump(mode="json", exclude_defaults=True)
    data |= {"text": changed} if changed else {}
    Experiment.model_validate(data)
    lines = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    if any(one.refused for one in labelled):
        lines += "# labelled.misaligned: widen or drop, or correct the spans that are listed above\n"
    return lines


def _splits(labelled: Sequence[Inspected], splits: Mapping[str, str]) -> dict[str, Any]:
    """Return the paths of the splits, guessed by their names where not given; else dev is a tenth of train."""
    found: dict[str, Any] = {}
    for one in labelled:
        name = one.name.rstrip("/").rpartition("/")[2].lower()
        guess = splits.get(one.name) or next(
            (split for split, pattern in _GUESSES if re.search(pattern, name)), "train"
        )
        found.setdefault(guess, one.name)
    if "train" not in found:
        found["train"] = labelled[0].name
        found = {split: path for split, path in found.items() if split == "train" or path != labelled[0].name}
    section = {"train": found["train"]}
    if "dev" in found:
        section["dev"] = found["dev"]
    else:
        count = next(one.facts.sentences for one in labelled if one.name == found["train"])
        section["dev_sentences"] = max(1, count // 10)
    return {**section, "test": found.get("test")}


def _show(one: Inspected) -> None:
    facts = one.facts
    table = Table(title=f"\n{one.name}", title_justify="left", title_style="bold", show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    kinds = list((facts.entities or {}).items())
    more = f" and {len(kinds) - MOST_TYPES} more types" if len(kinds) > MOST_TYPES else ""
    entities = ", ".join(f"{kind} {count:,}" for kind, count in kinds[:MOST_TYPES]) + more
    counted = "" if one.whole else " (the first ones; the rest was not read)"
    median, most, longest = one.lengths
    rows = [
        ("format", f"{'labelled' if one.labelled else 'unlabelled text'}, {one.format}"),
        ("tag scheme", one.scheme), ("documents", f"{one.documents:,}"),
        ("sentences", f"{facts.sentences:,}{counted}"),
        ("tokens", f"{facts.tokens:,}, {facts.types:,} different"),
        ("tokens a sentence", f"median {median}, 95 % have at most {most}, longest {longest}"),
        ("entities", entities if one.labelled else ""),
    ]  # fmt: skip
    for name, value in rows:
        if value:
            table.add_row(name, Text(value))
    console.print(table)
    for note in (*one.notes, *([one.refused] if one.refused else [])):
        console.print(Text(note, "yellow"), soft_wrap=True)
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
