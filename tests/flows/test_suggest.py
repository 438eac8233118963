"""Sentences for annotators: the least certain ones, once each, in the form that their tools import."""

from __future__ import annotations

import itertools
import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from flows.cli import app
from flows.cli_failures import BAD_ROWS
from taglm import Tagger
from taglm_core.config.data import LabelledFormat, OffsetUnit
from taglm_core.config.experiment import Experiment
from taglm_core.corpus.parquet import read_corpus
from taglm_core.corpus.schemes import to_spans
from taglm_core.errors import ConfigError
from taglm_core.formats.labelled import LabelledReading, read_labelled
from taglm_core.pipeline.context import PipelineContext
from tasks import suggesting
from tasks.predicting.rows import Limits, Row
from tests.building import build_up_to
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
    found = suggesting.suggest(tagger, rows(TEXTS), len(TEXTS))
    assert [one.text for one in found] == wanted
    assert [one.certainty for one in found] == pytest.approx([chances[text] for text in wanted], abs=1e-5)
    assert [TEXTS[one.row - 1] for one in found] == wanted
    monkeypatch.setattr(suggesting, "RESERVE", 1)
    assert [one.text for one in suggesting.suggest(tagger, rows(TEXTS), 4)] == wanted[:4]


def test_lengths_and_known_sentences_are_left_out(tagger: Tagger) -> None:
    """What is like a known sentence is left out, too."""
    long = " ".join(WORDS[:10])
    found = suggesting.suggest(tagger, rows([long, "Bert saw Carla", "Anna met"]), 10)
    assert sorted(one.text for one in found) == sorted([long, "Bert saw Carla"])
    for known, left in (
        (("bert", "saw", "carla"), long), (("saw", "Carla", "BERT"), long), (tuple(WORDS[:9]), "Bert saw Carla")
    ):  # fmt: skip
        found = suggesting.suggest(tagger, rows([long, "Bert saw Carla"]), 10, known=[known])
        assert [one.text for one in found] == [left]
    assert len(suggesting.suggest(tagger, rows([long, "Bert saw Carla"]), 10, longest=5)) == 1
    assert suggesting.suggest(tagger, [], 3) == []


def test_of_sentences_that_are_alike_the_least_certain_comes(tagger: Tagger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever their order; in any case of letters; and many that are alike take no place of others."""
    monkeypatch.setattr(suggesting, "RESERVE", 1)
    base = WORDS[:10]
    alike = [" ".join(base), " ".join(base).upper(), " ".join([*base, "."]), " ".join(base[:9])]
    certainty = {text: suggesting.suggest(tagger, rows([text]), 1)[0].certainty for text in alike}
    least = min(alike, key=lambda text: certainty[text])
    assert len(set(certainty.values())) > 1
    for order in itertools.permutations(alike):
        assert [one.text for one in suggesting.suggest(tagger, rows(list(order)), 3)] == [least]
    many = [" ".join([*WORDS[:9], f"x{n}"]) for n in range(30)]
    others = ["Bert saw Carla", "the dog 's in New York"]
    found = suggesting.suggest(tagger, rows([*many, *others]), 3)
    assert {one.text for one in found} > set(others)
    assert len(found) == 3


def test_alike_is_what_comparing_all_pairs_finds() -> None:
    """Sets that share 80 % of their words, found through rare words, on random sets."""
    draw = random.Random(1)
    sets, all_sets = suggesting._WordSets(), dict[int, frozenset[str]]()
    for number in range(400):
        words = frozenset(draw.sample("abcdefghijkl", draw.randint(1, 11)))
        expected = [n for n, other in all_sets.items() if 5 * len(words & other) >= 4 * len(words | other)]
        assert sets.alike(words) == expected
        all_sets[number] = words
        sets.add(number, words)
        if number % 3 == 0:
            gone = draw.choice(list(all_sets))
            del all_sets[gone]
            sets.remove(gone)


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


@pytest.mark.parametrize("tool", suggesting.Tool)
def test_tokens_that_were_given_are_kept(tool: suggesting.Tool, export: Path, tmp_path: Path) -> None:
    """Words that the tokenizer would cut, and marks that end no sentence, are read back as they were."""
    given = [("Anna", "saw", "New York", "U.S.A.-based", "dog's", "."), ("Bert", ".", "Carla", "met", "can't")]
    (tmp_path / "in.jsonl").write_text("".join(f"{json.dumps({'words': words})}\n" for words in given))
    target = tmp_path / "out.json"
    run(export, tmp_path / "in.jsonl", "--column", "words", "--for", tool, "--to", target)
    if tool is suggesting.Tool.LABEL_STUDIO:
        tasks = json.loads(target.read_text(encoding="utf-8"))
        target.write_text(json.dumps([{**task, "annotations": [task["predictions"][0]]} for task in tasks]))
    found = read_labelled([target], LabelledReading(format=LabelledFormat.AUTO))
    assert sorted(found.tokens) == sorted(given)


def test_the_same_bytes_and_labels_that_ingest_reads(export: Path, text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice the same file, whatever the blocks; and `labelled.train` takes it as it is."""
    target = text.with_name("next.jsonl")
    run(export, text, "--count", 50, "--to", target)
    again = run(export, text, "--count", 50).stdout
    monkeypatch.setattr(suggesting, "_BLOCK", Limits(rows=2, characters=500_000))
    assert target.read_text(encoding="utf-8") == again == run(export, text, "--count", 50).stdout
    experiment = Experiment.model_validate({
        "name": "loop", "labelled": {"train": str(target), "dev_sentences": 2, "test": None},
        "variants": [{"name": "baseline"}], "run": {"store": text.with_name("store"), "tracking": False},
    })  # fmt: skip
    refs = build_up_to(experiment, "corpus/train-source")
    stored = read_corpus(PipelineContext.resolve(experiment).store.folder(refs["corpus/train-source"]))
    spans = [[" ".join(one.tokens[s.start : s.end]) for s in to_spans(one.tags or ())] for one in stored]
    records = [json.loads(line) for line in again.splitlines()]
    assert spans == [[one["text"][start:end] for start, end, _ in one["label"]] for one in records]


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
