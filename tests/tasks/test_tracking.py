"""Runs in MLflow: fed from the journal, through kills and outages, without a step twice."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from prefect.exceptions import TerminationSignal

from taglm_core.config.experiment import Experiment
from taglm_core.config.load import load_experiment
from taglm_core.errors import ChildFailed, ConfigError, Interrupted, TagLMError
from taglm_core.evaluation.curves import CURVE
from taglm_core.gc.collect import mark
from taglm_core.pipeline.kinds import typed_inputs
from taglm_core.pipeline.steps import Step
from taglm_core.store.records import Manifest, Recipe, Ref
from taglm_core.store.store import Artifact, Store, list_files
from taglm_core.training.journal import JOURNAL, Event, read_events
from tasks.housekeeping import end_orphans, gc_roots, has_pending, spare_unreported, sync
from tasks.tracking.address import resolve_uri
from tasks.tracking.client import Client, warn_away
from tasks.tracking.descriptions import flat_params
from tasks.tracking.projection import input_metrics
from tasks.tracking.receipts import MADE, Ledger, SyncState, put_aside
from tasks.tracking.spec import RunSpec, Variant
from tasks.tracking.tracker import NoTracker, StageRun, Tracker, open_tracker
from tests.building import build_up_to

LM = Step("language-model/main/forward", "language-model", {"units": 8, "input": {"kind": "word"}}, group="news")


def tagger_step(variant: str, seed: int, **changes: object) -> Step:
    config = {"units": [4, 4], "seed": seed, **changes}
    return Step(f"tagger/{variant}/seed-{seed}", "tagger", config, group="conll", variant=variant)


@dataclass
class BuildContext:
    """A store of objects and a tracking store, both real, in the test's folder."""

    root: Path
    uri: str
    name: str = "quick"
    clock: float = 1000.0
    read: dict[int, int] = field(default_factory=dict)  # bytes of the journal handed on, by run
    held: list[Any] = field(default_factory=list)

    @property
    def experiment(self) -> Experiment:
        run = {"store": str(self.root / "store"), "tracking_uri": self.uri}
        return Experiment.model_validate({"name": self.name, "run": run})

    @property
    def tracker(self) -> Tracker:
        return Tracker(self.experiment, pace=0.0)

    @property
    def store(self) -> Store:
        return Store(self.experiment.run.store)

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.uri)

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.store, self.tracker.client.address)

    def waiting(self) -> list[Path]:
        return sorted((self.store.root / "tracking" / "pending").glob("*.json"))

    def spec(self, step: Step, **inputs: Ref) -> RunSpec:
        return RunSpec("quick", step, self.recipe(step).key, inputs)

    def recipe(self, step: Step) -> Recipe:
        return Recipe(step.kind, 1, step.config, {})

    def work(self, step: Step) -> Path:
        return self.store.work(self.recipe(step))

    def open(self, step: Step, tracker: Tracker | None = None) -> Any:
        inputs: Mapping[str, Ref] = {}
        return (tracker or self.tracker).stage_run(step, self.recipe(step), self.work(step), inputs=inputs)

    def say(self, step: Step, run: StageRun, *steps: int, value: float = 1.0) -> None:
        """What a training process says of some steps, written to the journal and handed on from there, once."""
        self.write(step, *steps, value=value)
        found = list(read_events(self.work(step) / JOURNAL, self.read.get(id(run), run.offset)))
        self.read[id(run)] = found[-1][1]
        run.forward([event for event, _ in found], found[-1][1])

    def write(self, step: Step, *steps: int, value: float = 1.0) -> None:
        path = self.work(step) / JOURNAL
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            for number in steps:
                self.clock += 1.0  # a process that says a step again says it at another time
                values = {"train/loss": value / number}
                line = {"kind": "metrics", "step": number, "time": self.clock, "values": values}
                file.write(json.dumps(line) + "\n")

    def unended(self, step: Step) -> StageRun:
        """A run that nobody ends: its process is going to be killed."""
        self.held.append(self.open(step))
        return self.held[-1].__enter__()

    def broken_off(self, step: Step, error: BaseException, *steps: int) -> StageRun:
        """Work that says some steps and ends with an error."""
        with contextlib.suppress(type(error)), self.open(step) as run:
            self.say(step, run, *steps)
            raise error
        return run

    def interrupted(self, step: Step, *steps: int) -> StageRun:
        """Work that says some steps and is stopped."""
        return self.broken_off(step, Interrupted("stopped"), *steps)

    def away(self, step: Step) -> None:
        """Work from start to end while the tracking store is away."""
        with self.open(step) as run:
            self.say(step, run, 1, 2, 3)
            assert run.run_id is None
            run.finish(self.publish(step, metrics={"heldout/perplexity": 40.0}))
        shutil.rmtree(self.work(step))

    def publish(self, step: Step, **facts: Any) -> Artifact:
        """The object that the process made, with its journal."""
        recipe, staged = self.recipe(step), self.work(step) / "out"
        staged.mkdir(parents=True)
        (staged / "weights.safetensors").write_bytes(step.name.encode())
        if step.kind == "language-model":
            (staged / CURVE).write_bytes(b"drawn")
        journal = self.work(step) / JOURNAL
        if journal.exists():
            shutil.copyfile(journal, staged / JOURNAL)
        manifest = Manifest(f"quick/{step.name}", recipe, list_files(staged, (JOURNAL, CURVE)), **facts)
        return self.store.open(self.store.publish(staged, manifest))

    def runs(self, experiment: str) -> list[Run]:
        found = self.client.get_experiment_by_name(experiment)
        return [] if found is None else list(self.client.search_runs([found.experiment_id]))

    def only_run(self, experiment: str) -> Run:
        (run,) = self.runs(experiment)
        return run

    def steps_of(self, run_id: str | None, metric: str = "train/loss") -> list[int]:
        assert run_id is not None
        return [point.step for point in self.client.get_metric_history(run_id, metric)]


@pytest.fixture
def bench(tmp_path: Path, tracking_uri: str) -> BuildContext:
    return BuildContext(tmp_path, tracking_uri)


@pytest.fixture
def outage(bench: BuildContext) -> Iterator[Callable[[], None]]:
    """The tracking store is away until this is called."""
    database = Path(bench.uri.removeprefix("sqlite:///"))
    database.rename(bench.root / "away")
    database.mkdir()  # so that nobody makes another one

    def back() -> None:
        database.rmdir()
        (bench.root / "away").rename(database)

    yield back
    if database.is_dir():
        back()


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage() for record in caplog.records if record.name == "taglm" and record.levelname == "WARNING"
    ]


def test_a_run_says_what_it_is_and_what_came_out(bench: BuildContext) -> None:
    """Parameters are flat, tags name experiment, step, key and object, sizes and results are metrics."""
    with bench.open(LM) as run:
        bench.say(LM, run, 1, 2)
        artifact = bench.publish(LM, metrics={"heldout/perplexity": 40.0}, counts={"parameters": 7}, seconds=3.0)
        run.finish(artifact)
    found = bench.only_run("taglm/pretrain/news")
    assert found.info.status == "FINISHED"
    assert found.info.run_name == LM.name
    assert found.data.params == {"units": "8", "input.kind": "word"}
    tags = found.data.tags
    expected = {"experiment": "quick", "step": LM.name, "key": bench.recipe(LM).key, "object": artifact.ref.digest}
    assert {name: tags[f"taglm.{name}"] for name in expected} == expected
    assert found.data.metrics["heldout/perplexity"] == 40.0
    assert found.data.metrics["size/parameters"] == 7.0
    names = [file.path for file in bench.client.list_artifacts(found.info.run_id)]
    assert names == ["curve.png"]


def test_a_resumed_run_goes_on_and_has_no_step_twice(bench: BuildContext) -> None:
    """A killed process continues its own run; steps said again after the last checkpoint are dropped."""
    first = bench.interrupted(LM, 1, 2, 3, 4, 5)
    assert bench.only_run("taglm/pretrain/news").info.status == "KILLED"
    with bench.open(LM) as second:
        assert (second.run_id, second.offset) == (first.run_id, (bench.work(LM) / JOURNAL).stat().st_size)
        assert bench.only_run("taglm/pretrain/news").info.status == "RUNNING"
        bench.say(LM, second, 3, 4, 5, 6, 7)
        second.finish(bench.publish(LM))
    assert bench.steps_of(first.run_id) == [1, 2, 3, 4, 5, 6, 7]
    assert bench.only_run("taglm/pretrain/news").info.status == "FINISHED"


def test_a_crash_between_telling_and_remembering_makes_no_doubles(bench: BuildContext) -> None:
    """MLflow had the metrics, the state did not say so yet: sending them again adds nothing."""
    run = bench.interrupted(LM, 1, 2)
    (file,) = bench.waiting()
    before = file.read_text()
    bench.interrupted(LM, 3, 4)
    file.write_text(before)
    with bench.open(LM) as again:
        bench.say(LM, again, 5)
    assert bench.steps_of(run.run_id) == [1, 2, 3, 4, 5]


def test_an_outage_costs_nothing(bench: BuildContext, caplog: pytest.LogCaptureFixture) -> None:
    """While the store's file is away work goes on with one warning; afterwards the curve is whole, without doubles."""
    database = Path(bench.uri.removeprefix("sqlite:///"))
    with bench.open(LM) as run:
        bench.say(LM, run, 1, 2)
        database.rename(bench.root / "away")
        told = run.offset
        bench.say(LM, run, 3)
        bench.say(LM, run, 4)
        assert run.offset == told
        database.unlink(missing_ok=True)
        (bench.root / "away").rename(database)
        bench.say(LM, run, 5)
        run.finish(bench.publish(LM))
    assert len(warned(caplog)) == 1
    assert bench.steps_of(run.run_id) == [1, 2, 3, 4, 5]


def test_a_store_that_comes_back_after_the_work_is_told_everything(
    bench: BuildContext, empty_tracking_store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Away from start to end: word is left beside the objects, and the next tracker makes the whole run."""
    folder = bench.root / "elsewhere"
    blocked = bench.root / "blocked"
    blocked.write_text("a file where the folder of the database should be")
    folder.symlink_to(blocked)
    bench.uri = f"sqlite:///{folder}/mlflow.db"
    bench.away(LM)
    assert warned(caplog)
    folder.unlink()
    folder.mkdir()
    shutil.copyfile(empty_tracking_store, folder / "mlflow.db")
    bench.tracker.sync()
    found = bench.only_run("taglm/pretrain/news")
    assert (found.info.status, found.data.metrics["heldout/perplexity"]) == ("FINISHED", 40.0)
    assert bench.steps_of(found.info.run_id) == [1, 2, 3]
    bench.tracker.sync()
    assert len(bench.runs("taglm/pretrain/news")) == 1


def test_a_run_waits_at_its_end_for_a_store_that_is_away(bench: BuildContext, empty_tracking_store: Path) -> None:
    """Back in time it is told everything; otherwise word stays; without word nothing is waited for."""
    folder = bench.root / "elsewhere"
    blocked = bench.root / "blocked"
    blocked.write_text("a file where the folder of the database should be")
    folder.symlink_to(blocked)
    bench.uri = f"sqlite:///{folder}/mlflow.db"
    tracker = bench.tracker
    tracker.flush(patience=1e9)
    bench.away(LM)
    tracker.flush(patience=0.2)
    assert bench.waiting()

    ready = bench.root / "ready"
    ready.mkdir()
    shutil.copyfile(empty_tracking_store, ready / "mlflow.db")

    def come_back() -> None:  # at once: in a moment without anything a folder would be made there
        (bench.root / "link").symlink_to(ready)
        (bench.root / "link").replace(folder)

    later = threading.Timer(0.5, come_back)
    later.start()
    tracker.flush(patience=60)
    later.join()
    assert bench.only_run("taglm/pretrain/news").info.status == "FINISHED"
    assert not bench.waiting()


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Interrupted("stopped"), "KILLED"),
        (KeyboardInterrupt(), "KILLED"),
        (TerminationSignal(signal=15), "KILLED"),
        (ChildFailed("died"), "FAILED"),
        (ValueError("wrong"), "FAILED"),
    ],
)
def test_how_the_work_ended_is_how_the_run_ends(bench: BuildContext, error: BaseException, status: str) -> None:
    """Stopped work is KILLED, work that broke is FAILED; what was said until then is there."""
    run = bench.broken_off(LM, error, 1)
    assert bench.only_run("taglm/pretrain/news").info.status == status
    assert bench.steps_of(run.run_id) == [1]


def test_runs_of_dead_processes_do_not_stay_running(bench: BuildContext) -> None:
    """A process killed without a word: its run is KILLED by the next tracker, and goes on with the same work."""
    run = bench.unended(LM)
    bench.say(LM, run, 1)
    run._claim.release()  # as the system does when a process dies
    bench.write(LM, 2)
    bench.tracker.sync()
    assert bench.only_run("taglm/pretrain/news").info.status == "KILLED"
    assert bench.steps_of(run.run_id) == [1, 2]
    with bench.open(LM) as again:
        assert again.run_id == run.run_id
        assert bench.only_run("taglm/pretrain/news").info.status == "RUNNING"


def test_an_object_made_just_before_the_process_died_is_told(bench: BuildContext) -> None:
    """The training process published, the one that followed it was killed: the run ends FINISHED, with results."""
    run = bench.unended(LM)
    bench.say(LM, run, 1)
    bench.write(LM, 2)
    artifact = bench.publish(LM, metrics={"heldout/perplexity": 40.0}, made={"mlflow_run": run.run_id})
    run._claim.release()
    bench.tracker.sync()
    found = bench.only_run("taglm/pretrain/news")
    assert (found.info.status, found.data.tags["taglm.object"]) == ("FINISHED", artifact.ref.digest)
    assert bench.steps_of(run.run_id) == [1, 2]


def test_a_stale_run_of_the_same_work_is_killed(bench: BuildContext) -> None:
    """Its work folder is gone, so nobody can go on with it; runs of another store's work are left alone."""
    run = bench.unended(LM)
    bench.say(LM, run, 1)
    run._claim.release()
    bench.tracker.sync()  # as every run begins
    shutil.rmtree(bench.work(LM))
    with bench.open(LM) as fresh:
        status = {found.info.run_id: found.info.status for found in bench.runs("taglm/pretrain/news")}
        assert status == {run.run_id: "KILLED", fresh.run_id: "RUNNING"}
        elsewhere = replace(bench, root=bench.root / "other")
        with elsewhere.open(LM):
            assert bench.client.get_run(fresh.run_id).info.status == "RUNNING"


def test_two_processes_at_the_same_work_tell_it_once(bench: BuildContext) -> None:
    """Only one of them tells the store; the other goes on if the first one dies."""
    with bench.open(LM) as first, bench.open(LM) as second:
        bench.say(LM, first, 1, 2)
        bench.say(LM, second, 3)
        assert second.run_id is None
        assert bench.steps_of(first.run_id) == [1, 2]
        first._claim.release()
        bench.say(LM, second, 4)
        assert bench.steps_of(first.run_id) == [1, 2, 3, 4]
        assert second.run_id == first.run_id
        second.finish(bench.publish(LM))
    assert bench.only_run("taglm/pretrain/news").info.status == "FINISHED"


def test_the_other_process_tells_what_a_dead_one_could_not(bench: BuildContext) -> None:
    """One tells the store and dies when the object is made; the other, whose work is cleared next, ends the run."""
    first = bench.unended(LM)
    with bench.open(LM) as second:
        bench.say(LM, first, 1)
        bench.write(LM, 2)
        first._claim.release()
        second.finish(bench.publish(LM, metrics={"heldout/perplexity": 40.0}))
    found = bench.only_run("taglm/pretrain/news")
    assert (found.info.status, found.data.metrics["heldout/perplexity"]) == ("FINISHED", 40.0)
    assert bench.steps_of(first.run_id) == [1, 2]


def test_a_kill_at_the_end_of_an_outage_loses_nothing_and_doubles_nothing(
    bench: BuildContext, outage: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed just after the state says that the object is made: one run is made, later."""
    run = bench.unended(LM)
    bench.say(LM, run, 1)
    artifact, save = bench.publish(LM, metrics={"heldout/perplexity": 40.0}), Ledger.save

    def killed_then(ledger: Ledger, state: SyncState) -> None:
        save(ledger, state)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "save", killed_then)
        with pytest.raises(KeyboardInterrupt):
            run.finish(artifact)
    outage()
    for _ in range(2):
        bench.tracker.sync()
    found = bench.only_run("taglm/pretrain/news")
    assert (found.info.status, found.data.metrics["heldout/perplexity"]) == ("FINISHED", 40.0)
    assert not has_pending(bench.experiment.run)


def test_an_outage_that_ends_in_a_kill_loses_nothing(bench: BuildContext, outage: Callable[[], None]) -> None:
    """The store was away from the start, and the process died before it left word: its work folder tells of it."""
    run = bench.unended(LM)
    bench.say(LM, run, 1, 2)
    bench.publish(LM, metrics={"heldout/perplexity": 40.0}, made={"mlflow_run": run.run_id})
    run._claim.release()  # type: ignore[attr-defined]
    assert has_pending(bench.experiment.run)
    outage()
    for _ in range(2):
        bench.tracker.sync()
    found = bench.only_run("taglm/pretrain/news")
    assert (found.info.status, found.data.metrics["heldout/perplexity"]) == ("FINISHED", 40.0)
    assert bench.steps_of(found.info.run_id) == [1, 2]
    assert not has_pending(bench.experiment.run)


def test_a_receipt_prevents_a_second_report(bench: BuildContext) -> None:
    """Killed between the receipt and the removal of the state: no second run is made."""
    with bench.open(LM) as run:
        (file,) = bench.waiting()
        state = file.read_text()
        run.finish(bench.publish(LM))
    assert not bench.waiting()
    file.write_text(state)
    assert has_pending(bench.experiment.run)
    bench.tracker.sync()
    assert not bench.waiting()
    assert bench.only_run("taglm/pretrain/news").info.run_id == run.run_id


def test_an_outage_may_last(bench: BuildContext) -> None:
    """The pause between two tries has an end, however often they fail."""
    run = bench.unended(LM)
    run._failures = 5000  # type: ignore[attr-defined]
    run._missed(OSError("no route"))  # type: ignore[attr-defined]
    run._claim.release()  # type: ignore[attr-defined]


def test_a_store_that_is_away_is_asked_once(
    bench: BuildContext, outage: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    """However much waits: a server that keeps silent costs seconds for each question."""
    others = [replace(LM, name=f"language-model/other/{number}", config={"units": number}) for number in range(3)]
    for step in others:
        bench.away(step)
    caplog.clear()
    assert not bench.tracker.sync()
    assert len(warned(caplog)) == 1
    outage()
    assert bench.tracker.sync()
    assert len(bench.runs("taglm/pretrain/news")) == 3


def test_what_the_store_refuses_is_not_waited_for(
    bench: BuildContext, outage: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers, so that waiting does not help; word stays, and other work is told."""
    bench.away(LM)
    other = replace(LM, name="language-model/other/forward", config={"units": 9})
    bench.away(other)
    outage()
    create = MlflowClient.create_run

    def refused(*args: Any, **given: Any) -> Run:
        if given["run_name"] == LM.name:
            raise MlflowException("no such thing")
        return create(*args, **given)

    monkeypatch.setattr(MlflowClient, "create_run", refused)
    assert bench.tracker.flush(patience=1e9)
    assert bench.waiting() == [bench.ledger.pending_file(LM.kind, bench.recipe(LM).key)]
    assert bench.only_run("taglm/pretrain/news").info.run_name == other.name


def test_word_that_makes_no_sense_is_put_aside(bench: BuildContext, caplog: pytest.LogCaptureFixture) -> None:
    """Another version wrote it: it is named, and in nobody's way."""
    step = Step("evaluation/TagLM/seed-1/test", "evaluation", {"of": "another version"}, group="conll")
    with bench.open(tagger_step("TagLM", 1)) as tagger:
        made = bench.publish(tagger_step("TagLM", 1))
        tagger.finish(made)
    state = SyncState(bench.ledger.address, bench.spec(step, tagger=made.ref))
    bench.publish(step)
    bench.ledger.save(state)
    assert bench.tracker.sync()
    file = bench.ledger.pending_file(*state.key)
    assert list(file.parent.iterdir()) == [file.with_suffix(".aside")]
    assert [line for line in warned(caplog) if f"the result of {step.name} is not reported to MLflow" in line]


def test_a_run_that_was_killed_waits_to_be_told(bench: BuildContext) -> None:
    """A run that builds nothing tells of it, and no clean-up without MLflow takes its traces; running ones are none."""
    run, settings = bench.unended(LM), bench.experiment.run
    bench.say(LM, run, 1)
    bench.publish(LM, made={"mlflow_run": run.run_id})
    assert not has_pending(settings)
    assert mark(bench.store, grace=-60).garbage
    run._claim.release()  # type: ignore[attr-defined]
    assert has_pending(settings)
    found = mark(bench.store, grace=-60)
    assert [one.kind for one in found.garbage if one.kind == "work"] == ["work"]
    spared = spare_unreported(settings, found)
    assert [one.kind for one in spared.garbage if one.kind == "work"] == []
    assert any("MLflow has not received" in line for line in spared.kept)
    sync(settings)
    assert not has_pending(settings)
    assert bench.only_run("taglm/pretrain/news").info.status == "FINISHED"
    assert spare_unreported(settings, found) == found


def test_a_database_that_was_never_made_is_made_when_told(bench: BuildContext) -> None:
    """Word waits for it; asking what waits makes nothing."""
    bench.uri = f"sqlite:///{bench.root}/new.db"
    bench.publish(LM)
    bench.ledger.save(SyncState(bench.uri, bench.spec(LM), status=MADE))
    end_orphans(bench.experiment.run)
    assert has_pending(bench.experiment.run)
    assert not (bench.root / "new.db").exists()
    sync(bench.experiment.run)
    assert not has_pending(bench.experiment.run)
    assert bench.only_run("taglm/pretrain/news").info.status == "FINISHED"


def test_files_that_vanish_are_passed_over(bench: BuildContext, caplog: pytest.LogCaptureFixture) -> None:
    """Another process has told what they hold; what cannot be read is put aside by who tells, not by who asks."""
    gone = bench.root / "gone.json"
    assert put_aside(gone) is None
    half = bench.store.root / "tracking" / "decisions" / "half.json"
    half.parent.mkdir(parents=True)
    half.write_text('{"uri": "sqli')
    assert not has_pending(bench.experiment.run)
    assert gc_roots(bench.experiment.run, aliases=False).keys == frozenset()
    assert half.exists()
    bench.tracker.sync()
    assert not half.exists()


def test_a_run_deleted_by_hand_begins_anew_with_its_whole_curve(bench: BuildContext) -> None:
    """Work that goes on makes a new run, from the first step on."""
    first = bench.interrupted(LM, 1, 2)
    bench.client.delete_run(first.run_id)
    with bench.open(LM) as second:
        bench.say(LM, second, 3)
    assert second.run_id != first.run_id
    assert bench.steps_of(second.run_id) == [1, 2, 3]


def test_seeds_are_children_of_their_variant(bench: BuildContext) -> None:
    """Seeds share a parent in the same experiment; another variant, setting or experiment has its own."""
    parents = {}
    other = replace(bench, name="other")
    for place, step in [
        (bench, tagger_step("TagLM", 1)),
        (bench, tagger_step("TagLM", 2)),
        (bench, tagger_step("baseline", 1)),
        (bench, tagger_step("TagLM", 1, dropout=0.1)),
        (other, tagger_step("TagLM", 3)),
    ]:
        with place.open(step) as run:
            found = bench.client.get_run(run.run_id)
            parents[place.name, step.name, len(step.config)] = found.data.tags["mlflow.parentRunId"]
            assert bench.client.get_run(found.data.tags["mlflow.parentRunId"]).info.status == "RUNNING"
    first, second, *others = parents.values()
    assert first == second
    assert len({first, *others}) == 4
    runs = {run.info.run_id: run for run in bench.runs("taglm/tag/conll")}
    assert len(runs) == 9
    assert all(run.info.status == "FINISHED" for run in runs.values())
    assert runs[first].data.params == {"variant": "TagLM", "lm": "none", "units": "[4, 4]"}


@pytest.mark.parametrize(
    ("error", "status"), [(ChildFailed("died"), "FAILED"), (Interrupted("stopped"), "KILLED"), (None, "FINISHED")]
)
def test_a_later_seed_leaves_a_finished_variant_alone(
    bench: BuildContext, error: BaseException | None, status: str
) -> None:
    """Once a variant has its report, seeds that are trained later get a run of the variant of their own."""
    with bench.open(tagger_step("TagLM", 1)) as run:
        parent = bench.client.get_run(run.run_id).data.tags["mlflow.parentRunId"]
    bench.client.set_tag(parent, "taglm.report", "r" * 32)
    before = {run.info.run_id: run.to_dictionary() for run in bench.runs("taglm/tag/conll")}
    more = Tracker(bench.experiment.model_copy(update={"seeds": (1, 2, 3, 4)}), pace=0.0)
    with contextlib.suppress(TagLMError), bench.open(tagger_step("TagLM", 4), more):
        if error is not None:
            raise error
    after = {run.info.run_id: run for run in bench.runs("taglm/tag/conll")}
    assert {run_id: after[run_id].to_dictionary() for run_id in before} == before
    new = [run for run_id, run in after.items() if run_id not in before]
    assert sorted(run.data.tags["taglm.kind"] for run in new) == ["tagger", "variant"]
    assert {run.info.status for run in new} == {status}


def test_a_variant_is_as_its_worst_seed_until_that_is_made(bench: BuildContext) -> None:
    """A seed fails and another one ends well after it: the variant failed, and no more once the seed was made."""
    first, second = tagger_step("TagLM", 1), tagger_step("TagLM", 2)
    run = bench.broken_off(first, ChildFailed("died"), 1)
    parent = bench.client.get_run(run.run_id).data.tags["mlflow.parentRunId"]
    with bench.open(second):
        assert bench.client.get_run(parent).info.status == "RUNNING"
    assert bench.client.get_run(parent).info.status == "FAILED"
    with bench.open(first) as again:
        bench.say(first, again, 2)
    assert bench.client.get_run(parent).info.status == "FINISHED"


@pytest.mark.parametrize("seeds", [(), (1, 2, 3)], ids=["found in MLflow", "known"])
def test_a_variant_left_without_its_settings_gets_them(
    bench: BuildContext, seeds: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed just after its run was made: the next seed completes it."""

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "log_batch", killed)
        with pytest.raises(KeyboardInterrupt):
            bench.tracker.variants.waiting(
                "taglm/tag/conll", Variant.of("TagLM", "quick", {"units": [4, 4]}, {}, seeds)
            )
    with bench.open(tagger_step("TagLM", 2)) as run:
        parent = bench.client.get_run(run.run_id).data.tags["mlflow.parentRunId"]
    assert bench.client.get_run(parent).data.params == {"variant": "TagLM", "lm": "none", "units": "[4, 4]"}
    assert len([run for run in bench.runs("taglm/tag/conll") if "mlflow.parentRunId" not in run.data.tags]) == 1


def test_results_have_the_time_of_their_object(bench: BuildContext) -> None:
    """Two processes that tell of one object at once tell the same points."""
    with bench.open(LM) as run:
        run.finish(bench.publish(LM, metrics={"heldout/perplexity": 40.0}, made={"time": 1234.5}))
    assert run.run_id is not None
    (point,) = bench.client.get_metric_history(run.run_id, "heldout/perplexity")
    assert point.timestamp == 1234500


def test_links_lead_to_the_run_that_made_the_object(bench: BuildContext) -> None:
    """Made again and killed midway, the same work has a newer run, which made nothing."""
    with bench.open(LM) as run:
        artifact = bench.publish(LM)
        run.finish(artifact)
    shutil.rmtree(bench.work(LM))
    newer = bench.interrupted(LM, 1)
    assert newer.run_id != run.run_id
    for digest, made in ((artifact.ref.digest, run), ("0" * 32, newer)):
        found = bench.tracker.run_of("taglm/pretrain/news", LM.kind, artifact.ref.key, digest)
        assert found is not None
        assert found.run_id == made.run_id


def test_the_last_point_of_a_curve_is_the_kept_model(bench: BuildContext) -> None:
    """The table shows a metric's last point, and the kept tagger is the best epoch's, not the last one's."""
    step = tagger_step("TagLM", 1)
    with bench.open(step) as run:
        path = bench.work(step) / JOURNAL
        values = [(1, 0.5), (2, 0.7), (3, 0.6)]
        events = [Event("metrics", epoch, {"dev/f1": f1, "loss": 0.3}, time=1000.0 + epoch) for epoch, f1 in values]
        lines = [{"kind": e.kind, "step": e.step, "values": dict(e.values), "time": e.time} for e in events]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        run.forward(events, path.stat().st_size)
        run.finish(bench.publish(step, metrics={"dev/f1": 0.7, "loss": 0.3}))
    assert bench.client.get_run(run.run_id).data.metrics["dev/f1"] == 0.7
    assert bench.steps_of(run.run_id, "dev/f1") == [1, 2, 3, 4]
    assert bench.steps_of(run.run_id, "loss") == [1, 2, 3], "its last point is the result already"


def test_steps_that_nobody_compares_have_no_run(bench: BuildContext) -> None:
    """A corpus split is not an experiment; and with run.tracking off nothing has a run."""
    step = Step("corpus/train", "corpus", {"format": "conll"}, group="conll")
    with bench.open(step) as run:
        assert run.run_id is None
        run.finish(bench.publish(step))
    assert bench.runs("taglm/ingest/conll") == []
    off = bench.experiment.model_copy(update={"run": bench.experiment.run.model_copy(update={"tracking": False})})
    tracker = open_tracker(off)
    assert isinstance(tracker, NoTracker)
    with tracker.stage_run(LM, bench.recipe(LM), bench.work(LM), inputs={}) as silent:
        bench.say(LM, silent, 1)
        silent.finish(bench.publish(LM))
    assert tracker.publish({}) is None
    assert bench.runs("taglm/pretrain/news") == []


def test_names_that_mlflow_refuses_do_not_look_like_an_outage(
    bench: BuildContext, caplog: pytest.LogCaptureFixture
) -> None:
    """Token maps have brackets and quotes as keys, and a language model may be called anything."""
    config = {"token_map": {"``": '"', "-LRB-": "("}, "empty": {}, "names": []}
    step = Step("embeddings/größe (1)/forward/train", "embeddings", config, {}, group="news")
    inputs = {"language-model/größe (1)": Ref("language-model", "k", "d")}
    with bench.tracker.stage_run(step, bench.recipe(step), bench.work(step), inputs=inputs) as run:
        assert run.run_id is not None
    assert not warned(caplog)
    assert json.loads(bench.only_run("taglm/embed/news").data.params["token_map"]) == config["token_map"]


def test_an_experiment_says_what_to_compare(bench: BuildContext) -> None:
    """Its description names the metric and opens the view for training; artifacts lie beside the database."""
    with bench.open(LM):
        pass
    found = bench.client.get_experiment_by_name("taglm/pretrain/news")
    note = found.tags["mlflow.note.content"]
    assert "heldout/perplexity" in note
    assert f"#/experiments/{found.experiment_id}/runs?workflowType=machine_learning" in note
    assert found.artifact_location == (bench.root / "mlflow-artifacts" / "taglm-pretrain-news").as_uri()


def test_a_changed_experiment_of_the_same_name_is_restored(bench: BuildContext) -> None:
    """A deleted experiment keeps its name: runs go into it again, instead of nowhere."""
    with bench.open(LM):
        pass
    bench.client.delete_experiment(bench.client.get_experiment_by_name("taglm/pretrain/news").experiment_id)
    with bench.open(LM) as run:
        assert run.run_id is not None


@pytest.mark.parametrize("uri", ["data/mlruns", "file:///data/mlruns"])
def test_a_folder_is_no_tracking_store(uri: str) -> None:
    """MLflow no longer keeps runs in files: said at once, with what to give instead."""
    with pytest.raises(ConfigError, match="sqlite:///"):
        resolve_uri(uri)


def test_the_address_of_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As configured, else from the environment, else below data/; sqlite always absolute."""
    assert resolve_uri(None) == f"sqlite:///{tmp_path}/data/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000")
    assert resolve_uri(None) == "http://tracking:5000"
    assert resolve_uri("sqlite:///a.db") == f"sqlite:///{tmp_path}/a.db"
    assert resolve_uri("sqlite:////a/b.db") == "sqlite:////a/b.db"


def test_settings_become_flat_text() -> None:
    """Dotted paths; lists, booleans and nothing in JSON."""
    settings = {"a": {"b": 1, "c": {"d": "x"}}, "list": [1, [2]], "no": None, "yes": True, "empty": {}}
    expected = {"a.b": "1", "a.c.d": "x", "list": "[1, [2]]", "no": "null", "yes": "true", "empty": "{}"}
    assert flat_params(settings) == expected
    assert flat_params({}) == {}


def test_seeds_on_train_and_dev_are_one_variant() -> None:
    """Each reads the epochs of a tagger of its own seed; all else is shared, and makes the variant."""
    config = {"train_on": "train+dev", "units": [4]}
    inputs = {"train/corpus": "a", "dev/corpus": "b"}
    one, two = (Variant.of("x", "e", {**config, "seed": seed}, {**inputs, "train-only": str(seed)}) for seed in (1, 2))
    assert one == two
    assert one != Variant.of("x", "e", config, {**inputs, "dev/corpus": "c"})


def test_words_without_a_vector_stand_beside_f1(tmp_path: Path) -> None:
    """For the tokens that a tagger learnt from; nothing is said of objects that are gone."""
    (tmp_path / "vectors.txt").write_text("the 1 2\nsaid 3 4\n")
    settings = ["demo.train_sentences=9", f"tagger.words.vectors={tmp_path / 'vectors.txt'}"]
    experiment = load_experiment(None, [*settings, f"run.store={tmp_path / 'store'}"])
    store, vectors = Store(experiment.run.store), build_up_to(experiment, "word-vectors/train")["word-vectors/train"]
    given = {"train/word-vectors": vectors.digest, "dev/word-vectors": "0" * 32}
    found = input_metrics(store, typed_inputs("tagger", given))
    assert found == {"train/missing_rate": store.manifest("word-vectors", vectors.digest).metrics["missing_rate"]}
    assert 0.5 < found["train/missing_rate"] < 1
    assert input_metrics(store, typed_inputs("tagger", {"train/word-vectors": "0" * 32})) == {}


@pytest.mark.parametrize("kind", ["server", "database"])
def test_one_process_at_a_time_makes_what_a_store_has_once(tmp_path: Path, kind: str) -> None:
    """Experiments and parents of variants are looked for and then made: a server's, too, by one at a time."""
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}" if kind == "database" else f"http://127.0.0.1:1/{tmp_path.name}"
    entered = threading.Event()

    def enter() -> None:
        with Client(uri).lock():
            entered.set()

    other = threading.Thread(target=enter)
    with Client(uri).lock():
        other.start()
        assert not entered.wait(0.5)
    other.join(10)
    assert entered.is_set()


def test_passwords_are_not_told(caplog: pytest.LogCaptureFixture) -> None:
    """An address with user and password is told without them."""
    with caplog.at_level(logging.WARNING, "taglm"):
        warn_away(Client("http://anna:secret@mlflow.example:5000"), OSError("no route"))
        address = "http://anna:secret@mlflow.example:5000"
        warn_away(Client(address), OSError(f"API request to {address}/api/2.0 failed"))
    assert caplog.text.count("http://mlflow.example:5000") == 3
    assert "secret" not in caplog.text


def test_passwords_are_not_kept(bench: BuildContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a store holds of a run names the tracking store without user and password, in outages, too."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    bench.uri = "http://anna:secret@127.0.0.1:1"
    run = bench.unended(LM)
    bench.say(LM, run, 1)
    run.finish(bench.publish(LM))
    (path,) = bench.waiting()
    assert "secret" not in path.read_text()
    assert json.loads(path.read_text())["uri"] == "http://127.0.0.1:1"
