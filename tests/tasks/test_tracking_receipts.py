"""What MLflow receives of an object, and what the store knows of that: pure content, receipts, kills, older files."""

from __future__ import annotations

import gc
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from taglm_core.evaluation.curves import CURVE
from taglm_core.pipeline.steps import Step
from taglm_core.store.durable import write_json
from taglm_core.training.journal import Event
from tasks.housekeeping import has_pending
from tasks.tracking.client import Client
from tasks.tracking.content import Point, RunContent, UsedDataset, curve_points
from tasks.tracking.descriptions import NOTE
from tasks.tracking.projection import project
from tasks.tracking.receipts import Ledger
from tests.tasks.test_tracking import LM, BuildContext

HOME = "taglm/pretrain/news"
METRICS = {"heldout/perplexity": 40.0}


@pytest.fixture
def bench(tmp_path: Path, tracking_uri: str) -> BuildContext:
    return BuildContext(tmp_path, tracking_uri)


def test_a_curve_has_each_step_once_after_those_that_are_known() -> None:
    """A resumed process writes steps again, and MLflow has some of them."""
    events = [Event("metrics", step, {"loss": 1.0 / step}, time=float(step)) for step in (1, 2, 3, 2, 3, 4)]
    found = curve_points(events, {"loss": 1})
    assert [(point.step, point.time) for point in found] == [(2, 2000), (3, 3000), (4, 4000)]


def test_a_run_shows_all_of_its_object_and_the_same_each_time(bench: BuildContext) -> None:
    """Settings, curve, results after it, tags, files and data sets: a golden record, without any tracking store."""
    bench.write(LM, 1, 2, value=2.0)
    artifact = bench.publish(LM, metrics={"train/loss": 0.5}, counts={"words": 7}, seconds=3.0, made={"time": 1234.5})
    ids = bench.publish(Step("token-ids", "token-ids", {}), counts={"tokens": 9}).ref
    inputs = {"token-ids": ids}
    spec = replace(bench.spec(LM), inputs=inputs, prefect_run="p-1")
    content = project(bench.store, spec, artifact)
    assert content == RunContent(
        params={"units": "8", "input.kind": "word"},
        metrics=(
            Point("train/loss", 1, 2.0, 1001000),
            Point("train/loss", 2, 1.0, 1002000),
            Point("train/loss", 3, 0.5, 1234500),
            Point("size/words", 0, 7.0, 1234500),
            Point("seconds", 0, 3.0, 1234500),
        ),
        tags={
            "taglm.object": artifact.ref.digest,
            NOTE: f"`{LM.name}` of quick; object `{artifact.path}`\n\n- [its run in Prefect]("
            "http://127.0.0.1:4200/runs/flow-run/p-1)",
        },
        artifacts={CURVE: artifact.path / CURVE},
        datasets=(UsedDataset("news/text", ids.digest, "training", str(bench.store.folder(ids)), {"tokens": 9}),),
    )
    assert project(bench.store, spec, artifact) == content


KILLS = {
    "before the run is created": (MlflowClient, "create_run", False),
    "after the run is created": (MlflowClient, "create_run", True),
    "before the metrics": (MlflowClient, "log_batch", False),
    "after the metrics": (MlflowClient, "log_batch", True),
    "before the end": (MlflowClient, "set_terminated", False),
    "before the receipt": (Ledger, "record", False),
    "after the receipt": (Ledger, "record", True),
}


@pytest.mark.parametrize(("where", "name", "after"), KILLS.values(), ids=KILLS)
def test_a_kill_at_any_moment_leaves_one_whole_run(
    bench: BuildContext, monkeypatch: pytest.MonkeyPatch, where: type, name: str, after: bool
) -> None:
    """What has a state and no receipt is reported by the next sync; nothing is there twice."""
    real = getattr(where, name)

    def killed(*args: Any, **given: Any) -> Any:
        if after:
            real(*args, **given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(where, name, killed)
        with pytest.raises(KeyboardInterrupt):
            _built(bench)
    gc.collect()  # frees the claim, as the system does when a process dies
    if not list(bench.store.objects()):
        bench.write(LM, 1, 2)
        bench.publish(LM, metrics=METRICS, made={"mlflow_run": None})
    for _ in range(2):
        bench.tracker.sync()
    run = bench.only_run(HOME)
    assert (run.info.status, run.data.metrics["heldout/perplexity"]) == ("FINISHED", 40.0)
    assert run.data.params["units"] == "8"
    assert bench.steps_of(run.info.run_id) == [1, 2]
    assert not bench.waiting()
    assert [receipt.run_id for receipt in bench.ledger.receipts(LM.kind, bench.recipe(LM).key)] == [run.info.run_id]


def _built(bench: BuildContext) -> None:
    """A build whose process dies where an error is raised."""
    run = bench.unended(LM)
    bench.write(LM, 1, 2)
    run.finish(bench.publish(LM, metrics=METRICS, made={"mlflow_run": run.run_id}))


def test_without_a_state_nothing_is_reported(bench: BuildContext) -> None:
    """Objects that were built before, or without tracking, stay unknown to MLflow."""
    bench.publish(LM)
    assert not has_pending(bench.experiment.run)
    bench.tracker.sync()
    assert bench.runs(HOME) == []


def test_receipts_belong_to_a_tracking_store_and_an_experiment(bench: BuildContext) -> None:
    """Of the same object another store, or another experiment, has its own."""
    with bench.open(LM) as run:
        run.finish(bench.publish(LM))
    (receipt,) = bench.ledger.receipts(LM.kind, bench.recipe(LM).key)
    assert (receipt.experiment, receipt.run_id) == ("quick", run.run_id)
    assert bench.ledger.receipt(receipt.kind, receipt.key, "other") is None
    assert Ledger(bench.store, "http://elsewhere").receipts(receipt.kind, receipt.key) == []


def test_receipts_of_objects_that_are_gone_go(bench: BuildContext) -> None:
    """A clean-up leaves no files behind; the end of a pipeline stays known."""
    with bench.open(LM) as run:
        run.finish(bench.publish(LM))
    (receipt,) = bench.ledger.receipts(LM.kind, bench.recipe(LM).key)
    bench.ledger.record(replace(receipt, kind="pipeline"))
    bench.ledger.forget_gone()
    assert bench.ledger.receipts(receipt.kind, receipt.key)
    (bench.store.root / "keys" / receipt.kind / f"{receipt.key}.json").unlink()
    bench.ledger.forget_gone()
    assert bench.ledger.receipts(receipt.kind, receipt.key) == []
    assert bench.ledger.receipts("pipeline", receipt.key)


def old_file(bench: BuildContext, path: Path, **told: Any) -> None:
    """As versions before the receipts wrote it."""
    step = asdict(LM)
    del step["variant"], step["split"]
    entry = {"experiment": "quick", "step": step, "key": bench.recipe(LM).key, "inputs": {}, "store": "/elsewhere",
             "prefect_run": None, "commit": None, "user": None, "seeds": [1]}  # fmt: skip
    state = {"uri": bench.uri, "entry": entry, "run_id": None, "offset": 0, "last": {}, "status": "RUNNING", **told}
    write_json(path, state)


def test_results_that_an_older_version_left_are_reported_once(bench: BuildContext) -> None:
    """Its files in `tracking/` and in work folders are read, reported and gone."""
    bench.write(LM, 1, 2)
    bench.publish(LM, metrics=METRICS)
    old_file(bench, bench.store.root / "tracking" / f"{LM.kind}-{bench.recipe(LM).key}.json")
    old_file(bench, bench.work(LM) / "tracking.json", status="FINISHED")
    assert has_pending(bench.experiment.run)
    assert not list(bench.store.root.glob("tracking/*.json"))
    assert not (bench.work(LM) / "tracking.json").exists()
    for _ in range(2):
        bench.tracker.sync()
    run = bench.only_run(HOME)
    assert (run.info.status, run.data.metrics["heldout/perplexity"]) == ("FINISHED", 40.0)
    assert bench.steps_of(run.info.run_id) == [1, 2]


def test_a_run_that_an_older_version_left_is_gone_on_with(bench: BuildContext) -> None:
    """Killed by the update: the same run, from the step on that MLflow has."""
    first = bench.interrupted(LM, 1, 2)
    (state,) = bench.ledger.everything()
    told = {"run_id": first.run_id, "offset": state.offset, "last": dict(state.last), "status": "KILLED"}
    bench.ledger.drop(*state.key)
    old_file(bench, bench.work(LM) / "tracking.json", **told)
    bench.tracker.sync()
    with bench.open(LM) as again:
        assert (again.run_id, again.offset) == (first.run_id, state.offset)
        bench.say(LM, again, 2, 3)
    assert bench.steps_of(first.run_id) == [1, 2, 3]


def test_addresses_that_an_older_version_wrote_are_known_again(bench: BuildContext) -> None:
    """They hold user and password, which may have changed since; neither is kept."""
    bench.uri = "http://anna:old@mlflow.example:5000"
    bench.publish(LM)
    old_file(bench, bench.store.root / "tracking" / f"{LM.kind}-{bench.recipe(LM).key}.json")
    run = bench.experiment.run.model_copy(update={"tracking_uri": "http://anna:new@mlflow.example:5000"})
    assert has_pending(run)
    (file,) = bench.waiting()
    assert json.loads(file.read_text())["uri"] == Client(str(run.tracking_uri)).address == "http://mlflow.example:5000"
    assert "old" not in file.read_text()
