"""Files are seen as ingest reads them, and the settings that are shown or written read them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from flows.cli import app
from taglm_core.config.data import LabelledFormat
from taglm_core.config.experiment import Experiment
from taglm_core.config.load import load_experiment
from taglm_core.corpus.parquet import read_corpus
from taglm_core.corpus.paths import resolve_files
from taglm_core.corpus.schemes import to_spans
from taglm_core.errors import ConfigError
from taglm_core.formats.labelled import LabelledReading, read_labelled
from taglm_core.pipeline.context import PipelineContext
from tests.building import build_up_to
from tests.formats import samples

CONLL = "Anna B-PER\nSmith I-PER\nleft O\nRome B-LOC\n\nNo O\none O\n\n"


def run(*arguments: object, stdin: str = "", status: int = 0) -> str:
    """Run the command in this process; return what it prints."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin, env={"COLUMNS": "300"})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == status, done.output
    return str(done.output)


def shown_settings(output: str) -> dict[str, Any]:
    """The settings below the tables."""
    found: dict[str, Any] = yaml.safe_load(output.partition("by the names of the files)")[2])
    return found


def made(settings: dict[str, Any], store: Path) -> list[list[tuple[str, str]]]:
    """Ingest the settings; return the entities of the sentences of all splits, in any order."""
    experiment = Experiment.model_validate({**settings, "run": {"store": store, "tracking": False}})
    found = []
    for split in experiment.splits:
        ref = build_up_to(experiment, f"corpus/{split}")[f"corpus/{split}"]
        for one in read_corpus(PipelineContext.resolve(experiment).store.folder(ref)):
            found.append(
                [(" ".join(one.tokens[span.start : span.end]), span.type) for span in to_spans(one.tags or ())]
            )
    return sorted(found)


def write_conll(path: Path) -> None:
    path.write_text(CONLL)


def write_lines(records: Callable[[], list[dict[str, Any]]]) -> Callable[[Path], object]:
    return lambda path: path.write_text(samples.json_lines(records()), encoding="utf-8")


def write_folder(path: Path) -> None:
    path.mkdir()
    samples.write_brat(path)


@pytest.mark.parametrize(
    ("name", "write", "kind"),
    [
        ("a.conll", write_conll, "conll"),
        ("doccano.jsonl", write_lines(samples.doccano), "jsonl"),
        ("studio.json", lambda path: path.write_text(json.dumps(samples.label_studio())), "jsonl"),
        ("prodigy.jsonl", write_lines(samples.prodigy), "jsonl"),
        ("brat", write_folder, "brat"),
        ("a.conllu", lambda path: path.write_text(samples.conllu() * 2, encoding="utf-8"), "conllu"),
        ("a.parquet", lambda path: samples.write_table(path, samples.table()), "parquet"),
    ],
)
def test_settings_give_the_corpus_that_was_shown(
    name: str, write: Callable[[Path], object], kind: str, tmp_path: Path
) -> None:
    """The printed experiment is ingested as it stands, with the same sentences and entities as the reader gives."""
    write(tmp_path / name)
    output = run("inspect", tmp_path / name)
    assert f"labelled, {kind}" in output
    assert "]PER" in output
    found = read_labelled(resolve_files(tmp_path / name), LabelledReading(format=LabelledFormat(kind)))
    expected = sorted(
        [(" ".join(tokens[span.start : span.end]), span.type) for span in to_spans(tags)]
        for tokens, tags in zip(found.tokens, found.tags, strict=True)
    )
    assert sum(map(len, expected)) >= 2
    assert made(shown_settings(output), tmp_path / "store") == expected


def test_columns_are_set_and_written(tmp_path: Path) -> None:
    """`--set labelled.columns` reads another column, and stands in the settings, beside other settings."""
    (tmp_path / "a.conll").write_text("Anna B-PER x\nleft O x\nRome B-LOC x\n\n" * 3)
    output = run("inspect", tmp_path / "a.conll", "--set", "labelled.columns.tag=1", "--set", "seeds=[1, 2]")
    assert "word: first, tag: 1" in output
    settings = shown_settings(output)
    assert (settings["labelled"]["columns"], settings["seeds"]) == ({"tag": 1}, [1, 2])
    assert made(settings, tmp_path / "store") == [[("Anna", "PER"), ("Rome", "LOC")]] * 3
    with pytest.raises(ConfigError, match="columns"):
        run("inspect", tmp_path / "a.conll", "--set", "labelled.colums.tag=1")


def test_what_is_no_part_of_the_settings_is_said(tmp_path: Path) -> None:
    """A second file of a split is named; splits of two formats give no settings."""
    for name in ("a.conll", "b.conll"):
        (tmp_path / name).write_text(CONLL)
    output = run("inspect", tmp_path / "a.conll", tmp_path / "b.conll")
    assert f"# not in these settings: {tmp_path / 'b.conll'}" in output
    (tmp_path / "dev.jsonl").write_text(samples.json_lines(samples.doccano()))
    output = run("inspect", tmp_path / "a.conll", tmp_path / "dev.jsonl")
    assert "no settings" in output
    assert "is conll, but" in output
    with pytest.raises(ConfigError, match=r"is conll, but .*dev.jsonl is jsonl"):
        run("init", "--train", tmp_path / "a.conll", "--dev", tmp_path / "dev.jsonl", "--to", tmp_path / "x.yaml")
    assert not (tmp_path / "x.yaml").exists()


def test_lengths_and_files_of_sentences(tmp_path: Path) -> None:
    """The 95th percentile is a length that 95 % of the sentences have at most; packed files are said."""
    lengths = range(1, 31)
    with gzip.open(tmp_path / "a.gz", "wt") as file:
        file.write("".join(f"{'Anna ' * length}\n" for length in lengths))
    output = run("inspect", tmp_path / "a.gz", "--text")
    assert "95 % have at most 29, longest 30" in output
    assert "gzip" in output


def test_text_is_told_from_labels(tmp_path: Path) -> None:
    """Tokenised and raw plain text, and JSON lines with a text and no labels."""
    for line in ("It is here .\nYes , it is .\n", "It was here .\n"):  # also of equal width
        (tmp_path / "tokenised.txt").write_text(line * 20)
        assert "unlabelled text, tokenised" in run("inspect", tmp_path / "tokenised.txt")
    (tmp_path / "raw.txt").write_text("It is here, I say. Yes, it is.\nAnd he, too, is well.\n" * 60)
    output = run("inspect", tmp_path / "raw.txt")
    assert "unlabelled text, documents (plain text whose words end in commas" in output
    assert "  It is here , I say ." in output
    assert shown_settings(output)["unlabelled"]["format"] == "documents"
    (tmp_path / "rows.jsonl").write_text('{"id": 1, "text": "It is here. He left."}\n' * 20)
    output = run("inspect", tmp_path / "rows.jsonl")
    assert "unlabelled text, jsonl" in output
    assert "  He left ." in output


def test_odd_spans_are_listed_with_the_choice(tmp_path: Path) -> None:
    """What ingest would refuse is shown, and the rest beside it."""
    rows = [{"text": "Alice left Berlin.", "label": [[0, 3, "PER"], [11, 17, "LOC"]]}] * 3
    (tmp_path / "a.jsonl").write_text(samples.json_lines(rows))
    output = run("inspect", tmp_path / "a.jsonl")
    assert "a.jsonl:1" in output
    assert "labelled.misaligned=widen" in output
    assert "[Berlin]LOC" in output
    widen = ("--set", "labelled.misaligned=widen")
    output = run("inspect", tmp_path / "a.jsonl", *widen)
    assert "[Alice]PER" in output
    assert shown_settings(output)["labelled"]["misaligned"] == "widen"
    target = tmp_path / "mine.yaml"
    with pytest.raises(ConfigError, match="nothing was written"):
        run("init", "--train", tmp_path / "a.jsonl", "--to", target)
    assert not target.exists()
    run("init", "--train", tmp_path / "a.jsonl", "--to", target, *widen)
    assert load_experiment(target).labelled == Experiment.model_validate(shown_settings(output)).labelled


def test_a_file_that_cannot_be_read_hides_no_other(tmp_path: Path) -> None:
    """It is named with its remedy, and the exit status tells."""
    (tmp_path / "a.conll").write_text(CONLL)
    output = run("inspect", tmp_path / "missing", tmp_path / "a.conll", status=1)
    assert "missing" in output
    assert "labelled, conll" in output


def test_init_writes_an_experiment_that_plans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By options and by answers; a file that is there is kept."""
    monkeypatch.chdir(tmp_path)
    for split in ("train", "dev"):
        Path(f"{split}.conll").write_text(CONLL * 3)
    Path("text.txt").write_text("It is here .\n" * 30)
    run("init", "--train", "train.conll", "--dev", "dev.conll", "--text", "text.txt")
    written = Path("mine.yaml").read_text()
    assert "  train: train.conll  # conll, 6 sentences, 18 tokens, 2 entity types\n" in written
    experiment = load_experiment(Path("mine.yaml"), ["run.store=store"])
    assert experiment.labelled is not None
    assert (experiment.labelled.dev, experiment.labelled.test) == ("dev.conll", None)
    assert "corpus/text" in PipelineContext.resolve(experiment).graph
    assert experiment.language_models["main"].steps == 1  # 120 tokens
    assert experiment.tagger_of(experiment.variants[1]).lm.dropout == 0.5
    with pytest.raises(ConfigError, match=r"same file train\.conll"):
        run("init", "--train", "train.conll", "--dev", "train.conll", "--to", "fourth.yaml")
    with pytest.raises(ConfigError, match="--force"):
        run("init", "--train", "train.conll")
    run("init", "--to", "other.yaml", stdin="train.conll\n\n\n\n")
    other = load_experiment(Path("other.yaml"))
    assert other.labelled is not None
    assert other.labelled.dev_sentences == 1
    assert other.unlabelled is None
    with pytest.raises(ConfigError, match="no file"):
        run("init", "--to", "third.yaml", stdin="\n\n\n\n")
