"""A day of a team: server, worker and MLflow run, schedules fire, stages are rerun, and what can die dies."""

from __future__ import annotations

import itertools
import json
import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.entities import Run, ViewType

from taglm_core.config.load import load_experiment
from taglm_core.store.store import Store
from tests.services import ENDS, ROOT, Services, services

pytestmark = [
    pytest.mark.real,  # many minutes: `make test-real` runs it; its short form is tests/flows/test_deployments.py
    pytest.mark.timeout(5400),
    # libraries' own, about libraries' own
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
SMALL = ["demo={train_sentences: 60, dev_sentences: 30, test_sentences: 30, unlabelled_sentences: 4000}",
         "language_models.main={units: 32, projection: 16, streams: 8, window: 10, steps: 300}",
         "tagger={units: [16, 16], max_epochs: 2, patience: 1, annealing: []}", "seeds=[1, 2]",
         "significance.rounds=100", "run.checkpoint_seconds=1"]  # fmt: skip
LONG = 1_500  # steps: half a minute on a machine that does nothing else, time enough to break something
PIPELINE, PRETRAIN, TAG = "pipeline/demo-nightly", "pretrain/demo-pretrain", "tag/demo-tag"
FLOW, TRAINING, WORKER = "prefect.engine", "taglm_core.stages", "worker start"


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """What `make up` starts."""
    home = tmp_path_factory.mktemp("scenario")
    with services(home / "data", mlflow=True) as running:
        yield Team(running, home / "store")


class Team:
    """Services, and the store that their runs share."""

    def __init__(self, running: Services, store: Path) -> None:
        self.running, self.store = running, Store(store)
        self.client = mlflow.MlflowClient(running.mlflow, running.mlflow)

    def parameters(self, *settings: str, **options: Any) -> dict[str, Any]:
        """Of a run of the small experiment with settings."""
        places = [f"run.store={self.store.root}", f"run.tracking_uri={self.running.mlflow}"]
        experiment = load_experiment(ROOT / "experiments" / "demo.yaml", [*SMALL, *places, *settings])
        return {"experiment": experiment.model_dump(mode="json"), "options": options}

    def long(self, seed: int) -> dict[str, Any]:
        """Of a run that trains one language model for a while, another one for each seed."""
        model = f"{{units: 32, projection: 16, streams: 8, window: 10, steps: {LONG}, seed: {seed}"
        return self.parameters(f"language_models.main={model}, directions: [forward]}}",
                               "variants=[{name: baseline}]")  # fmt: skip

    def training(self, run: str) -> Path:
        """Checkpoints of the language model that a run trains, once it has written one."""
        folder = self.store.root / "work" / "language-model"

        def begun() -> list[Path]:
            state = self.running.flow_run(run)["state_type"]
            assert state in ("SCHEDULED", "PENDING", "RUNNING"), state
            return [path.parent for path in folder.glob("*/checkpoints/step-*/state.json")]

        found: list[Path] = self.running.until(begun, "a checkpoint")
        return found[-1].parent

    def kill(self, words: str) -> list[int]:
        """Kill, as the system does, all processes of the services with these words."""
        found = self.running.marked(words)
        assert found, f"no process of {words}"
        for pid in found:
            os.kill(pid, signal.SIGKILL)
        return found

    def models(self) -> list[Run]:
        """MLflow's runs of language models."""
        experiments = [
            one.experiment_id for one in self.client.search_experiments(filter_string="name LIKE 'taglm/pretrain/%'")
        ]
        return list(self.client.search_runs(experiments, run_view_type=ViewType.ACTIVE_ONLY)) if experiments else []

    def model(self, seed: int) -> Run:
        """The one run of the language model with a seed."""
        (found,) = [run for run in self.models() if run.data.params["seed"] == str(seed)]
        return found

    def made(self, kind: str) -> dict[str, float]:
        """Objects of a kind and when they were made."""
        found = (self.store.root / "objects" / kind).glob("*/manifest.json")
        return {path.parent.name: json.loads(path.read_text())["made"]["time"] for path in found}

    def assert_whole(self, seed: int) -> None:
        """The language model's run in MLflow has ended well, and each step is there once, in order."""
        run = self.model(seed)
        assert run.info.status == "FINISHED"
        history = self.client.get_metric_history(run.info.run_id, "train/loss")
        steps = [metric.step for metric in history]
        assert steps == sorted(set(steps))
        assert steps[-1] == LONG
        assert max(late - early for early, late in itertools.pairwise(steps)) <= 2 * steps[0]


def test_a_schedule_runs_the_pipeline(team: Team) -> None:
    """A schedule of every minute makes a run; a worker runs all stages; the comparison is in both UIs."""
    running = team.running
    deployment = running.ask(f"/deployments/name/{PIPELINE}")["id"]
    schedule = {"cron": "* * * * *", "timezone": "UTC"}
    body = [{"active": True, "schedule": schedule, "parameters": team.parameters()}]
    (made,) = running.ask(f"/deployments/{deployment}/schedules", body)
    wanted = {
        "flow_runs": {"state": {"type": {"any_": ["RUNNING", "COMPLETED"]}}, "deployment_id": {"any_": [deployment]}}
    }
    run = running.until(lambda: running.ask("/flow_runs/filter", wanted), "a run by schedule")[0]
    running.ask(f"/deployments/{deployment}/schedules/{made['id']}", {}, "DELETE")
    assert run["auto_scheduled"]
    ended = running.ended(run["id"])
    assert ended["state_type"] == "COMPLETED", ended["state"]["message"]
    assert ended["name"] == "pipeline demo"
    artifacts = {one["key"]: one["type"] for one in running.ask("/artifacts/filter", {}) if one["key"]}
    assert artifacts.items() >= {"comparison-demo": "table", "report-demo": "markdown"}.items()
    (link,) = [one for one in running.ask("/artifacts/filter", {}) if one["key"] == "mlflow-demo"]
    assert link["data"].startswith(f"[demo in MLflow]({running.mlflow}/#/runs/")
    (tag,) = team.client.search_experiments(filter_string="name LIKE 'taglm/tag/%'")
    runs = team.client.search_runs([tag.experiment_id])
    parents = {one.data.params["variant"]: one for one in runs if "test/f1_mean" in one.data.metrics}
    assert parents.keys() == {"baseline", "TagLM"}
    assert len(runs) == 2 + 2 * 2  # two variants, two seeds each
    back = f"(http://127.0.0.1:{running.api.split(':')[2].split('/')[0]}/runs/flow-run/"
    assert all(back in one.data.tags["mlflow.note.content"] for one in runs if one.data.params.get("seed"))


def test_one_stage_is_run_again_alone(team: Team) -> None:
    """Refresh of the tag stage trains the taggers again, to the same bytes; the stages before are only looked up."""
    models, taggers = team.made("language-model"), team.made("tagger")
    run = team.running.run(TAG, team.parameters(first="tag", refresh=["tag"]))
    assert run["state_type"] == "COMPLETED", run["state"]["message"]
    assert run["name"] == "tag demo, from tag, refresh tag"
    assert team.made("language-model") == models
    assert team.made("tagger").keys() == taggers.keys()
    assert team.running.says(run["id"], "tagger/TagLM/seed-1: started")


def test_a_cancelled_run_goes_on_where_it_was(team: Team) -> None:
    """Cancelled as in the UI: a checkpoint, the end within half a minute, KILLED in MLflow; run again, the same run."""
    running, parameters = team.running, team.long(seed=11)
    run = running.start(PRETRAIN, parameters)
    team.training(run)
    begun = time.monotonic()
    running.ask(f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}, "force": False})
    assert running.ended(run)["state_type"] == "CANCELLED"
    running.until(lambda: not running.marked(TRAINING), "the end of the training process")
    assert time.monotonic() - begun < 60, "30 seconds on a machine that does nothing else"
    assert team.model(11).info.status == "KILLED"
    tasks = running.ask("/task_runs/filter", {"task_runs": {"flow_run_id": {"any_": [run]}}})
    assert {task["state_type"] for task in tasks} == {"COMPLETED", "CANCELLED"}
    again = running.run(PRETRAIN, parameters)
    assert again["state_type"] == "COMPLETED", again["state"]["message"]
    assert running.says(again["id"], "resumed from the checkpoint at step")
    team.assert_whole(11)


def test_a_killed_run_is_run_again_by_itself(team: Team) -> None:
    """Kill -9 of a flow's process: Crashed within seconds, its training ends too; with reruns on, it finishes."""
    running = team.running
    assert running.control("rerun-on").returncode == 0
    run = running.start(PRETRAIN, team.long(seed=12))
    team.training(run)
    trained = running.marked(TRAINING)
    team.kill(FLOW)
    running.until(lambda: not set(trained) & set(running.marked(TRAINING)), "the end of the training process", 30)
    assert running.until(lambda: running.flow_run(run)["run_count"] == 2, "its second start")
    ended = running.ended(run)
    assert ended["state_type"] == "COMPLETED", ended["state"]["message"]
    team.assert_whole(12)
    states = [one["name"] for one in running.ask(f"/flow_run_states/?flow_run_id={run}")]
    assert states.count("Crashed") == 1
    assert running.control("rerun-off").returncode == 0


def test_a_killed_pipeline_is_run_again_by_itself(team: Team) -> None:
    """Kill -9 while one of its stages trains: no run of a stage is left behind, the second start goes on to the end."""
    running = team.running
    assert running.control("rerun-on").returncode == 0
    run = running.start(PIPELINE, team.long(seed=19))
    team.training(run)
    team.kill(FLOW)
    running.until(lambda: running.flow_run(run)["run_count"] == 2, "its second start")
    ended = running.ended(run)
    assert running.control("rerun-off").returncode == 0
    assert ended["state_type"] == "COMPLETED", ended["state"]["message"]
    team.assert_whole(19)
    stages = {"flow_runs": {"parent_flow_run_id": {"any_": [run]}}}

    def settled() -> bool:
        return {one["state_type"] for one in running.ask("/flow_runs/filter", stages)} <= {"COMPLETED", "CRASHED"}

    running.until(settled, "the end of the stage that was killed")


def test_stages_follow_each_other_by_events(team: Team) -> None:
    """With the chain on, one run of ingest leads to language models, embeddings and a comparison of their own."""
    running = team.running
    assert running.control("chain-on").returncode == 0
    new = team.parameters("demo={train_sentences: 61, dev_sentences: 30, test_sentences: 30, "
                          "unlabelled_sentences: 4000}", "name=chained")  # fmt: skip
    assert running.run("ingest/demo-ingest", new)["state_type"] == "COMPLETED"

    names = [f"{stage} chained, if ready" for stage in ("pretrain", "embed", "tag")]
    by_event = {"flow_runs": {"name": {"any_": names}, "deployment_id": {"is_null_": False}}}

    def ended() -> list[dict[str, Any]]:
        runs = [run for run in running.ask("/flow_runs/filter", by_event) if run["state_type"] in ENDS]
        return runs if names[-1] in {run["name"] for run in runs} else []

    runs = running.until(ended, "the last link")
    assert running.control("chain-off").returncode == 0
    assert sorted(run["name"] for run in runs) == sorted(names)
    assert {run["state_name"] for run in runs} == {"Completed"}
    assert "comparison-chained" in {one["key"] for one in running.ask("/artifacts/filter", {})}


def test_down_in_mid_training_and_up_again(team: Team) -> None:
    """`make down` leaves a checkpoint and no process; `make up` finds a run that has ended, and a new one goes on."""
    running, parameters = team.running, team.long(seed=20)
    run = running.start(PRETRAIN, parameters)
    team.training(run)
    assert running.control("down").returncode == 0
    assert running.marked() == []
    done = running.control("up")
    assert done.returncode == 0, done.stdout + done.stderr
    assert running.flow_run(run)["state_type"] in ("CRASHED", "CANCELLED")
    again = running.run(PRETRAIN, parameters)
    assert again["state_type"] == "COMPLETED", again["state"]["message"]
    assert running.says(again["id"], "resumed from the checkpoint at step")
    team.assert_whole(20)


def test_a_run_outlives_its_worker(team: Team) -> None:
    """Kill -9 of the worker: the run goes on and ends well; another worker is there for the next."""
    running = team.running
    run = running.start(PRETRAIN, team.long(seed=13))
    team.training(run)
    killed = team.kill(WORKER)
    running.until(lambda: set(running.marked(WORKER)) - set(killed), "another worker")
    assert running.ended(run)["state_type"] == "COMPLETED"
    assert running.flow_run(run)["run_count"] == 1
    team.assert_whole(13)


def test_a_run_without_process_and_worker_is_found(team: Team) -> None:
    """Kill -9 of both: no sign of life, so it is said to have crashed; run again, it goes on."""
    running, parameters = team.running, team.long(seed=14)
    run = running.start(PRETRAIN, parameters)
    team.training(run)
    team.kill(WORKER)
    team.kill(FLOW)
    ended = running.ended(run)
    assert ended["state_type"] == "CRASHED"
    assert "no sign of life" in ended["state"]["message"]
    assert running.run(PRETRAIN, parameters)["state_type"] == "COMPLETED"
    team.assert_whole(14)


def test_training_goes_on_without_mlflow(team: Team) -> None:
    """MLflow is stopped in the middle of a training and started after a while: everything is told, nothing twice."""
    running = team.running
    run = running.start(PRETRAIN, team.long(seed=15))
    checkpoints = team.training(run)
    running.supervise("stop", "mlflow")
    step = max(checkpoints.glob("step-*"))
    running.until(lambda: max(checkpoints.glob("step-*"), default=step) > step, "training without MLflow")
    time.sleep(15)
    running.start_again("mlflow")
    ended = running.ended(run)
    assert ended["state_type"] == "COMPLETED", ended["state"]["message"]
    running.until(lambda: team.model(15).info.status == "FINISHED", "what MLflow had missed")
    team.assert_whole(15)


def test_runs_outlive_a_long_outage_of_prefects_server(team: Team) -> None:
    """Two and a half minutes without it: trainings end and stages wait, nobody is taken for dead, events come later."""
    running = team.running
    assert running.control("rerun-on").returncode == 0
    parameters = {PRETRAIN: team.long(seed=17), PIPELINE: team.long(seed=18)}
    runs = [running.start(name, given) for name, given in parameters.items()]
    folder = team.store.root / "work" / "language-model"
    running.until(lambda: len({one.parent for one in folder.glob("*/checkpoints/step-*")}) == 2, "two trainings")
    models = team.made("language-model")
    running.supervise("stop", "prefect-server")
    away = datetime.now(UTC)
    running.until(lambda: len(team.made("language-model")) == len(models) + 2, "trainings without Prefect's server")
    time.sleep(max(0.0, 150 - (datetime.now(UTC) - away).total_seconds()))
    running.start_again("prefect-server")
    for run, seed in zip(runs, (17, 18), strict=True):
        ended = running.ended(run)
        assert ended["state_type"] == "COMPLETED", ended["state"]["message"]
        assert ended["run_count"] == 1
        team.assert_whole(seed)
    running.until(lambda: running.events(since=away), "what the pretrain stage had to say")
    assert running.events(since=away) == ["taglm.artifact.pretrain.demo"]
    assert running.control("rerun-off").returncode == 0


def test_two_identical_runs_make_one_result(team: Team) -> None:
    """By two deployments at once: both end well, with one language model, trained once and told once."""
    parameters = team.long(seed=16)
    before = team.made("language-model")
    runs = [team.running.start(name, parameters) for name in (PRETRAIN, PIPELINE)]
    assert [team.running.ended(run)["state_type"] for run in runs] == ["COMPLETED"] * 2
    assert len(team.made("language-model").keys() - before.keys()) == 1
    team.assert_whole(16)
    assert not list(team.store.root.glob("damaged/*"))
