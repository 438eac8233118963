"""Sentences for annotators: the least certain ones, once each, in the form that their tools import."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from flows.cli import app
from flows.cli_failures import BAD_ROWS
from taglm import Tagger
from taglm_core.config.data import LabelledFormat, OffsetUnit
from taglm_core.corpus.schemes import to_spans
from taglm_core.errors import ConfigError
from taglm_core.formats.labelled import LabelledReading, read_labelled
from tasks import suggesting
from tasks.predicting.rows import Row
from tests.exports import tiny_export

WORDS = ["Anna", "saw", "Rome", "and", "Bert", "met", "Carla", "in", "New", "York", "with", "Emil", "'s", "dog"]
TEXTS = [" ".join(WORDS[n : n + 3 + n % 4]) + " ." for n in range(10)] + ["Zoë 😀 met Bert in Rome ."]


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_export(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def tagger(export: Path) -> Tagger:
    return Tagger.load(export)


def rows(texts: list[str]) -> list[Row]:
    return [Row("in.txt", number, text) for number, text in enumerate(texts, 1)]


def run(export: Path, *arguments: object, status: int = 0) -> Result:
    done = CliRunner().invoke(app, ["suggest", str(export), *map(str, arguments)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == status, done.output
    return done


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_text("".join(f"{json.dumps({'text': text})}\n" for text in TEXTS), encoding="utf-8")
    return path


def test_the_least_certain_come_first(tagger: Tagger, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the posterior of the best tags, divided by the length, of each sentence alone; also with a small reserve."""
    alone = {text: tagger.analyse(text, n_best=1)[0] for text in TEXTS}
    chances = {text: math.log(found.paths[0][1]) / len(found.tokens) for text, found in alone.items()}
    wanted = sorted(TEXTS, key=lambda text: chances[text])
    monkeypatch.setattr(suggesting, "ALIKE", 2.0)
    found = suggesting.suggest(tagger, rows(TEXTS), len(TEXTS))
    assert [one.text for one in found] == wanted
    assert [one.certainty for one in found] == pytest.approx([chances[text] for text in wanted], abs=1e-5)
    assert [TEXTS[one.row - 1] for one in found] == wanted
    monkeypatch.setattr(suggesting, "RESERVE", 1)
    assert [one.text for one in suggesting.suggest(tagger, rows(TEXTS), 4)] == wanted[:4]


def test_duplicates_lengths_and_known_sentences_are_left_out(tagger: Tagger) -> None:
    """In any case of letters, and what shares four fifths of its words."""
    long = " ".join(WORDS[:10])
    found = suggesting.suggest(tagger, rows([long, long.upper(), f"{long} .", "Bert saw Carla", "Anna met"]), 10)
    assert {one.tokens[:2] for one in found} >= {("Bert", "saw")}
    assert len(found) == 2
    known = [("bert", "saw", "carla")]
    assert len(suggesting.suggest(tagger, rows([long, "Bert saw Carla"]), 10, known=known)) == 1
    assert len(suggesting.suggest(tagger, rows([long, "Bert saw Carla"]), 10, longest=5)) == 1
    assert suggesting.suggest(tagger, [], 3) == []


@pytest.mark.parametrize("tool", suggesting.Tool)
def test_the_tools_form_is_read_back(tool: suggesting.Tool, export: Path, tagger: Tagger, text: Path) -> None:
    """What an annotator accepts as it is becomes the sentences and spans that were suggested."""
    target = text.with_name("out.json")
    run(export, text, "--count", 50, "--for", tool, "--to", target)
    suggested = suggesting.suggest(tagger, [Row(str(text), n, each) for n, each in enumerate(TEXTS, 1)], 50)
    assert target.read_text(encoding="utf-8") == suggesting.written(suggested, tool, "tiny/tagger")
    assert sum(len(one.entities) for one in suggested) > 5
    if tool is suggesting.Tool.LABEL_STUDIO:
        tasks: list[dict[str, Any]] = json.loads(target.read_text(encoding="utf-8"))
        accepted = [{**task, "annotations": [{"result": task["predictions"][0]["result"]}]} for task in tasks]
        target.write_text(json.dumps(accepted), encoding="utf-8")
    unit = OffsetUnit.UTF16 if tool is suggesting.Tool.LABEL_STUDIO else OffsetUnit.CHARACTERS
    found = read_labelled(
        [target], LabelledReading(format=LabelledFormat.AUTO, offsets=unit, tokenizer=tagger.index.text)
    )
    spans = [
        [(" ".join(tokens[span.start : span.end]), span.type) for span in to_spans(tags)]
        for tokens, tags in zip(found.tokens, found.tags, strict=True)
    ]
    expected = [[(one.text[start:end], label) for start, end, label in one.entities] for one in suggested]
    assert spans == expected


def test_bad_rows_are_named_and_files_are_kept(export: Path, text: Path) -> None:
    """The rest is suggested; a file that may hold labels is never overwritten."""
    text.write_text(text.read_text(encoding="utf-8") + "no json\n", encoding="utf-8")
    done = run(export, text, "--count", 3, status=BAD_ROWS)
    assert f"{text}:{len(TEXTS) + 1}: found no JSON" in done.stderr
    assert len(done.stdout.splitlines()) == 3
    labelled = text.with_name("known.conll")
    labelled.write_text("".join("".join(f"{word} O\n" for word in each.split()) + "\n" for each in TEXTS[:9]))
    assert "2 sentences (50 were asked for" in run(
        export, text, "--count", 50, "--not", labelled, status=BAD_ROWS
    ).stderr.replace("\n", " ")
    with pytest.raises(ConfigError, match="may hold somebody's labels"):
        run(export, text, "--to", labelled)
    with pytest.raises(ConfigError, match="doccano, label-studio, prodigy"):
        run(export, text, "--for", "brat")
