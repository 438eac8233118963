"""Files are seen as ingest reads them, and the settings that are shown or written read them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from flows.cli import app
from taglm_core.config.experiment import Experiment
from taglm_core.config.load import load_experiment
from taglm_core.errors import ConfigError
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


def lines(records: Callable[[], list[dict[str, Any]]]) -> str:
    return samples.json_lines(records())


@pytest.mark.parametrize(
    ("name", "content", "kind", "entities"),
    [
        ("a.conll", CONLL, "conll", 2),
        ("doccano.jsonl", lines(samples.doccano), "jsonl", samples.ENTITIES),
        ("studio.json", json.dumps(samples.label_studio()), "jsonl", samples.ENTITIES),
        ("prodigy.jsonl", lines(samples.prodigy), "jsonl", samples.ENTITIES),
    ],
)
def test_settings_give_the_corpus_that_was_shown(
    name: str, content: str, kind: str, entities: int, tmp_path: Path
) -> None:
    """The printed experiment is ingested, with the same entities."""
    (tmp_path / name).write_text(content, encoding="utf-8")
    output = run("inspect", tmp_path / name)
    assert f"labelled, {kind}" in output
    assert "[Alice Smith]PER" in output or "[Anna Smith]PER" in output
    settings = shown_settings(output)
    experiment = Experiment.model_validate({**settings, "run": {"store": tmp_path / "store", "tracking": False}})
    refs = build_up_to(experiment, "corpus/train")
    folder = PipelineContext.resolve(experiment).store.folder(refs["corpus/train"])
    drawn = json.loads((folder / "counts.json").read_text())["entities_total"]
    dev = PipelineContext.resolve(experiment).store.folder(build_up_to(experiment, "corpus/dev")["corpus/dev"])
    assert drawn + json.loads((dev / "counts.json").read_text())["entities_total"] == entities


def test_folders_and_tables_are_seen(tmp_path: Path) -> None:
    """A brat folder, CoNLL-U with a tag in MISC, and a table with numbers for tags."""
    (tmp_path / "brat").mkdir()
    samples.write_brat(tmp_path / "brat")
    (tmp_path / "a.conllu").write_text(samples.conllu(), encoding="utf-8")
    samples.write_table(tmp_path / "a.parquet", samples.table())
    for name, kind in (("brat", "brat"), ("a.conllu", "conllu"), ("a.parquet", "parquet")):
        output = run("inspect", tmp_path / name)
        assert f"labelled, {kind}" in output
        assert "]PER" in output
        assert shown_settings(output)["labelled"]["format"] == kind


def test_text_is_told_from_labels(tmp_path: Path) -> None:
    """Tokenised and raw plain text, and JSON lines with a text and no labels."""
    (tmp_path / "tokenised.txt").write_text("It is here .\nYes , it is .\n" * 20)
    assert "unlabelled text, tokenised" in run("inspect", tmp_path / "tokenised.txt")
    (tmp_path / "raw.txt").write_text("It is here, I say. Yes, it is.\nAnd he, too, is well.\n" * 60)
    output = run("inspect", tmp_path / "raw.txt")
    assert "text-not-tokenised" in output
    assert shown_settings(output)["unlabelled"]["format"] == "documents"
    (tmp_path / "rows.jsonl").write_text('{"id": 1, "text": "It is here. He left."}\n' * 20)
    output = run("inspect", tmp_path / "rows.jsonl")
    assert shown_settings(output)["unlabelled"]["format"] == "jsonl"
    assert "  He left ." in output


def test_odd_spans_are_listed_with_the_choice(tmp_path: Path) -> None:
    """What ingest would refuse is shown, and the rest beside it."""
    rows = [{"text": "Alice left Berlin.", "label": [[0, 3, "PER"], [11, 17, "LOC"]]}] * 3
    (tmp_path / "a.jsonl").write_text(samples.json_lines(rows))
    output = run("inspect", tmp_path / "a.jsonl")
    assert "a.jsonl:1" in output
    assert "labelled.misaligned: widen or drop" in output
    assert "[Berlin]LOC" in output
    assert "[Alice]PER" in run("inspect", tmp_path / "a.jsonl", "--misaligned", "widen")


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
    assert written.startswith("# train.conll: labelled, conll, tag scheme iob2, 6 sentences, 18 tokens\n")
    experiment = load_experiment(Path("mine.yaml"), ["run.store=store"])
    assert experiment.labelled is not None
    assert (experiment.labelled.dev, experiment.labelled.test) == ("dev.conll", None)
    assert "corpus/text" in PipelineContext.resolve(experiment).graph
    with pytest.raises(ConfigError, match="--force"):
        run("init", "--train", "train.conll")
    run("init", "--to", "other.yaml", stdin="train.conll\n\n\n\n")
    other = load_experiment(Path("other.yaml"))
    assert other.labelled is not None
    assert other.labelled.dev_sentences == 1
    assert other.unlabelled is None
    with pytest.raises(ConfigError, match="no file"):
        run("init", "--to", "third.yaml", stdin="\n\n\n\n")
