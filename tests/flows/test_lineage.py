"""`taglm lineage` and `taglm links`: what is printed, without a server."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows import cli, cli_views
from flows.cli_invocation import Invocation
from taglm_core.config.load import build_experiment
from taglm_core.errors import ConfigError, MissingObject
from taglm_core.pipeline.graph import build_graph
from taglm_core.pipeline.kinds import KINDS
from taglm_core.pipeline.plan import recipe_of
from taglm_core.store.records import Manifest, Recipe, Ref
from taglm_core.store.store import Store, list_files
from taglm_core.store.uses import record_use
from tasks.tracking.links import Link

CONLL = "Ada B-PER\nsleeps O\n\n"


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PREFECT_API_URL", "PREFECT_UI_URL", "TAGLM_PREFECT_PORT", "TAGLM_MLFLOW_PORT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ref:
    """The text corpus of an experiment `mine.yaml`, in the store; everything lies in the working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("a word\n")
    for split in ("train", "dev", "test"):
        (tmp_path / split).write_text(CONLL)
    (tmp_path / "mine.yaml").write_text(
        "{name: mine, unlabelled: {path: text.txt}, labelled: {train: train, dev: dev, test: test, scheme: bioes}}"
    )
    settings = {"unlabelled": {"path": "text.txt"}, "labelled": {"train": "train", "dev": "dev", "test": "test"}}
    experiment, store = build_experiment(settings, "mine"), Store(Path("data/store"))
    recipe = recipe_of(store, build_graph(experiment)["corpus/text"], {})
    out = store.work(recipe) / "out"
    out.mkdir(parents=True)
    (out / "sentences-0.parquet").write_text("content")
    made = {"time": 0.0, "mlflow_run": "m" * 32, "prefect_run": "p-1", "experiment": experiment.model_dump(mode="json")}
    return store.publish(out, Manifest("mine/corpus/text", recipe, list_files(out), made=made))


def lineage(*arguments: str) -> str:
    done = CliRunner().invoke(cli.app, ["lineage", *arguments], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def test_lineage_goes_down_to_the_raw_file_and_up_to_the_runs(corpus: Ref, tmp_path: Path) -> None:
    """Path, size and sha256 of the file, and a link for each run; lines are not cut."""
    said = lineage(corpus.digest[:6])
    sha256 = hashlib.sha256(b"a word\n").hexdigest()
    assert f"corpus {corpus.digest}" in said
    assert f"{tmp_path / 'text.txt'}  7 B  sha256 {sha256}\n" in said
    assert f"http://127.0.0.1:5000/#/runs/{'m' * 32}?workflowType=machine_learning  mine/corpus/text" in said
    assert "http://127.0.0.1:4200/runs/flow-run/p-1  mine/corpus/text" in said
    assert "nothing in the store" in said


def test_lineage_names_all_experiments_that_use_an_object(corpus: Ref) -> None:
    """With their steps and runs; the labels are those of the experiment that is asked for."""
    store = Store(Path("data/store"))
    record_use(store, "mine", "corpus/text", ("corpus", corpus.digest), pipeline_run="a" * 32)
    record_use(store, "yours", "corpus/news", ("corpus", corpus.digest), pipeline_run="b" * 32, prefect_run="p-2")
    said = lineage(corpus.digest)
    assert "first made for mine/corpus/text" in said
    assert [line.split("  ")[0] for line in said.splitlines() if "  since " in line] == [
        "mine/corpus/text", "yours/corpus/news",
    ]  # fmt: skip
    for run, label in (("a", "mine/corpus/text"), ("b", "yours/corpus/news")):
        assert f"http://127.0.0.1:5000/#/runs/{run * 32}?workflowType=machine_learning  {label}" in said
    assert "http://127.0.0.1:4200/runs/flow-run/p-2  yours/corpus/news" in said
    assert "mine/corpus/text (also yours)" in " ".join(said.split())
    Path("yours.yaml").write_text(Path("mine.yaml").read_text().replace("name: mine", "name: yours"))
    own = " ".join(lineage("corpus/text", "--experiment", "yours.yaml").split())
    assert "yours/corpus/news (also mine)" in own


def test_links_go_to_where_the_ui_is(corpus: Ref, monkeypatch: pytest.MonkeyPatch) -> None:
    """To other ports, or to the tracking server that the experiment names."""
    monkeypatch.setenv("TAGLM_PREFECT_PORT", "4300")
    said = lineage(f"corpus/{corpus.digest}", "--set", "run.tracking_uri=http://tracking:80")
    assert "http://tracking:80/#/runs/" in said
    assert "http://127.0.0.1:4300/runs/flow-run/p-1" in said


def test_a_changed_raw_file_is_said(corpus: Ref) -> None:
    """What was read is not what is there."""
    Path("text.txt").write_text("other words\n")
    assert "changed or gone since" in lineage(corpus.digest)


def test_an_object_that_was_removed_is_called_one(corpus: Ref) -> None:
    """With its kind and digest; raw files are something else."""
    store, inputs = Store(Path("data/store")), {"text": "c" * 32, "vocabulary": "d" * 32}
    recipe = Recipe("token-ids", KINDS["token-ids"].version, {}, inputs)
    out = store.work(recipe) / "out"
    out.mkdir(parents=True)
    (out / "payload").write_text("ids")
    ids = store.publish(out, Manifest("mine/token-ids", recipe, list_files(out), made={"time": 0.0}))
    said = lineage(f"token-ids/{ids.digest}")
    assert f"text: corpus {'c' * 12}  no longer in the store" in said
    assert f"vocabulary: vocabulary {'d' * 12}  no longer in the store" in said
    assert "raw files" not in said


def test_a_step_of_an_experiment_can_be_asked_for(corpus: Ref) -> None:
    """By its name; one that was not made says how, a wrong one which are alike."""
    assert f"corpus {corpus.digest}" in lineage("corpus/text", "--experiment", "mine.yaml")
    with pytest.raises(MissingObject, match="`taglm run` builds it"):
        lineage("vocabulary", "--experiment", "mine.yaml")
    with pytest.raises(ConfigError, match=r"similar steps: .*corpus/text"):
        lineage("corpus/txt", "--experiment", "mine.yaml")


def test_links_stand_below_their_question() -> None:
    """Once a question; with nothing logged, what to do."""
    found = [Link("a", "Which?", "http://one", "[one]"), Link("b", "Which?", "http://two", "two")]
    lines = cli_views.link_lines(found, Invocation(Path("mine.yaml")))
    assert sum("Which?" in line for line in lines) == 1
    assert [url in lines[n + 1] for n, url in enumerate(("http://one", "http://two"))] == [True, True]
    assert "`taglm run mine.yaml`" in cli_views.link_lines([], Invocation(Path("mine.yaml")))[0]


def test_asking_makes_no_tracking_store(corpus: Ref) -> None:
    """Before the first tracked run there is none: said, and none is made."""
    done = CliRunner().invoke(cli.app, ["links", "mine.yaml"], catch_exceptions=False)
    assert "nothing was logged" in done.stdout
    with pytest.raises(ConfigError, match="no registered model"):
        lineage("models:/taglm-mine@champion")
    assert not Path("data/mlflow.db").exists()


def test_links_of_an_experiment_without_tracking_are_refused(corpus: Ref) -> None:
    """Nothing is in MLflow then."""
    with pytest.raises(ConfigError, match=r"run\.tracking is false"):
        CliRunner().invoke(cli.app, ["links", "mine.yaml", "--set", "run.tracking=false"], catch_exceptions=False)


def test_the_end_of_a_run_says_where_to_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """How each UI is opened, unless a server is there already; and the command for the links."""
    path, experiment = Path("mine.yaml"), build_experiment({}, "mine")
    said = "\n".join(cli_views.locations(experiment, Invocation(path)))
    assert "make mlflow   then http://127.0.0.1:5000/#/experiments?workflowType=machine_learning" in said
    assert "make prefect  then http://127.0.0.1:4200/runs" in said
    assert "`taglm links mine.yaml`" in said
    monkeypatch.setenv("PREFECT_API_URL", "http://prefect:4200/api")
    said = "\n".join(
        cli_views.locations(build_experiment({"run": {"tracking_uri": "http://tracking"}}, "mine"), Invocation(path))
    )
    assert "MLflow   http://tracking/#/experiments" in said
    assert "Prefect  http://prefect:4200/runs" in said
    assert "links" not in "\n".join(
        cli_views.locations(build_experiment({"run": {"tracking": False}}, "mine"), Invocation(path))
    )
