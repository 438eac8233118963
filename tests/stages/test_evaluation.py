"""An evaluation holds all the tokens of its split, or there is none."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from taglm_core.config.load import load_experiment
from taglm_core.errors import MismatchError
from taglm_core.evaluation import evaluated
from taglm_core.evaluation.predictions import Predictions, write_predictions
from taglm_core.pipeline.graph import evaluation_name, tagger_name, train_only_name
from taglm_core.store.store import Store
from tests.building import build_up_to

SMALL = ["demo.train_sentences=5", "demo.dev_sentences=5", "demo.test_sentences=5", "variants=[{name: baseline}]",
         "seeds=[1]", "tagger={units: [4, 4], max_epochs: 1, annealing: []}"]  # fmt: skip


def test_gold_tokens_in_are_predicted_tokens_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that is lost on the way to the file is found before the object is published."""

    def lossy(path: Path, predictions: Predictions) -> None:
        columns = {name: [row[:-1] for row in getattr(predictions, name)] for name in ("tokens", "gold", "predicted")}
        write_predictions(path, replace(predictions, confidence=None, span_confidence=None, **columns))

    monkeypatch.setattr(evaluated, "write_predictions", lossy)
    experiment = load_experiment(None, [*SMALL, f"run.store={tmp_path / 'store'}"])
    with pytest.raises(MismatchError, match="sentence 0, found"):
        build_up_to(experiment, evaluation_name("baseline", 1, "test"))
    assert not list((tmp_path / "store" / "objects").glob("evaluation/*"))


def test_a_tagger_on_train_and_dev(tmp_path: Path) -> None:
    """It learns from both splits over the epochs found on train, and its dev F1 is that of the tagger on train."""
    small = [setting for setting in SMALL if not setting.startswith("tagger")]
    tagger = "tagger={units: [4, 4], max_epochs: 3, patience: 1, annealing: [{learning_rate: 1.0e-4, epochs: 1}], \
train_on: train+dev}"
    experiment = load_experiment(None, [*small, tagger, f"run.store={tmp_path / 'store'}"])
    store, last = Store(experiment.run.store), tagger_name("baseline", 1)
    refs = build_up_to(experiment, last)
    (alone, its), (both, all_of) = (
        (store.manifest("tagger", ref.digest), json.loads((store.open(ref).path / "config.json").read_text()))
        for ref in (refs[train_only_name("baseline", 1)], refs[last])
    )
    assert (alone.counts["train_sentences"], both.counts["train_sentences"]) == (5, 10)
    assert both.counts["words"] > alone.counts["words"]
    assert both.counts["epochs"] == both.counts["best_epoch"] == its["first_phase_epochs"] + 1
    assert all_of["first_phase_epochs"] == its["first_phase_epochs"]
    assert both.metrics == alone.metrics
    assert all_of["dev_f1"] == its["dev_f1"]


@pytest.mark.parametrize(("train_on", "seen"), [("train", 1), ("train+dev", 2)])
def test_what_a_tagger_learnt_from_is_seen(tmp_path: Path, train_on: str, seen: int) -> None:
    """In the analysis of test errors, spans of dev are seen where a tagger learnt from dev."""
    for split, names in (("train", ["Ada"]), ("dev", ["Bob"]), ("test", ["Ada", "Bob", "Cy"])):
        lines = [f"{name} B-PER\nsleeps O\n\n" for name in names]
        (tmp_path / split).write_text("".join(lines))
    experiment = load_experiment(None, [
        *[f"labelled.{split}={tmp_path / split}" for split in ("train", "dev", "test")], "labelled.name=sleepers",
        *SMALL[3:], f"tagger.train_on={train_on}", f"run.store={tmp_path / 'store'}",
    ])  # fmt: skip
    report = build_up_to(experiment, "report")["report"]
    found = json.loads((Store(experiment.run.store).open(report).path / "errors.json").read_text())
    assert found["test"]["baseline"]["strata"]["entity"]["seen in training"][0][0] == seen
    assert found["dev"]["baseline"]["strata"]["entity"]["seen in training"][0][0] == 0


def test_tags_and_words_come_from_the_training_split_alone(tmp_path: Path) -> None:
    """What only dev and test have is unknown to a tagger that is trained on train."""
    for split, name, kind in (("train", "Ada", "PER"), ("dev", "Acme", "ORG"), ("test", "Oslo", "LOC")):
        (tmp_path / split).write_text(f"{name} B-{kind}\nsleeps O\n\n")
    sources = [f"labelled.{split}={tmp_path / split}" for split in ("train", "dev", "test")]
    settings = [*sources, "labelled.name=sleepers", *SMALL[3:], f"run.store={tmp_path / 'store'}"]
    experiment = load_experiment(None, settings)
    tagger = build_up_to(experiment, tagger_name("baseline", 1))[tagger_name("baseline", 1)]
    folder = Store(experiment.run.store).open(tagger).path
    assert json.loads((folder / "config.json").read_text())["tags"] == ["O", "S-PER"]
    assert sorted(json.loads((folder / "words.json").read_text())["words"]) == ["ada", "sleeps"]
