"""The corpora of an experiment as they were read: rows, findings with file and line, what stops a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from taglm_core.analysis.corpora import CorpusReport, refuse_meaningless, report_corpora
from taglm_core.config.data import FindingName
from taglm_core.config.load import load_experiment
from taglm_core.errors import CorpusRefused
from taglm_core.pipeline.context import PipelineContext
from tests.building import build_up_to

SPLITS = ("train", "dev", "test")


def conll(split: str, last: str = "B-LOC", count: int = 40) -> str:
    """Sentences of three columns: word, phrase, entity."""
    return "".join(f"Ann B-NP B-PER\nsaw B-VP O\n{split}{number} B-NP {last}\n\n" for number in range(count))


def report(folder: Path, files: dict[str, str], *overrides: str, text: str | None = None) -> CorpusReport:
    """What is said of these files once they are stored."""
    for name, content in files.items():
        (folder / name).write_text(content)
    sources = [f"labelled.{split}={folder / split}" for split in SPLITS] + ["variants=[{name: baseline}]"]
    if text is not None:
        (folder / "text").write_text(text)
        sources.append(f"unlabelled.path={folder / 'text'}")
    experiment = load_experiment(None, [*sources, f"run.store={folder / 'store'}", *overrides])
    return report_corpora(PipelineContext.resolve(experiment), build_up_to(experiment, "statistics"))


def test_rows_show_how_the_files_were_read(tmp_path: Path) -> None:
    """Counts, types, scheme, columns and the first sentence, one row a split; nothing is suspicious."""
    found = report(tmp_path, {split: conll(split) for split in SPLITS})
    assert found.findings == ()
    train = found.rows[0]
    assert (train.split, train.sentences, train.tokens) == ("train", 40, 120)
    assert (train.entities, train.scheme, train.columns) == ({"LOC": 40, "PER": 40}, "iob2", "word 0, tag -1")
    assert train.first == "Ann/B-PER saw train0/B-LOC"
    assert train.source == str(tmp_path / "train")


def test_what_is_not_stored_yet_has_a_row_without_figures(tmp_path: Path) -> None:
    """Before the first ingest the sources are shown, and nothing is judged."""
    experiment = load_experiment(None, [f"run.store={tmp_path / 'store'}"])
    found = report_corpora(PipelineContext.resolve(experiment), {})
    assert [(row.split, row.source, row.sentences) for row in found.rows] == [
        (split, f"demo:{split}", None) for split in (*SPLITS, "text")
    ]
    assert found.findings == ()


def test_a_finding_names_file_and_line(tmp_path: Path) -> None:
    """A type that only the test file has: its first sentence, wherever it stands."""
    files = {split: conll(split) for split in SPLITS}
    found = report(tmp_path, files | {"test": conll("test") + conll("more", "B-Ort", 2)})
    assert [(one.name, one.where) for one in found.findings] == [
        (FindingName.UNKNOWN_TYPES, f"{tmp_path / 'test'}:161")
    ]


def test_another_column_that_holds_the_tags_stops_the_run(tmp_path: Path) -> None:
    """The last column is nearly empty: the other one is named, and choosing a column settles it."""
    nested = conll("train", "O").replace("B-PER", "O") + "Rome B-NP B-LOC\n\n"
    files = {"train": nested, "dev": conll("dev"), "test": conll("test")}
    stopped = report(tmp_path, files).stopping
    assert [one.name for one in stopped] == [FindingName.OTHER_COLUMN]
    assert "labelled.columns.tag=1" in stopped[0].remedy
    assert report(tmp_path, files, "labelled.columns.tag=2").stopping == ()


def test_what_is_accepted_is_not_said_and_changes_no_object(tmp_path: Path) -> None:
    """`accept` lets a finding pass and enters no recipe; without it the run stops, with the setting in its message."""
    files = dict.fromkeys(SPLITS, conll("same"))
    found = report(tmp_path, files)
    with pytest.raises(CorpusRefused, match=r"labelled\.accept=\[same-sentences\]"):
        refuse_meaningless(found)
    before = set((tmp_path / "store" / "keys").rglob("*.json"))
    accepted = report(tmp_path, files, "labelled.accept=[same-sentences]")
    assert accepted.findings == ()
    assert set((tmp_path / "store" / "keys").rglob("*.json")) == before


def test_findings_of_the_text_are_accepted_by_the_text(tmp_path: Path) -> None:
    """JSON lines as text stop the run at their file, unless unlabelled.accept says that they may."""
    files = {split: conll(split) for split in SPLITS}
    found = report(tmp_path, files, "unlabelled.format=tokenised", text='{"text": "A b"}\n' * 9)
    assert (found.stopping[0].name, found.stopping[0].where) == (FindingName.TEXT_IS_JSON, str(tmp_path / "text"))
    accepted = report(
        tmp_path, files, "unlabelled.format=tokenised", "unlabelled.accept=[text-is-json]", text='{"text": "A b"}\n' * 9
    )
    assert FindingName.TEXT_IS_JSON not in {one.name for one in accepted.findings}
