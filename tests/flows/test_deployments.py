"""prefect.yaml says what it should, and really deploys, schedules and runs on a server and a worker of its own.

A team adds deployments of its own to the file: most of this is about ours, what must hold of all is asked of all.
"""

from __future__ import annotations

import importlib
import json
import re
import sqlite3
import time
import urllib.error
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

from taglm import Tagger
from taglm_core.config.experiment import Experiment
from taglm_core.config.load import load_experiment
from taglm_core.pipeline.kinds import Stage
from tasks.environment import DEFAULTS
from tasks.events import CREATED as EVENT
from tests.exports import TEXT, tiny_export
from tests.services import OURS, ROOT, Services, services

CONTENT = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
DEPLOYMENTS = {deployment["name"]: deployment for deployment in CONTENT["deployments"]}
AUTOMATIONS = yaml.safe_load((ROOT / "ops" / "automations.yaml").read_text(encoding="utf-8"))

each_deployment = pytest.mark.parametrize("name", list(DEPLOYMENTS))
each_of_ours = pytest.mark.parametrize("name", OURS)


def _flow(name: str) -> Any:
    path, _, function = DEPLOYMENTS[name]["entrypoint"].partition(":")
    return getattr(importlib.import_module(path.removesuffix(".py").replace("/", ".")), function)


def test_every_flow_has_a_deployment() -> None:
    """One of ours per stage, for the pipeline and for prediction; of all, each has a name of its own."""
    flows = sorted(DEPLOYMENTS[name]["entrypoint"].rpartition(":")[2] for name in OURS)
    assert flows == sorted([*map(str, Stage), "pipeline", "predict"])
    assert len(DEPLOYMENTS) == len(CONTENT["deployments"])


@each_deployment
def test_parameters_are_refused_nowhere(name: str) -> None:
    """Those of a deployment and of its schedules fit the form, and the flow takes them."""
    from prefect.utilities.callables import parameter_schema
    from prefect.utilities.schema_tools import validate

    deployment, flow = DEPLOYMENTS[name], _flow(name)
    schema, usual = parameter_schema(flow).model_dump(), deployment.get("parameters") or {}
    for schedule in ({}, *(deployment.get("schedules") or ())):
        parameters = {**usual, **schedule.get("parameters", {})}
        validate(parameters, schema, raise_on_error=True)
        flow.validate_parameters(parameters)


def test_the_weekly_language_model_goes_on_from_the_last() -> None:
    """The schedule's own parameters are the deployment's but for `continue_from`, and are refused nowhere."""
    (schedule,) = DEPLOYMENTS["demo-pretrain"]["schedules"]
    validated = _flow("demo-pretrain").validate_parameters(schedule["parameters"])
    experiment = Experiment.model_validate(validated["experiment"])
    assert {name: model.continue_from for name, model in experiment.language_models.items()} == {"main": "latest"}
    afresh = {
        name: model.model_copy(update={"continue_from": None}) for name, model in experiment.language_models.items()
    }
    demo = load_experiment(ROOT / "experiments" / "demo.yaml")
    assert experiment.model_copy(update={"language_models": afresh}) == demo


@each_of_ours
def test_parameters_are_those_of_the_experiment_file(name: str) -> None:
    """A deployment's parameters give the experiment that experiments/demo.yaml gives."""
    parameters, demo = DEPLOYMENTS[name]["parameters"], load_experiment(ROOT / "experiments" / "demo.yaml")
    assert Experiment.model_validate(parameters["experiment"]) == demo
    assert Experiment.model_validate(_flow(name).validate_parameters(parameters)["experiment"]) == demo


@each_of_ours
def test_the_form_explains_every_parameter(name: str) -> None:
    """In the UI's form each setting says what it is; a section says it of itself, a `kind` is one of its class."""
    from prefect.utilities.callables import parameter_schema

    schema = parameter_schema(_flow(name)).model_dump()
    assert all(given.get("description") for given in schema["properties"].values())
    for part, definition in schema["definitions"].items():
        assert part == "Ref" or definition["description"]
        silent = [
            field
            for field, given in definition.get("properties", {}).items()
            if part != "Ref" and field != "kind" and not given.get("description") and not _sections(given)
        ]
        assert silent == [], part


def _sections(given: dict[str, Any]) -> bool:
    """Whether a field is a section of its own, or one of several."""
    return "$ref" in given or any("$ref" in one for key in ("allOf", "anyOf", "oneOf") for one in given.get(key, ()))


@each_of_ours
def test_only_the_pipeline_runs_by_itself(name: str) -> None:
    """Every schedule and every trigger of ours but the pipeline's schedule is there, but off."""
    deployment = DEPLOYMENTS[name]
    pipeline = deployment["entrypoint"].endswith(":pipeline")
    assert [schedule["active"] for schedule in deployment["schedules"]] == [pipeline]
    assert all(schedule["slug"] and schedule["timezone"] for schedule in deployment["schedules"])
    assert all(trigger["enabled"] is False for trigger in deployment.get("triggers", []))
    assert deployment["work_pool"]["work_queue_name"] == deployment["entrypoint"].rpartition(":")[2]


def test_the_chain_of_triggers_cannot_run_in_circles() -> None:
    """Each stage waits for objects of the stage before it, announced by our own event; none for a flow's name."""
    stages = list(Stage)
    for name in OURS:
        deployment = DEPLOYMENTS[name]
        for trigger in deployment.get("triggers", []):
            stage = Stage(deployment["entrypoint"].rpartition(":")[2])
            before = stages[stage.index - 1]
            assert trigger["match"] == {"prefect.resource.id": f"taglm.artifact.{before}.*"}, name
            assert trigger["expect"] == [EVENT]
            assert trigger["parameters"]["options"] == {"if_ready": True}
            assert "match_related" not in trigger
    assert [name for name in OURS if DEPLOYMENTS[name].get("triggers")] == [
        "demo-pretrain", "demo-embed", "demo-tag",
    ]  # fmt: skip


@each_of_ours
def test_runs_of_a_worker_are_as_quiet_as_ours(name: str) -> None:
    """The environment defaults reach flow runs, in which Prefect is imported before anything of ours."""
    environment = DEPLOYMENTS[name]["work_pool"]["job_variables"]["env"]
    ours = {key: value for key, value in DEFAULTS.items() if not key.startswith("PREFECT_")}
    assert ours.items() <= environment.items()
    assert environment["PREFECT_LOGGING_LEVEL"] == "INFO", "the log of a run is read in the UI"


def test_no_living_run_is_taken_for_dead() -> None:
    """A run of ours, by a worker or the command line, says four times that it lives before its silence counts."""
    (trigger,) = [one["trigger"] for one in AUTOMATIONS if one["trigger"]["after"] == ["prefect.flow-run.heartbeat"]]
    name = "PREFECT_FLOWS_HEARTBEAT_FREQUENCY"
    variables = [(one.get("work_pool") or {}).get("job_variables") or {} for one in DEPLOYMENTS.values()]
    environments = [DEFAULTS, *({**DEFAULTS, **(given.get("env") or {})} for given in variables)]  # over the worker's
    assert all(4 * int(environment[name]) <= trigger["within"] for environment in environments)
    flows = {_flow(name).name for name in OURS}
    assert set(trigger["match_related"]["prefect.resource.name"]) == flows


def test_no_path_of_a_machine() -> None:
    """What is ours holds no absolute path: it works wherever the project lies."""
    ours = {**CONTENT, "definitions": None, "deployments": [DEPLOYMENTS[name] for name in OURS]}
    assert re.findall(r"(?<![\w*/.:])/\w+(?:/\w+)+", yaml.safe_dump(ours)) == []


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, prefect_database: Path) -> Iterator[Services]:
    """What `make up` starts, without MLflow, on free ports and in a folder of its own."""
    home = tmp_path_factory.mktemp("services") / "data"
    with services(home, mlflow=False, database=prefect_database) as started:
        yield started


@pytest.fixture
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Parameters of a run that takes a second, and leaves nothing in the project."""
    folder = tmp_path_factory.getbasetemp() / "deployed"
    folder.mkdir(exist_ok=True)
    for split in ("train", "dev", "test"):
        (folder / split).write_text(f"Ada B-PER\nsaw O\n{split} O\n\nSo O\nit O\nis O\n")
    (folder / "text").write_text("Ada saw it .\nSo it is .\n")
    labelled = {"name": "tiny", **{split: str(folder / split) for split in ("train", "dev", "test")}}
    run = {"store": str(folder / "store"), "tracking": False}
    text = {"name": "tiny", "path": str(folder / "text")}
    return {"experiment": {"name": "tiny", "labelled": labelled, "unlabelled": text, "run": run}}


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.timeout(1200)
class TestOnAServer:
    """Everything of one server's life, in order."""

    def test_everything_is_deployed(self, running: Services) -> None:
        """All deployments are there, ours each in a queue with one place; of our automations only one is on."""
        deployed = {found["name"]: found for found in running.ask("/deployments/filter", {})}
        assert deployed.keys() == DEPLOYMENTS.keys()
        for name in OURS:
            (step,) = deployed[name]["pull_steps"]
            assert step["prefect.deployments.steps.set_working_directory"] == {"directory": str(ROOT)}
        queues = running.ask("/work_pools/taglm/queues/filter", {})
        places = {queue["name"]: queue["concurrency_limit"] for queue in queues}
        assert {deployed[name]["work_queue_name"]: 1 for name in OURS}.items() <= places.items()
        automations = {one["name"]: one["enabled"] for one in running.ask("/automations/filter", {})}
        assert self._our_automations() <= automations.keys()
        on = [name for name in self._our_automations() if automations[name]]
        assert on == ["crashed where no sign of life comes"]

    def test_the_schedule_makes_runs(self, running: Services) -> None:
        """Of ours the active schedule gives scheduled runs, and only it does (with sqlalchemy 2.1 none ever comes)."""
        pipeline = running.ask("/deployments/name/pipeline/demo-nightly")["id"]
        wanted = {
            "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
            "deployments": {"name": {"any_": OURS}},
        }
        runs = running.until(lambda: running.ask("/flow_runs/filter", wanted), "a scheduled run")
        assert {run["deployment_id"] for run in runs} == {pipeline}

    def test_nonsense_is_refused_before_a_run(self, running: Services, tiny: dict[str, Any]) -> None:
        """A value out of its range and an unknown key are refused by the server."""
        with pytest.raises(urllib.error.HTTPError, match="409"):
            running.run("ingest/demo-ingest", {"experiment": {**tiny["experiment"], "seeeds": [1]}})
        tiny["experiment"]["unlabelled"]["shards"] = 0
        with pytest.raises(urllib.error.HTTPError, match="409"):
            running.run("ingest/demo-ingest", tiny)

    def test_a_run_completes_and_the_next_one_reuses(self, running: Services, tiny: dict[str, Any]) -> None:
        """A worker makes the corpora; a second run finds them and writes nothing."""
        run = running.run("ingest/demo-ingest", tiny)
        assert run["state_type"] == "COMPLETED", run["state"]["message"]
        assert run["name"] == "ingest tiny"
        store = Path(tiny["experiment"]["run"]["store"])
        made = {path: path.stat().st_mtime_ns for path in store.glob("keys/*/*.json")}
        assert len(made) == 6  # scheme, four corpora, statistics
        again = running.run("ingest/demo-ingest", tiny)
        assert again["state_type"] == "COMPLETED"
        assert {path: path.stat().st_mtime_ns for path in store.glob("keys/*/*.json")} == made

    def test_a_worker_tags_files(self, running: Services, tiny: dict[str, Any], tmp_path: Path) -> None:
        """The deployment of prediction writes what the library says."""
        export, data, output = tiny_export(tmp_path), tmp_path / "in.jsonl", tmp_path / "out.jsonl"
        data.write_text(f"{json.dumps({'text': TEXT})}\n")
        given = {**tiny, "model": str(export), "data": str(data), "output": str(output)}
        run = running.run("predict/demo-predict", given)
        assert run["state_type"] == "COMPLETED", run["state"]["message"]
        found = json.loads(output.read_text())["entities"]
        assert [entity["text"] for entity in found] == [entity.text for entity in Tagger.load(export).tag(TEXT)]

    def test_new_objects_start_the_next_stage_where_its_trigger_is_on(
        self, running: Services, tiny: dict[str, Any]
    ) -> None:
        """Ingest with one more sentence emits one event; the trigger, switched on, runs pretrain on that experiment."""
        assert running.control("chain-on").returncode == 0
        text = Path(tiny["experiment"]["unlabelled"]["path"])
        text.write_text(text.read_text() + "One more .\n")
        assert running.run("ingest/demo-ingest", tiny)["state_type"] == "COMPLETED"
        wanted = {"deployments": {"name": {"any_": ["demo-pretrain"]}}}
        (run,) = running.until(lambda: running.ask("/flow_runs/filter", wanted), "the run that the trigger starts")
        assert running.control("chain-off").returncode == 0
        assert Experiment.model_validate(run["parameters"]["experiment"]) == Experiment.model_validate(
            tiny["experiment"]
        )
        running.ask(f"/flow_runs/{run['id']}/set_state", {"state": {"type": "CANCELLING"}, "force": True})
        assert running.until(lambda: len(running.events()) > 1, "both events in the server's records")
        assert running.events() == ["taglm.artifact.ingest.tiny"] * 2  # the run that made nothing said nothing

    def test_what_was_switched_outlives_a_deploy(self, running: Services) -> None:
        """One command turns the triggers, the schedules of stages, the reruns; a deploy leaves them so and says so."""
        for what, count in (("chain", 3), ("schedules", 5), ("rerun", 1)):
            before = self._on(running)
            done = running.control(f"{what}-on")
            assert done.returncode == 0, done.stdout + done.stderr
            turned = self._on(running) - before
            assert len(turned) == count
            assert {f"on  {name}" for name in turned} <= set(done.stdout.splitlines())
            assert running.control(f"{what}-off").returncode == 0
            assert self._on(running) == before
        first = self._on(running)
        for command in ("chain-on", "schedules-on"):
            assert running.control(command).returncode == 0
        switched = self._on(running) - first
        assert len(switched) == 3 + 5
        deployed = running.control("deploy")
        assert deployed.returncode == 0, deployed.stdout + deployed.stderr
        assert self._on(running) == first | switched
        kept = [line for line in deployed.stdout.splitlines() if line.startswith("kept on: ")]
        assert switched <= {line.removeprefix("kept on: ").partition(" (")[0] for line in kept}
        for command in ("chain-off", "schedules-off"):
            assert running.control(command).returncode == 0

    @staticmethod
    def _our_automations() -> set[str]:
        """Names of the triggers of our deployments and of what ops/automations.yaml makes."""
        triggers = [trigger for name in OURS for trigger in DEPLOYMENTS[name].get("triggers", [])]
        return {one["name"] for one in (*triggers, *AUTOMATIONS)}

    def _on(self, running: Services) -> set[str]:
        """Our schedules and automations that are on."""
        wanted = {"deployments": {"name": {"any_": OURS}}}
        schedules = [
            (f"schedule {deployment['name']}/{one['slug']}", one["active"])
            for deployment in running.ask("/deployments/filter", wanted)
            for one in deployment["schedules"]
        ]
        found = running.ask("/automations/filter", {})
        ours = [
            (f"automation {one['name']}", one["enabled"]) for one in found if one["name"] in self._our_automations()
        ]
        return {name for name, on in (*schedules, *ours) if on}

    def test_signs_of_life_from_before_an_outage_end_no_run(self, running: Services) -> None:
        """They arrive when the server is back, two minutes old perhaps; only the time from then on counts."""
        run, begun = f"prefect.flow-run.{uuid4()}", datetime.now(UTC)

        def deadlines() -> list[tuple[int, datetime]]:
            with closing(sqlite3.connect(running.home / "prefect" / "prefect.db")) as database:
                found = database.execute(
                    'SELECT count, "end" FROM automation_bucket WHERE bucketing_key LIKE ?', [f"%{run}%"]
                )
                return [(count, datetime.fromisoformat(end).replace(tzinfo=UTC)) for count, end in found]

        def give_sign(moment: datetime) -> None:
            resource = {"prefect.resource.id": run}
            flow = {"prefect.resource.id": "prefect.flow.x", "prefect.resource.role": "flow"}
            related = [{**flow, "prefect.resource.name": "pretrain"}]
            event = {"event": "prefect.flow-run.heartbeat", "occurred": moment.isoformat(), "id": str(uuid4())}
            running.ask("/events", [{**event, "resource": resource, "related": related}])

        give_sign(begun - timedelta(seconds=70))
        running.until(deadlines, "a deadline")
        running.supervise("stop", "prefect-server")
        time.sleep(max(0.0, 40 - (datetime.now(UTC) - begun).total_seconds()))
        running.start_again("prefect-server")
        give_sign(begun - timedelta(seconds=60))  # a deadline that has passed would be its answer
        time.sleep(8)
        ((count, end),) = deadlines()
        assert (count, end > datetime.now(UTC) + timedelta(seconds=60)) == (0, True)
        give_sign(now := datetime.now(UTC))
        running.until(lambda: deadlines() == [(0, now + timedelta(seconds=120))], "the next deadline")

    def test_a_stage_whose_inputs_are_not_there_waits(self, running: Services, tiny: dict[str, Any]) -> None:
        """As a trigger starts it: it ends at once, Completed, says what it waits for, and has made nothing."""
        store = Path(tiny["experiment"]["run"]["store"])
        before = sorted(store.glob("keys/*/*.json"))
        run = running.run("tag/demo-tag", {**tiny, "options": {"if_ready": True}})
        assert (run["state_type"], run["state"]["name"]) == ("COMPLETED", "Waiting")
        assert run["state"]["message"].startswith("waiting for ")
        assert "embeddings/main/forward/train" in run["state"]["message"]
        assert run["name"] == "tag tiny, if ready"
        assert sorted(store.glob("keys/*/*.json")) == before

    def test_down_leaves_nothing(self, running: Services, tiny: dict[str, Any]) -> None:
        """After `make down` no process is left, the port is free, and no dead run keeps its queue's place."""
        unfinished = self._unfinished_run(running, tiny)
        done = running.control("down")
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.endswith("stopped\n")
        assert running.marked() == []
        with pytest.raises(urllib.error.URLError):
            running.ask("/health")
        with closing(sqlite3.connect(running.home / "prefect" / "prefect.db")) as database:
            states = database.execute("SELECT id, state_type FROM flow_run").fetchall()
        assert {state for run, state in states if run.replace("-", "") == unfinished.replace("-", "")} == {"CRASHED"}
        assert running.control("down").stdout == "nothing was running\n"

    def _unfinished_run(self, running: Services, tiny: dict[str, Any]) -> str:
        """A run that holds its queue's place and whose process is gone, as a kill leaves it."""
        deployment = running.ask("/deployments/name/tag/demo-tag")["id"]
        later = {"type": "SCHEDULED", "state_details": {"scheduled_time": "2100-01-01T00:00:00Z"}}
        run = running.ask(f"/deployments/{deployment}/create_flow_run", {"parameters": tiny, "state": later})["id"]
        running.ask(f"/flow_runs/{run}/set_state", {"state": {"type": "PENDING"}})
        return str(run)
