"""A whole small experiment in MLflow: results of evaluations and reports, and the registry of taggers."""

from __future__ import annotations

import contextlib
import json
import math
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlflow
import pytest
from click.testing import Result
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion, ModelVersionTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from typer.testing import CliRunner

from flows.cli import app
from taglm import Tagger
from taglm_core.analysis import stored
from taglm_core.analysis.comparing import find_run
from taglm_core.analysis.measuring import Comparison, compare_on_dev
from taglm_core.config.experiment import Experiment
from taglm_core.corpus.parquet import load_sentences
from taglm_core.errors import ConfigError, MismatchError, MissingObject, TrackingAway
from taglm_core.evaluation.predictions import read_predictions
from taglm_core.evaluation.scores import score
from taglm_core.gc.collect import mark, sweep
from taglm_core.pipeline.build import BuildRequest, build, clear_work
from taglm_core.pipeline.context import PipelineContext
from taglm_core.pipeline.graph import build_graph
from taglm_core.pipeline.kinds import Stage
from taglm_core.pipeline.plan import recipe_of
from taglm_core.process import child
from taglm_core.store.records import Ref
from taglm_core.store.store import Artifact, Store, list_files
from taglm_core.store.uses import uses_of
from taglm_core.training.journal import JOURNAL, read_events
from taglm_core.training.stopping import StopRequest
from tasks.housekeeping import append_due_end, gc_roots, has_pending
from tasks.results import publish_results
from tasks.tracking.aliases import registered_object
from tasks.tracking.champion import CARD, Match, decide, model_note
from tasks.tracking.client import Client
from tasks.tracking.decisions import PendingEnd, append, read_end
from tasks.tracking.links import links
from tasks.tracking.pipelines import learning_curve, pipeline_run, publish
from tasks.tracking.projection import TABLES
from tasks.tracking.receipts import MADE, Ledger, Receipt, SyncState
from tasks.tracking.registered_files import EXAMPLE
from tasks.tracking.registry import Registration, best_tagger, register_best
from tasks.tracking.reporter import Reporter
from tasks.tracking.spec import PARENT, RunSpec
from tasks.tracking.tracker import StageRun, Tracker
from tasks.tracking.views import MODELS_TAG, experiment_tags

TINY = {
    "name": "tiny",
    "demo": {"train_sentences": 120, "dev_sentences": 60, "test_sentences": 60, "unlabelled_sentences": 1000},
    "unlabelled": {"heldout_fraction": 0.1, "shards": 2},
    "language_models": {
        "main": {
            "input": {"kind": "char-cnn", "filters": [[1, 4], [2, 4]], "dim": 4, "size": 8},
            "units": 8, "projection": 4, "softmax": {"kind": "full"}, "vocabulary_size": 200, "steps": 8,
            "streams": 4, "window": 5, "warmup_steps": 2, "break_sentences": 10,
        }
    },
    "tagger": {
        "characters": {"kind": "cnn", "dim": 4, "filters": 4}, "words": {"size": 8}, "units": [8, 8], "max_epochs": 2,
        "patience": 2, "annealing": [],
    },
    "seeds": [1, 2],
    "significance": {"rounds": 100},
}  # fmt: skip

TAG_EXPERIMENT = "taglm/tag/demo"
WRITTEN = ("tracking", "uses")  # folders of the store that reporting writes to

pytestmark = pytest.mark.filterwarnings(
    # mlflow.pyfunc warns of the type hints of its own classes when it is imported
    "ignore:.*Any type hint is inferred as AnyType",
    # torch says once that projected LSTMs leave oneDNN on CPU (taglm_core.training.devices)
    "ignore:LSTM with projections is not supported with oneDNN",
)


@dataclass(frozen=True)
class Done:
    """An experiment that has run, told step by step."""

    tracker: Tracker
    store: Store
    refs: dict[str, Ref]
    pipeline: str | None

    @property
    def client(self) -> MlflowClient:
        return self.tracker.client.mlflow()

    def of(self, kind: str) -> dict[str, Artifact]:
        return {name: self.store.open(ref) for name, ref in self.refs.items() if ref.kind == kind}

    def learnt(self) -> dict[str, Artifact]:
        """The taggers as if each had learnt more than the one before it: these tiny ones may find nothing."""
        found = sorted(self.of("tagger").items(), key=lambda item: item[1].manifest.metrics["dev/f1"])
        return {
            name: replace(artifact, manifest=replace(artifact.manifest, metrics={"dev/f1": 0.2 + 0.1 * number}))
            for number, (name, artifact) in enumerate(found)
        }

    def register(self, *steps: str) -> Registration:
        taggers = self.learnt()
        chosen = {step: taggers[step] for step in steps} if steps else taggers
        return register_best(self.tracker, self.tracker.experiment, chosen)

    def run_of(self, step: str) -> str | None:
        """Id of the run that made a tagger."""
        ref = self.refs[step]
        found = self.tracker.run_of(TAG_EXPERIMENT, ref.kind, ref.key, ref.digest)
        return None if found is None else found.run_id

    def tag_experiment(self) -> str:
        """Id of the MLflow experiment of the taggers, as a new process finds it."""
        return Client(self.tracker.client.uri).experiment(TAG_EXPERIMENT, experiment_tags(Stage.TAG))

    def end(self, refs: dict[str, Ref] | None = None, prefect_run: str | None = None) -> PendingEnd:
        return PendingEnd(self.tracker.client.address, self.tracker.experiment, refs or self.refs, prefect_run)

    def pipeline_run(self, refs: dict[str, Ref] | None = None, prefect_run: str | None = None) -> str:
        return str(pipeline_run(self.tracker, self.end(refs, prefect_run)).run_id)

    def forget(self, step: str, kind: str | None = None) -> None:
        """Remove the receipt of an object, as when it is built again; or that of the pipeline with a report."""
        ledger, ref = self.tracker.ledger, self.refs[step]
        for receipt in ledger.receipts(kind or ref.kind, ref.key):
            ledger.forget(receipt)


@pytest.fixture(scope="session")
def session_done(tmp_path_factory: pytest.TempPathFactory, empty_tracking_store: Path) -> Done:
    root = tmp_path_factory.mktemp("tiny")
    shutil.copyfile(empty_tracking_store, root / "mlflow.db")
    run = {"store": str(root / "store"), "tracking_uri": f"sqlite:///{root}/mlflow.db", "log_steps": 2}
    experiment = Experiment.model_validate({**TINY, "run": run})
    tracker, store = Tracker(experiment, pace=0.0), Store(experiment.run.store)
    refs: dict[str, Ref] = {}
    context = PipelineContext.resolve(experiment)
    for name, step in context.graph.items():
        inputs = {role: refs[above] for role, above in step.inputs.items()}
        recipe = recipe_of(store, step, {role: ref.digest for role, ref in inputs.items()})
        work = store.work(recipe)
        with tracker.stage_run(step, recipe, work, inputs=inputs) as told:
            refs[name] = build(store, context.request(step, inputs))
            found = list(read_events(work / JOURNAL, told.offset))
            if found:
                told.forward([event for event, _ in found], found[-1][1])
            told.finish(store.open(refs[name]))
        clear_work(store, recipe)
    done = Done(tracker, store, refs, "")
    done = replace(done, pipeline=done.pipeline_run(prefect_run="prefect-run"))
    shutil.rmtree(store.root / "tracking" / "decisions")  # its registration is left to the tests
    shutil.copyfile(root / "mlflow.db", root / "mlflow.db.first")
    for name in WRITTEN:
        (store.root / name).mkdir(exist_ok=True)
        shutil.copytree(store.root / name, root / name)
    return done


@pytest.fixture
def done(session_done: Done) -> Done:
    """The same, with the tracking store and what the store says of it as they were (artifacts of runs stay)."""
    root = Path(session_done.tracker.client.uri.removeprefix("sqlite:///")).parent
    shutil.copyfile(root / "mlflow.db.first", root / "mlflow.db")
    for name in WRITTEN:
        shutil.rmtree(session_done.store.root / name, ignore_errors=True)
        shutil.copytree(root / name, session_done.store.root / name)
    return replace(session_done, tracker=Tracker(session_done.tracker.experiment))


def test_evaluations_are_told_to_the_run_of_their_tagger(done: Done) -> None:
    """A tagger's run holds its scores on dev and test, per type as a table, the confusion, and the corpora used."""
    scores = done.of("evaluation")["evaluation/TagLM/seed-2/test"].manifest.metrics
    run_id = done.run_of("tagger/TagLM/seed-2")
    assert run_id is not None
    run = done.client.get_run(run_id)
    assert run.data.metrics["test/f1"] == scores["test/f1"]
    assert run.data.metrics["dev/f1"] == done.of("tagger")["tagger/TagLM/seed-2"].manifest.metrics["dev/f1"]
    files = {file.path for file in done.client.list_artifacts(run_id)}
    assert {"dev_f1.png", "test_confusion.png", "test_types.json", "dev_confusion.png"} <= files
    used = {found.dataset.name: found.dataset.digest for found in run.inputs.dataset_inputs}
    assert used == {f"demo/{split}": done.refs[f"corpus/{split}"].digest for split in ("train", "dev", "test")}


def test_a_variant_has_mean_and_deviation_of_its_seeds(done: Done) -> None:
    """The parent's figures are those of its children; the second variant's also differ from the first's by so much."""
    means = {}
    for variant in ("baseline", "TagLM"):
        ids = [done.run_of(f"tagger/{variant}/seed-{seed}") for seed in (1, 2)]
        children = [done.client.get_run(str(run_id)) for run_id in ids]
        (parent,) = {child.data.tags[PARENT] for child in children}
        metrics = done.client.get_run(parent).data.metrics
        f1 = [child.data.metrics["test/f1"] for child in children]
        means[variant] = sum(f1) / 2
        assert metrics["test/f1_mean"] == pytest.approx(means[variant])
        assert metrics["test/f1_std"] == pytest.approx(abs(f1[0] - f1[1]) / 2**0.5)
        assert metrics["seeds"] == 2
        assert ("p_value" in metrics) == (variant == "TagLM")
        assert done.client.get_run(parent).info.status == "FINISHED"


def test_the_pipeline_run_links_its_steps(done: Done) -> None:
    """Every tracked step by its run, every step by its object, and the Prefect run."""
    tags = done.client.get_run(str(done.pipeline)).data.tags
    linked = {name.removeprefix("taglm.run.") for name in tags if name.startswith("taglm.run.")}
    tracked = ("corpus-statistics", "language-model", "embeddings", "tagger")
    assert linked == {name for name, ref in done.refs.items() if ref.kind in tracked}
    assert tags["taglm.object.corpus/train"] == done.refs["corpus/train"].digest
    assert tags["prefect.flow_run_id"] == "prefect-run"
    linked_run = done.client.get_run(tags["taglm.run.tagger/TagLM/seed-1"])
    assert linked_run.data.tags["taglm.object"] == done.refs["tagger/TagLM/seed-1"].digest


def test_telling_results_again_changes_nothing(done: Done) -> None:
    """After a crash or an outage results may be told twice: no metric gets another point, no table another row."""
    step = build_graph(done.tracker.experiment)["evaluation/TagLM/seed-1/test"]
    inputs = {role: done.refs[name] for role, name in step.inputs.items()}
    recipe = recipe_of(done.store, step, {role: ref.digest for role, ref in inputs.items()})
    run_id = str(done.run_of("tagger/TagLM/seed-1"))
    before = done.client.get_run(run_id)
    with done.tracker.stage_run(step, recipe, done.store.work(recipe), inputs=inputs) as told:
        assert told.run_id == run_id
        told.finish(done.store.open(done.refs[step.name]))
    assert done.client.get_run(run_id).data.to_dictionary() == before.data.to_dictionary()
    assert [point.step for point in done.client.get_metric_history(run_id, "test/f1")] == [0]


def test_evaluations_reported_at_once_are_all_listed(done: Done) -> None:
    """Two processes report evaluations on two splits; the UI shows the tables that a tag of the run lists."""
    run_id = str(done.run_of(TAGGER))
    done.forget(TAGGER)
    for name in (TABLES, "taglm.evaluation.dev", "taglm.evaluation.test"):
        done.client.delete_tag(run_id, name)

    def report(name: str) -> None:
        with told_by(another(done), done, name) as told:
            told.finish(done.store.open(done.refs[name]))

    names = ("evaluation/TagLM/seed-1/dev", EVALUATION)
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(report, names))
    tags = done.client.get_run(run_id).data.tags
    assert [table["path"] for table in json.loads(tags[TABLES])] == ["dev_types.json", "test_types.json"]
    assert [tags[f"taglm.evaluation.{split}"] for split in ("dev", "test")] == [
        done.refs[name].digest for name in names
    ]
    assert left_of(done) == []


def test_evaluations_of_one_tagger_are_reported_together(done: Done) -> None:
    """The first one waits for the one that is under way, also if that fails."""
    dev = "evaluation/TagLM/seed-1/dev"
    for fails in (False, True):
        with contextlib.suppress(MismatchError), told_by(done.tracker, done, EVALUATION) as test:
            with told_by(done.tracker, done, dev) as first:
                first.finish(done.store.open(done.refs[dev]))
            assert not first.reported
            assert len(left_of(done)) == 2
            if fails:
                raise MismatchError("wrong")
            test.finish(done.store.open(done.refs[EVALUATION]))
        receipts = done.tracker.ledger.receipts("evaluation", done.refs[dev].key)
        assert [receipt.run_id for receipt in receipts] == [done.run_of(TAGGER)]


def test_results_missed_in_an_outage_are_told_later(done: Done) -> None:
    """An evaluation that was made while the store was away reaches its tagger's run with the next tracker."""
    step = build_graph(done.tracker.experiment)["evaluation/TagLM/seed-1/test"]
    inputs = {role: done.refs[name] for role, name in step.inputs.items()}
    recipe = recipe_of(done.store, step, {role: ref.digest for role, ref in inputs.items()})
    run_id = str(done.run_of("tagger/TagLM/seed-1"))
    done.client.delete_tag(run_id, "taglm.evaluation.test")
    database = Path(done.tracker.client.uri.removeprefix("sqlite:///"))
    database.rename(database.with_name("away"))
    with done.tracker.stage_run(step, recipe, done.store.work(recipe), inputs=inputs) as told:
        told.finish(done.store.open(done.refs[step.name]))
    database.unlink(missing_ok=True)
    database.with_name("away").rename(database)
    assert "taglm.evaluation.test" not in done.client.get_run(run_id).data.tags
    done.tracker.sync()
    assert done.client.get_run(run_id).data.tags["taglm.evaluation.test"] == done.refs[step.name].digest
    assert left_of(done) == []


def told_by(tracker: Tracker, done: Done, name: str) -> contextlib.AbstractContextManager[StageRun]:
    """A step of the experiment as a run that builds it has it."""
    step = build_graph(done.tracker.experiment)[name]
    inputs = {role: done.refs[above] for role, above in step.inputs.items()}
    recipe = recipe_of(done.store, step, {role: ref.digest for role, ref in inputs.items()})
    return tracker.stage_run(step, recipe, done.store.work(recipe), inputs=inputs)


def left_of(done: Done) -> list[str]:
    return sorted(path.name for path in (done.store.root / "tracking" / "pending").glob("*.json"))


EVALUATION, TAGGER = "evaluation/TagLM/seed-1/test", "tagger/TagLM/seed-1"


def test_an_evaluation_whose_process_was_killed_before_it_told_is_told_later(done: Done) -> None:
    """Word of it is there before the work begins; while that goes on, nobody tells it, waits for it or drops it."""
    run_id = str(done.run_of(TAGGER))
    done.client.delete_tag(run_id, "taglm.evaluation.test")
    work = told_by(done.tracker, done, EVALUATION)
    told, settings = work.__enter__(), done.tracker.experiment.run
    settings = settings.model_copy(update={"tracking_uri": done.tracker.client.uri})
    assert another(done).flush(patience=1e9)
    assert len(left_of(done)) == 1
    assert not has_pending(settings)
    told._claim.release()  # type: ignore[attr-defined]  # as the system does when a process dies
    assert has_pending(settings)
    another(done).sync()
    assert done.client.get_run(run_id).data.tags["taglm.evaluation.test"] == done.refs[EVALUATION].digest
    assert left_of(done) == []


def test_an_evaluation_that_made_nothing_leaves_no_word(done: Done) -> None:
    """It failed, or was killed: the run that makes it tells it."""
    step = replace(build_graph(done.tracker.experiment)[EVALUATION], config={"split": "test", "never": "made"})
    recipe = recipe_of(done.store, step, {role: done.refs[above].digest for role, above in step.inputs.items()})
    inputs = {role: done.refs[above] for role, above in step.inputs.items()}

    def begin() -> contextlib.AbstractContextManager[StageRun]:
        return done.tracker.stage_run(step, recipe, done.store.work(recipe), inputs=inputs)

    with contextlib.suppress(MismatchError), begin():
        raise MismatchError("wrong")
    assert left_of(done) == []
    killed = begin()
    run = killed.__enter__()
    another(done).sync()
    assert len(left_of(done)) == 1
    run._claim.release()  # type: ignore[attr-defined]
    with done.store.lock(recipe):  # its training process goes on
        another(done).sync()
        assert len(left_of(done)) == 1
    another(done).sync()
    assert left_of(done) == []


def test_an_evaluation_waits_for_its_tagger(done: Done, away: Callable[[], None]) -> None:
    """MLflow was away while the tagger was trained and came back before it was evaluated: both are told, in order."""
    away()
    done.client.delete_run(str(done.run_of(TAGGER)))
    step = build_graph(done.tracker.experiment)[TAGGER]
    inputs = {role: done.refs[above] for role, above in step.inputs.items()}
    done.forget(TAGGER)
    spec = RunSpec("tiny", step, done.refs[TAGGER].key, inputs)
    done.tracker.ledger.save(SyncState(done.tracker.client.address, spec, time.time() + 9, status=MADE))
    with told_by(done.tracker, done, EVALUATION) as told:
        told.finish(done.store.open(done.refs[EVALUATION]))
    assert not told.reported
    assert len(left_of(done)) == 2
    another(done).sync()
    run_id = done.run_of(TAGGER)
    assert run_id is not None
    assert done.client.get_run(run_id).data.tags["taglm.evaluation.test"] == done.refs[EVALUATION].digest
    assert left_of(done) == []


def test_an_evaluation_made_by_two_at_once_is_told_once(done: Done) -> None:
    """The second one leaves it to the first, and tells the same points if it has to."""
    run_id = str(done.run_of(TAGGER))
    artifact = done.store.open(done.refs[EVALUATION])
    with told_by(done.tracker, done, EVALUATION) as first, told_by(another(done), done, EVALUATION) as second:
        second.finish(artifact)
        assert not second.reported
        first.finish(artifact)
        second.finish(artifact)
        assert first.reported
        assert second.reported
    (point,) = done.client.get_metric_history(run_id, "test/f1")
    assert point.timestamp == int(1000 * artifact.manifest.made["time"])
    assert left_of(done) == []


@pytest.fixture
def away(done: Done) -> Iterator[Callable[[], None]]:
    """The tracking store is away until this is called."""
    database = Path(done.tracker.client.uri.removeprefix("sqlite:///"))
    database.rename(database.with_name("away"))
    database.mkdir()  # so that nobody makes another one

    def back() -> None:
        database.rmdir()
        database.with_name("away").rename(database)

    yield back
    if database.is_dir():
        back()


def another(done: Done) -> Tracker:
    """A tracker as the next run has it."""
    return Tracker(done.tracker.experiment, uri=done.tracker.client.uri, pace=0.0)


def waiting_ends(done: Done) -> list[str]:
    """What waits in the store, and what was put aside."""
    found = (done.store.root / "tracking" / "decisions").glob("*.*")
    return sorted(path.suffix for path in found)


def test_an_end_that_mlflow_missed_is_told_later_and_once(done: Done, away: Callable[[], None]) -> None:
    """The pipeline's run and the registered tagger come with the next tracker; until then its objects are kept."""
    refs = other_report(done)
    run = done.tracker.experiment.run.model_copy(update={"tracking_uri": done.tracker.client.uri})
    for _ in range(2):
        assert another(done).publish(refs, prefect_run="missed") is None
    assert waiting_ends(done) == [".json"]
    (file,) = (done.store.root / "tracking" / "decisions").glob("*.json")
    assert "tracking_uri" not in file.read_text()  # it may hold a password
    assert has_pending(run)
    assert {(ref.kind, ref.key) for ref in refs.values()} <= gc_roots(run, aliases=False).keys
    away()
    for _ in range(2):
        another(done).sync()
    assert waiting_ends(done) == []
    assert not has_pending(run)
    found = done.client.search_runs(
        [done.client.get_experiment_by_name("taglm/pipeline/demo").experiment_id],
        f"tags.`taglm.object.report` = '{refs['report'].digest}'",
    )
    assert [(run.info.status, run.data.tags["prefect.flow_run_id"]) for run in found] == [("FINISHED", "missed")]
    (version,) = done.client.search_model_versions("name = 'taglm-demo'")
    assert version.tags["taglm.report"] == refs["report"].digest


def test_a_run_with_nothing_to_build_tells_what_was_missed(
    done: Done, away: Callable[[], None], tmp_path: Path
) -> None:
    """`taglm run` of the same experiment says so, while MLflow is away and when it is back; then it is silent."""
    file, store, uri = tmp_path / "tiny.yaml", done.store.root, done.tracker.client.uri
    file.write_text(json.dumps(TINY))
    another(done).publish(done.refs)
    said = []
    for _ in range(3):
        ran = CliRunner().invoke(
            app, ["run", str(file), "--set", f"run.store={store}", "--set", f"run.tracking_uri={uri}"]
        )
        assert ran.exit_code == 0, ran.output
        assert "everything was built already" in ran.output
        said += [line.split(":")[0] for line in ran.output.splitlines() if "MLflow has not received" in line]
        if len(said) == 1:
            away()
    assert said == ["results that MLflow has not received wait", "results that MLflow has not received were sent"]
    assert len(done.client.search_model_versions("name = 'taglm-demo'")) == 1


def test_an_end_is_not_lost_while_mlflow_is_waited_for(done: Done, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C at "waiting 120 s at most": word of the outcome is there already."""

    def killed(_: Tracker) -> bool:
        raise KeyboardInterrupt

    uri = done.tracker.client.uri
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    run = done.tracker.experiment.run.model_copy(update={"tracking_uri": uri})
    experiment = done.tracker.experiment.model_copy(update={"run": run})
    with monkeypatch.context() as patched:
        patched.setattr(Tracker, "sync", killed)
        with pytest.raises(KeyboardInterrupt):
            publish_results.fn(PipelineContext.resolve(experiment), done.refs)
    assert waiting_ends(done) == [".json"]
    another(done).sync()
    assert waiting_ends(done) == []
    assert len(done.client.search_model_versions("name = 'taglm-demo'")) == 1


def test_an_end_that_was_never_begun_is_told_by_a_run_with_nothing_to_build(done: Done, tmp_path: Path) -> None:
    """Killed between the report and word of the outcome: the plan says what it would have been."""
    file, store, uri = tmp_path / "tiny.yaml", done.store.root, done.tracker.client.uri
    file.write_text(json.dumps(TINY))
    with told_by(done.tracker, done, "report") as told:
        told.finish(done.store.open(done.refs["report"]))
    said = []
    for _ in range(2):
        ran = CliRunner().invoke(
            app, ["run", str(file), "--set", f"run.store={store}", "--set", f"run.tracking_uri={uri}"]
        )
        assert ran.exit_code == 0, ran.output
        said.append("results that MLflow has not received were sent" in ran.output)
    assert said == [True, False]
    (version,) = done.client.search_model_versions("name = 'taglm-demo'")
    assert version.tags["taglm.report"] == done.refs["report"].digest


def test_an_end_that_mlflow_refuses_is_in_no_other_ones_way(
    done: Done, away: Callable[[], None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One is refused each time and stays, one has steps that this version does not know; the third is told."""
    refs = other_report(done)
    unknown = {**done.refs, "report": replace(done.refs["report"], digest="1" * 32), "corpus/odd": refs["report"]}
    for each in (refs, unknown, done.refs):
        another(done).publish(each)
    away()

    def told(reporter: Reporter, end: PendingEnd) -> Receipt:
        if end.report == refs["report"]:
            raise MlflowException("refused")
        return publish(reporter, end)

    monkeypatch.setattr("tasks.tracking.tracker.publish", told)
    caplog.clear()
    assert another(done).sync()
    assert waiting_ends(done) == [".aside", ".json"]
    assert len([line for line in caplog.messages if "refused" in line]) == 1
    assert len(done.client.search_model_versions("name = 'taglm-demo'")) == 1


def test_an_end_waits_for_its_steps(done: Done, away: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that could not be told just now has no run that the pipeline's could link to."""
    another(done).publish(done.refs)
    away()
    step = build_graph(done.tracker.experiment)[TAGGER]
    done.forget(TAGGER)
    spec = RunSpec("tiny", step, done.refs[TAGGER].key, {})
    done.tracker.ledger.save(SyncState(done.tracker.client.address, spec, status=MADE))

    def refused(*_: object, **__: object) -> None:
        raise MlflowException("just now")

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "set_terminated", refused)
        another(done).sync()
    assert (len(left_of(done)), waiting_ends(done)) == (1, [".json"])
    another(done).sync()
    assert (left_of(done), waiting_ends(done)) == ([], [])


def test_an_end_that_was_cut_off_is_told_by_the_next_run(done: Done, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the pipeline's run and the registration: word of it is there."""

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "create_model_version", killed)
        with pytest.raises(KeyboardInterrupt):
            done.tracker.publish(done.refs)
    done.tracker.sync()
    assert len(done.client.search_model_versions("name = 'taglm-demo'")) == 1
    assert waiting_ends(done) == []


def test_an_end_that_cannot_be_told_is_put_aside(
    done: Done, away: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    """Half a file, or objects that are gone, are named and in nobody's way; the rest is told."""
    tracker = another(done)
    tracker.publish(done.refs)
    gone = {**done.refs, "report": replace(done.refs["report"], digest="0" * 32)}
    tracker.publish(gone)
    (done.store.root / "tracking" / "decisions" / "half.json").write_text('{"uri": "sqli')
    away()
    tracker.sync()
    assert waiting_ends(done) == [".aside", ".aside"]
    assert len([line for line in caplog.messages if "is not reported to MLflow" in line]) == 2
    assert len(done.client.search_model_versions("name = 'taglm-demo'")) == 1


def test_the_best_tagger_by_dev_f1_is_registered_once(done: Done) -> None:
    """The version says which object it is and why it became champion; registering again finds it."""
    first = done.register()
    assert done.register() == first
    version = done.client.get_model_version_by_alias("taglm-demo", "champion")
    scores = {artifact.ref.digest: artifact.manifest.metrics["dev/f1"] for artifact in done.learnt().values()}
    assert scores[version.tags["taglm.object"]] == max(scores.values()) == float(version.tags["taglm.dev_f1"])
    assert version.tags["taglm.dev_digest"] == done.refs["corpus/dev"].digest
    assert version.tags["taglm.decision"].startswith("champion: the first one")
    assert len(done.client.search_model_versions("name = 'taglm-demo'")) == 1
    assert not Path("mlflow.db").exists(), "MLflow made a store where it stands, instead of using ours"
    assert not Path("mlruns").exists()


@pytest.mark.parametrize("at", ["put_folder", "log_outputs", "finalize_logged_model", "create_model_version"])
def test_a_registration_that_was_cut_off_leaves_one_copy(done: Done, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    """Each try would store a tagger and its language models once more: the next one goes on with their files."""
    where = Client if at == "put_folder" else MlflowClient
    real = getattr(where, at)

    def killed(*args: object, **given: object) -> None:
        real(*args, **given)
        raise KeyboardInterrupt

    for _ in range(2):
        with monkeypatch.context() as patched:
            patched.setattr(where, at, killed)
            with contextlib.suppress(KeyboardInterrupt):
                done.register()
    done.register()
    (model,) = done.client.search_logged_models([done.tag_experiment()])
    (version,) = done.client.search_model_versions("name = 'taglm-demo'")
    assert (str(model.status), version.source) == ("READY", model.artifact_location)
    assert version.run_id is not None
    assert [made.model_id for made in done.client.get_run(version.run_id).outputs.model_outputs] == [model.model_id]
    assert mlflow.pyfunc.load_model(model.artifact_location)


def test_a_worse_tagger_does_not_become_champion(done: Done) -> None:
    """It is registered, with the reason; the alias moves only to a better one."""
    order = list(done.learnt())
    worst, best = order[0], order[-1]
    assert [done.register(step).champion for step in (worst, best)] == [True, True]
    middle = done.register(order[1])
    assert not middle.champion
    champion = done.client.get_model_version_by_alias("taglm-demo", "champion")
    assert champion.tags["taglm.object"] == done.refs[best].digest


def version(number: int, f1: float | None, digest: str = "a") -> ModelVersion:
    """A version of taglm-demo as TagLM registers it; without a dev F1, one that somebody else made."""
    tags = {} if f1 is None else {"taglm.dev_f1": repr(f1), "taglm.dev_digest": digest}
    return ModelVersion("taglm-demo", str(number), 0, tags=[ModelVersionTag(*tag) for tag in tags.items()])


def gone() -> Match:
    raise MissingObject("tagger 123 has no readable manifest")


@pytest.mark.parametrize(
    ("f1", "champion", "found", "moves", "words"),
    [
        (0.81, version(3, 0.8), Match(0.81, 0.8, "a", 1234), True,
         ["dev F1 81.00 is above the 80.00 of version 3", "dev split a (1,234 sentences)",
          "promote taglm-demo 3 --why"]),
        (0.80, version(3, 0.8), Match(0.8, 0.8, "a", None), False,
         ["dev F1 80.00 is not above the 80.00 of version 3", "dev split a.", "promote taglm-demo 4 --why"]),
        (0.80, version(3, 0.99, "b"), Match(0.82, 0.81, "a", 90, 100, anew=True), True,
         ["F1 82.00 is above the 81.00 of version 3", "the 90 of its 100 sentences that neither was trained on",
          "measured on it for this comparison"]),
        (0.99, version(3, 0.1, "b"), Match(0.7, 0.71, "a", 100, 100, anew=True), False,
         ["F1 70.00 is not above the 71.00 of version 3", "(100 sentences)", "promote taglm-demo 4 --why"]),
        (0.99, version(3, 0.8, "b"), None, False,
         ["dev F1 99.00", "80.00 (version 3) on another dev split (b)", "cannot be measured on this one: tagger 123",
          "promote taglm-demo 4 --why"]),
        (0.99, version(3, None), None, False, ["set by hand", "promote taglm-demo 4 --why"]),
        (0.10, version(3, 0.0, "b"), None, True, ["Version 3, the champion until now, had dev F1 0.00"]),
        (0.10, None, None, True, ["the first one (dev F1 10.00"]),
        (0.00, None, None, False, ["dev F1 0.00", "never becomes champion"]),
        (math.nan, version(3, 0.0), None, False, ["never becomes champion"]),
    ],
)  # fmt: skip
def test_who_becomes_champion(
    f1: float, champion: ModelVersion | None, found: Match | None, moves: bool, words: list[str]
) -> None:
    """Who is better on the same dev sentences, and never one with a dev F1 of 0; figures and what to do are said."""
    decision = decide("taglm-demo", version(4, f1), champion, gone if found is None else lambda: found)
    assert decision[0] is moves
    assert decision[1].startswith("champion: " if moves else "not champion: ")
    assert [part for part in words if part not in decision[1]] == []


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What needs a process of its own runs in this one: starting Python and torch takes seconds."""

    def make_here(store: Store, request: BuildRequest, *_: object) -> Ref:
        request.save(tmp_path / "request.json")
        assert child.run(tmp_path / "request.json", StopRequest()) == 0
        ref = store.find(request.recipe)
        assert ref is not None
        return ref

    monkeypatch.setattr(stored, "make", make_here)


def test_two_taggers_are_measured_on_a_dev_split_that_is_new_to_one(done: Done, in_process: None) -> None:
    """With its own embeddings, on the sentences that neither was trained on; a second time nothing is made."""
    taggers = (done.refs["tagger/baseline/seed-1"].digest, done.refs["tagger/TagLM/seed-1"].digest)
    corpus = done.refs["corpus/test"]  # as if it were another dev split
    trained_on = {tokens for tokens, _ in load_sentences(done.store.open(done.refs["corpus/train"]).path)}
    expected = []
    for variant in ("baseline", "TagLM"):
        path = done.store.open(done.refs[f"evaluation/{variant}/seed-1/test"]).path / "predictions.parquet"
        made = read_predictions(path)
        new = [number for number, tokens in enumerate(made.tokens) if tuple(tokens) not in trained_on]
        expected.append(score([made.gold[n] for n in new], [made.predicted[n] for n in new]).micro.f1)
    found = compare_on_dev(done.tracker.experiment, taggers, corpus.digest)
    assert found == Comparison((expected[0], expected[1]), len(new), corpus.counts["sentences"])
    objects = done.store.objects()
    assert compare_on_dev(done.tracker.experiment, taggers, corpus.digest) == found
    assert done.store.objects() == objects
    with pytest.raises(MissingObject, match="0 sentences that neither tagger was trained on"):
        compare_on_dev(done.tracker.experiment, taggers, done.refs["corpus/train"].digest)


@pytest.mark.parametrize(
    ("champion", "words"),
    [
        (None, "the champion was measured on it for this comparison"),
        ("0" * 32, "cannot be measured on this one: tagger 000000000000 is no longer in"),
    ],
    ids=["in the store", "gone"],
)
def test_a_champion_of_another_dev_split_is_measured_on_the_new_one(
    done: Done, champion: str | None, words: str
) -> None:
    """Its tagger is in the store; where it is not, the page says so and what to do."""
    first, second = done.learnt()[TAGGER], "tagger/baseline/seed-1"
    done.register(TAGGER)
    done.client.set_model_version_tag("taglm-demo", "1", "taglm.dev_digest", "d" * 32)
    done.client.set_model_version_tag("taglm-demo", "1", "taglm.object", champion or first.ref.digest)
    registration = done.register(second)
    assert words in registration.decision
    page = done.client.get_model_version("taglm-demo", "2").description
    assert registration.decision in page
    assert "taglm promote taglm-demo" in page
    assert done.register(second) == registration


def test_an_end_that_is_replayed_late_does_not_move_the_alias_backwards(done: Done) -> None:
    """The champion was chosen meanwhile, on another dev split: it stays, though the late tagger's dev F1 is better."""
    first, late = list(done.learnt())[:2]
    done.register(first)
    done.client.set_model_version_tag("taglm-demo", "1", "taglm.dev_digest", "d" * 32)
    objects = {late: done.learnt()[late]}
    registration = register_best(done.tracker, done.tracker.experiment, objects, ended=time.time() - 60)
    assert not registration.champion
    assert "it was chosen after this tagger's pipeline had ended" in registration.decision


def test_of_two_that_register_at_once_the_better_one_is_champion(done: Done) -> None:
    """Whoever decides second sees the first."""
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(done.register, list(done.learnt())[-2:]))
    champion = done.client.get_model_version_by_alias("taglm-demo", "champion")
    assert champion.tags["taglm.object"] == done.refs[list(done.learnt())[-1]].digest
    assert len(done.client.search_model_versions("name = 'taglm-demo'")) == 2


def promote(done: Done, *arguments: str) -> Result:
    uri = f"run.tracking_uri={done.tracker.client.uri}"
    return CliRunner().invoke(app, ["promote", *arguments, "--set", uri])


def test_the_alias_is_moved_by_hand_with_a_reason(done: Done) -> None:
    """The reason is a tag and stands on both pages; the next better tagger takes the alias again."""
    for step in list(done.learnt())[2:0:-1]:
        done.register(step)
    for _ in range(2):
        said = promote(done, "taglm-demo", "2", "--why", "the labels of |ORG| were\nwrong")
    assert "taglm-demo version 2 is champion now: the labels of |ORG| were wrong" in said.output
    assert str(done.client.get_model_version_by_alias("taglm-demo", "champion").version) == "2"
    version, model = done.client.get_model_version("taglm-demo", "2"), done.client.get_registered_model("taglm-demo")
    assert version.tags["taglm.promoted"].startswith("the labels of |ORG| were wrong (")
    assert version.description.startswith("Promoted by hand: the labels of |ORG| were wrong")
    assert "promoted by hand: the labels of &#124;ORG&#124; were wrong" in model.description
    assert model.description.startswith("Champion: [version 2]")
    assert done.register(list(done.learnt())[-1]).champion


def test_what_cannot_be_promoted_is_named_with_what_is_there(done: Done) -> None:
    """An unknown model or version lists those that there are; a reason has to be given."""
    done.register(TAGGER)
    for arguments, words in (
        (("taglm-nobody", "1", "x"), "found no registered model 'taglm-nobody' in .*; .*models are taglm-demo"),
        (("taglm-demo", "7", "x"), r"found no version '7' of taglm-demo; its versions are 1 \(.*dev F1"),
        (("taglm-demo", "one", "x"), "found no version 'one'"),
        (("taglm-demo", "1", "  "), "--why: found 0 characters"),
    ):
        found = promote(done, *arguments[:2], "--why", arguments[2]).exception
        assert isinstance(found, ConfigError)
        assert re.search(words, str(found))


def other(done: Done) -> Tracker:
    """The tracker of another experiment with the same settings, thus with the same objects."""
    experiment = done.tracker.experiment.model_copy(update={"name": "other"})
    return Tracker(experiment, uri=done.tracker.client.uri)


def all_runs(done: Done) -> dict[str, dict[str, object]]:
    """Everything that MLflow knows of the runs of this data set's taggers."""
    return {run.info.run_id: run.to_dictionary() for run in done.client.search_runs([done.tag_experiment()])}


def test_scores_of_another_experiment_leave_finished_runs_alone(done: Done) -> None:
    """It evaluates a tagger that it found in the store: the scores get a run of their own, below its variant."""
    before = all_runs(done)
    for _ in range(2):
        with told_by(other(done), done, EVALUATION) as told:
            told.finish(done.store.open(done.refs[EVALUATION]))
    after = all_runs(done)
    assert {run_id: after[run_id] for run_id in before} == before
    own = [done.client.get_run(run_id) for run_id in after.keys() - before.keys()]
    (parent,) = [run for run in own if run.data.tags["taglm.kind"] == "variant"]
    (scores,) = [run for run in own if run.data.tags["taglm.kind"] == "evaluation"]
    assert scores.data.tags[PARENT] == parent.info.run_id
    assert scores.data.tags["taglm.experiment"] == parent.data.tags["taglm.experiment"] == "other"
    assert scores.data.metrics["test/f1"] == done.of("evaluation")[EVALUATION].manifest.metrics["test/f1"]
    assert {run.info.status for run in own} == {"FINISHED"}


def test_an_experiment_that_finds_all_in_the_store_has_runs_of_its_own(done: Done) -> None:
    """Its variants with the report, which lead to the taggers of whoever trained them; the others stay as they are."""
    done.tracker.publish(done.refs)
    before, owed = all_runs(done), of_store(done).model_copy(update={"name": "other"})
    append_due_end(owed, done.refs)
    assert waiting_ends(done) == [".json"]
    for _ in range(2):
        other(done).publish(done.refs)
    after = all_runs(done)
    assert {run_id: after[run_id] for run_id in before} == before
    own = [done.client.get_run(run_id) for run_id in after.keys() - before.keys()]
    assert sorted(run.info.run_name for run in own) == ["TagLM", "baseline"]
    for run in own:
        assert "Variant" in run.data.tags["mlflow.note.content"]
        assert "(trained for tiny, used here)" in run.data.tags["mlflow.note.content"]
        assert run.data.metrics["seeds"] == 2
    append_due_end(owed, done.refs)
    assert waiting_ends(done) == []
    (use,) = [use for use in uses_of(done.store, "tagger", done.refs[TAGGER].digest) if use.experiment == "other"]
    assert use.label == f"other/{TAGGER}"
    assert done.client.get_run(str(use.pipeline_run)).data.tags["taglm.experiment"] == "other"


def test_another_report_gets_another_run_of_each_variant(done: Done) -> None:
    """The same taggers compared in another way: what the first report said stays."""
    before = all_runs(done)
    refs = other_report(done)
    with told_by(done.tracker, done, "report") as told:
        told.finish(done.store.open(refs["report"]))
    after = all_runs(done)
    assert {run_id: after[run_id] for run_id in before} == before
    assert len(after) == len(before) + 2


def test_of_two_with_one_dev_f1_the_one_that_learnt_more_is_registered(done: Done) -> None:
    """A tagger on train and dev has the dev F1 of its forerunner on train: it is the one to keep."""
    artifact = done.of("tagger")["tagger/TagLM/seed-1"]
    recipe = artifact.manifest.recipe
    both = replace(recipe, config={**recipe.config, "train_on": "train+dev"})
    later = replace(artifact, manifest=replace(artifact.manifest, recipe=both))
    for pair in ({"alone": artifact, "both": later}, {"both": later, "alone": artifact}):
        assert best_tagger(pair)[0] == "both"


def served(model: Any, request: dict[str, Any] | str) -> Any:
    """What MLflow's server answers to a request."""
    from mlflow.pyfunc.scoring_server import invocations

    text = request if isinstance(request, str) else json.dumps(request)
    answer = invocations(text, "application/json", model, model.metadata.get_input_schema())
    return json.loads(answer.response)["predictions"]


def test_a_registered_tagger_loads_by_alias_without_pickle(done: Done, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in its files is pickled; loaded by alias it gives the tags of the tagger it was made from."""
    from taglm_core.tagging.prediction import Predictor

    done.register("tagger/TagLM/seed-1")
    version = done.client.get_model_version_by_alias("taglm-demo", "champion")
    folder = Path(mlflow.artifacts.download_artifacts(version.source))
    suffixes = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert suffixes <= {
        "",
        ".py",
        ".json",
        ".jsonl",
        ".yaml",
        ".txt",
        ".parquet",
        ".safetensors",
        ".png",
        ".zip",
        ".md",
    }
    assert f"{version.tags[CARD]}` in the files of this version" in version.description
    assert version.tags["taglm.object"] in (folder / version.tags[CARD]).read_text()
    (archive,) = folder.rglob("*.zip")
    assert {Path(name).suffix for name in zipfile.ZipFile(archive).namelist()} == {".py"}
    assert "torch==" in (folder / "requirements.txt").read_text()
    assert "+" not in (folder / "requirements.txt").read_text()
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", done.tracker.client.uri)
    model = mlflow.pyfunc.load_model("models:/taglm-demo@champion")
    sentences = [["Anna", "lives", "in", "Rome", "."], ["Yes"]]
    models = [done.store.open(done.refs[f"language-model/main/{way}"]).path for way in ("backward", "forward")]
    predictor = Predictor.load(done.store.open(done.refs["tagger/TagLM/seed-1"]).path, models)
    assert model.predict(sentences) == predictor.tag(sentences)
    tagger, texts = Tagger.load("models:/taglm-demo@champion"), ["Anna lives in Rome. Yes.", ""]
    for threshold in (0.0, 0.5):
        found = [[entity.to_dict() for entity in of] for of in tagger.tag(texts, threshold=threshold)]
        assert model.predict(texts, params={"threshold": threshold}) == found
        assert served(model, {"inputs": texts, "params": {"threshold": threshold}}) == found
    assert served(model, {"inputs": sentences}) == predictor.tag(sentences)
    assert served(model, model.metadata.get_serving_input(str(folder))) == [
        [entity.to_dict() for entity in tagger.tag(EXAMPLE[0])]
    ]
    with pytest.raises(MismatchError, match=r"glove\.txt: the tagger was trained without a vector file"):
        mlflow.pyfunc.load_model("models:/taglm-demo@champion", model_config={"vectors": "glove.txt"})


def test_gc_keeps_the_champion_usable(done: Done, tmp_path: Path) -> None:
    """Of an experiment that nobody gives any more only the tagger with the alias is left, with what it needs."""
    from taglm_core.tagging.prediction import Predictor

    done.register("tagger/TagLM/seed-1")
    shutil.copytree(done.store.root, tmp_path / "store")
    store, run = Store(tmp_path / "store"), {"store": tmp_path / "store", "tracking_uri": done.tracker.client.uri}
    other = Experiment.model_validate({"demo": {"seed": 99}, "seeds": [7], "run": run})
    needs = gc_roots(other.run, [other])
    sweep(store, mark(store, needs, grace=0), needs, grace=0)
    left = [digest for kind, digest in store.objects() if kind == "tagger"]
    assert left == [done.refs["tagger/TagLM/seed-1"].digest]
    models = [store.open(done.refs[f"language-model/main/{way}"]).path for way in ("backward", "forward")]
    tagger = store.open(done.refs["tagger/TagLM/seed-1"])
    assert Predictor.load(tagger.path, models).tag([["Rome", "."]])
    scores = find_run(tagger.ref.digest[:12], split="test", overrides=[f"run.store={store.root}"])
    expected = done.refs["evaluation/TagLM/seed-1/test"].digest
    assert [found.ref.digest for found in scores.evaluations.values()] == [expected]


@pytest.mark.slow
def test_a_registered_tagger_stands_alone(done: Done, tmp_path: Path) -> None:
    """Another process, elsewhere, without the project on its path: the code that runs is the model's own."""
    done.register("tagger/TagLM/seed-1")
    program = """
import sys, mlflow
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in str(finder).lower()]
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/taglm-demo@champion")
import taglm_core
print(len(model.predict([["Rome", "."]])[0]), taglm_core.__file__)
"""
    command = [sys.executable, "-P", "-c", program, done.tracker.client.uri]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=300)
    tags, place = found.stdout.split()[-2:]
    assert tags == "2"
    assert "mlflow-artifacts" in place


def test_a_variant_says_what_it_learnt_from(done: Done) -> None:
    """Sentences, language models and their perplexity stand on the variant and on its seeds, to sort and draw by."""
    models = [artifact.manifest.metrics["heldout/perplexity"] for artifact in done.of("language-model").values()]
    mean = math.exp(sum(map(math.log, models)) / len(models))
    for variant, lm in (("baseline", "none"), ("TagLM", "main")):
        child = done.client.get_run(str(done.run_of(f"tagger/{variant}/seed-1")))
        parent = done.client.get_run(child.data.tags[PARENT])
        for run in (child, parent):
            assert run.data.params["lm"] == lm
            assert run.data.metrics["train/sentences"] == 120
            assert run.data.metrics.get("lm/perplexity") == (None if lm == "none" else pytest.approx(mean))
        assert parent.data.tags["taglm.test_digest"] == done.refs["corpus/test"].digest
        words = parent.data.tags.get(MODELS_TAG, "")
        read = done.of("language-model") if lm == "main" else {}
        assert [artifact.ref.digest[:8] in words for artifact in read.values()] == [True] * len(read)
        assert bool(words) == bool(read)


def test_the_pipeline_run_has_the_scores_of_the_best_variant(done: Done) -> None:
    """By dev F1; the whole table stands in its description. One size so far: no curve."""
    run = done.client.get_run(str(done.pipeline))
    best = run.data.params["best_variant"]
    child = done.client.get_run(str(done.run_of(f"tagger/{best}/seed-1")))
    parent = done.client.get_run(child.data.tags[PARENT])
    for name in ("test/f1_mean", "dev/f1_mean", "train/sentences"):
        assert run.data.metrics[name] == parent.data.metrics[name]
    assert "| TagLM |" in run.data.tags["mlflow.note.content"]
    assert not done.client.list_artifacts(run.info.run_id)


def test_several_sizes_make_a_learning_curve(done: Done) -> None:
    """Variants of this experiment on this test corpus, by size; of one size the newest."""
    experiment, test = done.tracker.experiment, done.refs["corpus/test"].digest
    home, client = done.tag_experiment(), done.client
    newer = int(1000 * (time.time() + 1000))

    def add(sentences: float, f1: float, later: int = 0, **tags: str) -> None:
        its = {"kind": "variant", "experiment": "tiny", "test_digest": test, **tags}
        run = client.create_run(home, newer + later, {f"taglm.{name}": value for name, value in its.items()})
        client.log_param(run.info.run_id, "variant", "baseline")
        client.log_metric(run.info.run_id, "train/sentences", sentences)
        client.log_metric(run.info.run_id, "test/f1_mean", f1)

    add(60, 0.3)
    add(60, 0.4, later=1)
    add(30, 0.9, experiment="other")
    add(30, 0.9, test_digest="other")
    curve = learning_curve(done.tracker.client, experiment, test)
    assert [point.sentences for point in curve["baseline"]] == [60, 120]
    assert curve["baseline"][0].f1 == 0.4
    assert [point.sentences for point in curve["TagLM"]] == [120]
    run_id = done.pipeline_run(other_report(done))
    assert run_id != done.pipeline
    assert {file.path for file in client.list_artifacts(run_id)} == {"learning_curve.json", "learning_curve.png"}
    assert f"/runs/{run_id}/artifacts/learning_curve.png" in str([link.url for link in links(of_store(done))])


def other_report(done: Done) -> dict[str, Ref]:
    """The objects of a run of the pipeline that made another report from the same evaluations."""
    report = done.store.open(done.refs["report"])
    recipe = replace(report.manifest.recipe, config={**report.manifest.recipe.config, "rounds": 101})
    staged = done.store.work(recipe) / "out"
    shutil.copytree(report.path, staged, ignore=shutil.ignore_patterns("manifest.json"))
    (staged / "note.txt").write_text("with another number of rounds")
    return {
        **done.refs,
        "report": done.store.publish(staged, replace(report.manifest, recipe=recipe, files=list_files(staged))),
    }


def pipeline_runs(done: Done) -> list[Run]:
    home = done.client.get_experiment_by_name("taglm/pipeline/demo")
    return list(done.client.search_runs([home.experiment_id]))


def test_a_pipeline_that_built_nothing_adds_no_run(done: Done) -> None:
    """Night after night the same report: its run is known. Other reports have runs of their own."""
    assert done.pipeline_run(prefect_run="next-night") == done.pipeline
    assert [run.info.run_id for run in pipeline_runs(done)] == [done.pipeline]
    assert done.pipeline_run(other_report(done)) != done.pipeline
    assert len(pipeline_runs(done)) == 2


@pytest.mark.parametrize(("where", "at"), [(Ledger, "record"), (MlflowClient, "log_batch")])
def test_a_pipeline_run_that_was_cut_off_is_completed(
    done: Done, monkeypatch: pytest.MonkeyPatch, where: type, at: str
) -> None:
    """Killed just after the run was made, noted or not: the next one finds it, fills it in and ends it."""
    complete = done.client.get_run(str(done.pipeline))
    done.client.delete_run(str(done.pipeline))
    done.forget("report", "pipeline")
    file = append(done.store, done.end())

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(where, at, killed)
        with pytest.raises(KeyboardInterrupt):
            done.pipeline_run()
    (cut_off,) = pipeline_runs(done)
    assert cut_off.info.status == "RUNNING"
    left = read_end(json.loads(file.read_text()), done.store)
    assert left is not None
    for _ in range(2):
        again = replace(left, prefect_run="prefect-run")
        assert pipeline_run(done.tracker, again).run_id == cut_off.info.run_id
        (run,) = pipeline_runs(done)
        assert run.info.status == "FINISHED"
        assert run.data.to_dictionary() == complete.data.to_dictionary()


def test_a_pipeline_run_is_filled_in_twice_without_harm(done: Done) -> None:
    """Killed just before its end: settings and points that it has already are no obstacle."""
    complete = done.client.get_run(str(done.pipeline))
    done.client.update_run(str(done.pipeline), status="RUNNING")
    (receipt,) = done.tracker.ledger.receipts("pipeline", done.refs["report"].key)
    done.tracker.ledger.record(replace(receipt, digest=""))
    assert done.pipeline_run(prefect_run="prefect-run") == done.pipeline
    (run,) = pipeline_runs(done)
    assert (run.info.status, run.data.to_dictionary()) == ("FINISHED", complete.data.to_dictionary())
    assert len(done.client.get_metric_history(str(done.pipeline), "test/f1_mean")) == 1


def test_two_that_publish_one_report_at_once_make_one_run(done: Done) -> None:
    """Each looks for the run and then makes it: one after the other."""
    done.client.delete_run(str(done.pipeline))
    done.forget("report", "pipeline")
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: publish(another(done), done.end()), range(4)))
    assert [run.info.run_id for run in pipeline_runs(done)] == [found[0].run_id]
    assert all(each == found[0] for each in found)
    assert len(done.client.search_model_versions("name = 'taglm-demo'")) == 1


def of_store(done: Done) -> Experiment:
    """The experiment with the test's own tracking store."""
    experiment = done.tracker.experiment
    run = experiment.run.model_copy(update={"tracking_uri": done.tracker.client.uri})
    return experiment.model_copy(update={"run": run})


def test_links_name_what_is_there(done: Done, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page for each question, by the real ids; two pipeline runs are compared, the champion is named."""
    monkeypatch.setenv("TAGLM_MLFLOW_PORT", "5999")
    found = {link.question: link for link in links(of_store(done))}
    assert not any("champion" in question for question in found)
    assert all(link.url.startswith("http://127.0.0.1:5999/#/") for link in found.values())
    home = done.tag_experiment()
    gain = found["What does the language model bring on this data set?"]
    assert f"/experiments/{home}/runs?" in gain.url
    assert "viewStateShareKey=gain" in gain.url
    done.register()
    second = done.pipeline_run(other_report(done))
    urls = [link.url for link in links(of_store(done))]
    assert any("compare-runs" in url and second in url and str(done.pipeline) in url for url in urls)
    assert any("#/models/taglm-demo/versions/1" in url for url in urls)


def test_links_of_an_experiment_that_never_ran(done: Done, tmp_path: Path) -> None:
    """Nothing is made up, and asking makes no experiment."""
    experiment = of_store(done)
    names = {
        "labelled": experiment.labelled.model_copy(update={"name": "never"}),
        "unlabelled": experiment.unlabelled.model_copy(update={"name": "never-text"}),
    }
    assert links(experiment.model_copy(update=names)) == []
    assert done.client.get_experiment_by_name("taglm/tag/never") is None


def test_older_experiments_get_the_views_and_keep_their_description(done: Done) -> None:
    """What somebody wrote stays; tags that the views need are made."""
    home = done.tag_experiment()
    done.client.set_experiment_tag(home, "mlflow.note.content", "ours")
    done.client.set_experiment_tag(home, "mlflow.sharedViewState.gain", "old")
    done.tag_experiment()
    done.client.set_experiment_tag(home, "mlflow.sharedViewState.gain", "old")
    done.client.delete_experiment(home)
    assert done.tag_experiment() == home
    tags = done.client.get_experiment(home).tags
    assert tags["mlflow.note.content"] == "ours"
    assert "test/f1_mean" in tags["mlflow.sharedViewState.gain"]


def test_the_registered_model_says_who_is_champion_and_why(done: Done) -> None:
    """On its page every decision, newest first; on a version's the object, the dev split and the run."""
    order = list(done.learnt())
    for step in (order[-1], order[0]):
        done.register(step)
    page = done.client.get_registered_model("taglm-demo").description
    rows = [line for line in page.splitlines() if line.startswith("| [")]
    assert [row.split("]")[0] for row in rows] == ["| [2", "| [1"]
    assert "not champion" in rows[0]
    assert "champion: the first one" in rows[1]
    version = done.client.get_model_version("taglm-demo", "1")
    digest = done.refs[order[-1]].digest
    for part in (digest, f"taglm lineage {digest[:12]}", done.refs["corpus/dev"].digest, str(version.run_id)):
        assert part in version.description


@pytest.mark.parametrize(
    "at",
    ["set_model_version_tag", "set_registered_model_alias", "update_model_version", "update_registered_model"],
)  # fmt: skip
def test_a_decision_that_was_cut_off_is_completed(done: Done, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    """No version calls itself champion without the alias; registering again finds it and completes both."""
    step = "tagger/TagLM/seed-1"
    cut_off(done, monkeypatch, at, step)
    (version,) = done.client.search_model_versions("name = 'taglm-demo'")
    on_it = str(done.client.get_registered_model("taglm-demo").aliases.get("champion")) == str(version.version)
    assert on_it or "champion" not in f"{version.tags.get('taglm.decision')} {version.description}"
    for _ in range(2):
        registration = done.register(step)
        (version,) = done.client.search_model_versions("name = 'taglm-demo'")
        model = done.client.get_registered_model("taglm-demo")
        assert registration.champion
        assert {alias: str(number) for alias, number in model.aliases.items()} == {"champion": str(version.version)}
        for said in (version.tags["taglm.decision"], version.description, model.description):
            assert "champion: the first one" in said
        assert "taglm.pending" not in version.tags


@pytest.mark.parametrize("better", [True, False])
def test_a_decision_that_was_cut_off_heeds_who_is_champion_by_now(
    done: Done, monkeypatch: pytest.MonkeyPatch, better: bool
) -> None:
    """Another tagger was registered meanwhile: it stays champion unless the one that waited is better."""
    order = list(done.learnt())
    waits, other = (order[-1], order[0]) if better else (order[0], order[-1])
    cut_off(done, monkeypatch, "set_registered_model_alias", waits)
    assert done.register(other).champion
    registration = done.register(waits)
    assert registration.champion is better
    champion = done.client.get_model_version_by_alias("taglm-demo", "champion")
    assert champion.tags["taglm.object"] == done.refs[order[-1]].digest
    version = done.client.get_model_version("taglm-demo", registration.version)
    assert version.tags["taglm.decision"].startswith("champion: " if better else "not champion: ")
    assert version.description.startswith(version.tags["taglm.decision"])


def test_an_alias_set_by_hand_while_a_decision_waits_is_said_so(done: Done, monkeypatch: pytest.MonkeyPatch) -> None:
    """The registration was cut off, somebody gave the version the alias: it is champion, and says why."""
    step = "tagger/TagLM/seed-1"
    cut_off(done, monkeypatch, "get_model_version_by_alias", step)
    (version,) = done.client.search_model_versions("name = 'taglm-demo'")
    done.client.set_registered_model_alias("taglm-demo", "champion", version.version)
    registration = done.register(step)
    assert (registration.champion, registration.decision) == (True, "champion: set by hand")


def cut_off(done: Done, monkeypatch: pytest.MonkeyPatch, at: str, step: str) -> None:
    """Register a tagger, killed at a call of MLflow's."""

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, at, killed)
        with pytest.raises(KeyboardInterrupt):
            done.register(step)


def test_a_decision_is_not_made_twice(done: Done) -> None:
    """Registered again, nothing is written: neither a version nor a word."""
    first = done.register()
    before = [dict(version) for version in done.client.search_model_versions("name = 'taglm-demo'")]
    model = dict(done.client.get_registered_model("taglm-demo"))
    assert done.register() == first
    assert [dict(version) for version in done.client.search_model_versions("name = 'taglm-demo'")] == before
    assert dict(done.client.get_registered_model("taglm-demo")) == model


@pytest.mark.parametrize(("words", "shown"), [("not champion: worse", 20), ("not champion: " + 400 * "x", 8)])
def test_the_page_of_a_registered_model_shows_the_newest_decisions(words: str, shown: int) -> None:
    """Twenty, or as many as MLflow's 5,000 characters hold; how many are older is said."""
    tags = {"taglm.variant": "TagLM", "taglm.seed": "1", "taglm.dev_f1": "0.5", "taglm.dev_digest": "d" * 32}
    told = [ModelVersionTag(name, value) for name, value in {**tags, "taglm.decision": words}.items()]
    versions = [ModelVersion("taglm-demo", str(number), 0, tags=told) for number in range(1, 51)]
    note = model_note([*versions, ModelVersion("taglm-demo", "51", 0)], "taglm-demo")
    assert len(note) <= 5000
    rows = [line.split("]")[0] for line in note.splitlines() if line.startswith("| [")]
    assert rows == [f"| [{n}" for n in range(50, 50 - shown, -1)]
    assert f"\n\n{50 - shown} older decisions" in note
    assert "older" not in model_note(versions[:3], "taglm-demo")


def test_a_registered_model_leads_to_its_tagger(done: Done) -> None:
    """By alias or version; others are refused with what to write."""
    done.register()
    uri = done.tracker.client.uri
    digest = registered_object(uri, "taglm-demo@champion")
    assert digest == registered_object(uri, "taglm-demo/1")
    assert digest in {ref.digest for ref in done.refs.values()}
    for name in ("taglm-demo@none", "taglm-demo/7", "nobody@champion", "taglm-demo"):
        with pytest.raises(ConfigError, match="NAME@champion"):
            registered_object(uri, name)
    with pytest.raises(TrackingAway):
        registered_object("sqlite:////dev/null/none.db", "taglm-demo@champion")
