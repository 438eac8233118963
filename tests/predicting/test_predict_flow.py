"""The flow `predict`: the engine's files, and an MLflow run with counts and drift."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from flows.predict import predict
from taglm_core.config.experiment import Experiment
from taglm_core.config.load import load_experiment
from taglm_core.config.predicting import PredictionConfig
from tests.building import build_up_to

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # libraries' own
TRAIN = "Ada B-PER\nsaw O\nRome B-LOC\n. O\n\nBert B-PER\nleft O\n. O\n\n" * 20
DEV = "Ada B-PER\nmet O\nZoe B-PER\n. O\n\n"


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory, empty_tracking_store: Path) -> Experiment:
    """An experiment whose tagger is in its store."""
    home = tmp_path_factory.mktemp("home")
    shutil.copyfile(empty_tracking_store, home / "mlflow.db")
    (home / "train").write_text(TRAIN)
    (home / "dev").write_text(DEV)
    tagger = "tagger={units: [8, 8], batch_size: 8, max_epochs: 4, patience: 4, annealing: [], learning_rate: 0.05}"
    made = load_experiment(None, [
        "name=tiny", "labelled.name=tiny", f"labelled.train={home / 'train'}", f"labelled.dev={home / 'dev'}",
        "labelled.test=null", "unlabelled=null", "language_models={}", "variants=[{name: baseline}]", "seeds=[1]",
        tagger, f"run.store={home / 'store'}", f"run.tracking_uri=sqlite:///{home / 'mlflow.db'}",
    ])  # fmt: skip
    build_up_to(made, "tagger/baseline/seed-1")
    return made


def test_a_run_has_counts_labels_confidences_and_drift(experiment: Experiment, tmp_path: Path) -> None:
    """Rates against the train and dev corpus; the output is that of the command."""
    (digest,) = [path.name for path in (experiment.run.store / "objects" / "tagger").iterdir()]
    data = tmp_path / "news.jsonl"
    texts = ["Ada saw Rome .", "Bert left .", "Qqq left Xyz ."]
    data.write_text("".join(f"{json.dumps({'text': text})}\n" for text in texts) + "{\n")
    settings = PredictionConfig(part_rows=2)
    counts = predict.fn(experiment, digest, str(data), str(tmp_path / "out.jsonl"), settings)
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row.get("text") for row in rows] == [*texts, None]
    entities = [entity for row in rows[:3] for entity in row["entities"]]
    assert {entity["text"] for entity in entities} >= {"Ada", "Bert"}
    assert counts == {"rows": 4, "bad_rows": 1, "tokens": 11, "entities": len(entities)}
    client = MlflowClient(experiment.run.tracking_uri)
    found = client.get_experiment_by_name("taglm/predict/news")
    assert found is not None
    (run,) = client.search_runs([found.experiment_id])
    assert run.info.status == "FINISHED"
    metrics = run.data.metrics
    assert {name: metrics[name] for name in counts} == counts
    assert metrics["unknown_rate"] == pytest.approx(2 / 11)
    assert metrics["dev/unknown_rate"] == pytest.approx(2 / 4)  # met and Zoe
    assert metrics["drift/unknown_rate"] == pytest.approx(2 / 11 - 2 / 4)
    people = sum(entity["label"] == "PER" for entity in entities)
    assert metrics["per_1000_tokens/PER"] == pytest.approx(1000 * people / 11)
    assert metrics["drift/per_1000_tokens/PER"] == pytest.approx(1000 * people / 11 - 1000 * 2 / 7)
    assert run.data.params["model"] == digest
    assert {each["path"] for each in json.loads(run.data.tags["mlflow.loggedArtifacts"])} == {
        "labels.json", "confidences.json",
    }  # fmt: skip
    folder = Path(client.download_artifacts(run.info.run_id, "", str(tmp_path)))
    table = json.loads((folder / "labels.json").read_text())
    assert table["columns"][0] == "label"
    by_label = {row[0]: dict(zip(table["columns"], row, strict=True)) for row in table["data"]}
    assert by_label["LOC"]["per 1,000 tokens, training"] == pytest.approx(1000 / 7)
    confidences = json.loads((folder / "confidences.json").read_text())["data"]
    assert sum(row[2] for row in confidences) == len(entities)
    for entity in entities:
        assert any(low <= entity["confidence"] <= high and count for low, high, count, _ in confidences)


def test_it_needs_no_mlflow_that_answers(
    experiment: Experiment, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With the tracking store away the output is complete, and the log says where the counts are."""
    (tmp_path / "a.txt").write_text("Ada saw Rome .")
    away = experiment.model_copy(
        update={"run": experiment.run.model_copy(update={"tracking_uri": "http://127.0.0.1:9"})}
    )
    (digest,) = [path.name for path in (experiment.run.store / "objects" / "tagger").iterdir()]
    with caplog.at_level(logging.INFO, "taglm"):
        predict.fn(away, digest, str(tmp_path / "a.txt"), str(tmp_path / "out"))
    assert "does not answer" in caplog.text
    assert "1 row, 1 sentence, 4 tokens" in caplog.text
    assert json.loads((tmp_path / "out" / "part-00000.jsonl").read_text())["text"] == "Ada saw Rome ."
