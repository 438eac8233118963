"""The whole pipeline in a real Prefect run and a real MLflow store: built, reused, repaired, rerun where it changed."""

from __future__ import annotations

import dataclasses
import gzip
import json
import logging
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
from prefect.settings import PREFECT_API_URL

from flows.embed import embed
from flows.pipeline import pipeline
from flows.pretrain import pretrain
from taglm_core.analysis.comparing import compare_runs, differing_settings, find_run, labels_of
from taglm_core.config.experiment import Experiment
from taglm_core.config.load import load_experiment
from taglm_core.errors import ConfigError, InputError, MissingObject
from taglm_core.evaluation.predictions import read_predictions
from taglm_core.evaluation.report import read_report, to_json
from taglm_core.pipeline import context
from taglm_core.pipeline.graph import build_graph
from taglm_core.pipeline.kinds import Stage
from taglm_core.pipeline.plan import Action, plan
from taglm_core.store.durable import write_json
from taglm_core.store.store import Store
from taglm_core.tagging.prediction import Predictor
from taglm_core.training.devices import open_device
from tasks.options import Options
from tasks.overview import OVERVIEW
from tests.building import DEMO_SOURCES
from tests.flows.test_cli import taglm

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("prefect_server"),
    # libraries' own, about libraries' own
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
TINY = ["demo.train_sentences=30", "demo.dev_sentences=20", "demo.test_sentences=20", "demo.unlabelled_sentences=4000",
        "unlabelled.heldout_fraction=0.1", "unlabelled.shards=2",
        "language_models.main={input: {kind: char-cnn, dim: 4, filters: [[2, 8]], size: 8}, units: 16, projection: 8, "
        "streams: 4, window: 5, steps: 12, softmax: {kind: full}, directions: [forward]}",
        "variants=[{name: baseline}, {name: TagLM, lm: main, directions: [forward]}]", "seeds=[1]",
        "tagger={units: [8, 8], batch_size: 8, max_epochs: 2, patience: 1, annealing: []}",
        "embedding.token_map={the: The, '.': '!'}", "significance.rounds=100"]  # fmt: skip

ONE_VARIANT = "variants=[{name: TagLM, lm: main, directions: [forward]}]"  # the one that reads embeddings


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, empty_tracking_store: Path) -> Path:
    """A folder for store and tracking."""
    folder = tmp_path_factory.mktemp("home")
    shutil.copyfile(empty_tracking_store, folder / "mlflow.db")
    return folder


def tiny(home: Path, *changes: str) -> Experiment:
    """The demo, as small as it goes."""
    places = [f"run.store={home / 'store'}", f"run.tracking_uri=sqlite:///{home / 'mlflow.db'}"]
    return load_experiment(None, [*TINY, *places, *changes])


def not_reused(experiment: Experiment) -> set[str]:
    """Steps that would run."""
    decisions = plan(Store(experiment.run.store), build_graph(experiment))
    return {name for name, decision in decisions.items() if decision.action is not Action.REUSE}


COUNTED = ("build_graph", "plan", "resolve_bases", "recipe_of")


@pytest.fixture(scope="module")
def first_run(home: Path, prefect_server: None) -> tuple[dict[str, str], Counter[str]]:
    """Digests of a first run, by step, and how often the context has computed what it holds."""
    calls: Counter[str] = Counter()

    def counting(name: str) -> Callable[..., object]:
        real = getattr(context, name)

        def call(*args: object, **kwargs: object) -> object:
            calls[name] += 1
            return real(*args, **kwargs)

        return call

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(home)
        for name in COUNTED:
            monkeypatch.setattr(context, name, counting(name))
        refs = pipeline(tiny(home))
    return {name: ref.digest for name, ref in refs.items()}, calls


@pytest.fixture(scope="module")
def made(first_run: tuple[dict[str, str], Counter[str]]) -> dict[str, str]:
    """Digests of a first run, by step."""
    return first_run[0]


def test_a_run_resolves_its_experiment_once(first_run: tuple[dict[str, str], Counter[str]]) -> None:
    """One graph and one plan for five flows and all tasks, and one recipe a step."""
    made, calls = first_run
    assert calls == {"build_graph": 1, "plan": 1, "resolve_bases": 1, "recipe_of": len(made)}


def test_its_log_says_what_runs_and_what_came_out(
    home: Path, made: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """Stages with a reason, then each variant's score on test; nothing to do is said, too."""
    assert made
    with caplog.at_level(logging.INFO, OVERVIEW):
        pipeline(tiny(home, "significance.rounds=101"))
        pipeline(tiny(home, "significance.rounds=101"))
    said = [record.getMessage() for record in caplog.records if record.name == OVERVIEW]
    first, baseline, taglm, again, *rest = said
    assert first.startswith("tag: 1 step to run (")
    assert "rounds" in first
    assert baseline.startswith("baseline on test: parameters ")
    assert taglm.startswith("TagLM on test: parameters ")
    assert "F1 against baseline" in taglm
    assert again.endswith("steps are in the store")
    assert rest == [baseline, taglm]


def test_everything_is_made_and_reused(home: Path, made: dict[str, str]) -> None:
    """All steps have objects, nothing is left to do, and no unfinished work lies about."""
    experiment = tiny(home)
    assert set(made) == set(build_graph(experiment))
    assert not_reused(experiment) == set()
    assert list((home / "store" / "work").glob("*/*/checkpoints")) == []
    again = pipeline(experiment)
    assert {name: ref.digest for name, ref in again.items()} == made


def test_report_holds_both_variants(home: Path, made: dict[str, str]) -> None:
    """Parameters, F1 and difference of baseline and TagLM; predictions have as many tokens as the corpus."""
    folder = home / "store" / "objects" / "report" / made["report"]
    report = json.loads((folder / "report.json").read_text())
    assert [variant["variant"] for variant in report["variants"]] == ["baseline", "TagLM"]
    assert report["variants"][1]["parameters"] > report["variants"][0]["parameters"]
    store = Store(home / "store")
    tokens = {store.manifest("corpus", made["corpus/test"]).counts["tokens"]}
    assert {store.manifest("evaluation", made[f"evaluation/{v}/seed-1/test"]).counts["tokens"]
            for v in ("baseline", "TagLM")} == tokens  # fmt: skip


@pytest.mark.parametrize("variant", ["baseline", "TagLM"])
def test_new_text_is_tagged_as_in_the_evaluation(home: Path, made: dict[str, str], variant: str) -> None:
    """The tagger by itself, given the test sentences, says what the evaluation says; tokens are mapped there, too."""
    store = Store(home / "store")
    models = [store.root / "objects" / "language-model" / made["language-model/main/forward"]]
    tagger = store.root / "objects" / "tagger" / made[f"tagger/{variant}/seed-1"]
    evaluation = store.root / "objects" / "evaluation" / made[f"evaluation/{variant}/seed-1/test"]
    found = read_predictions(evaluation / "predictions.parquet")
    assert any("the" in tokens for tokens in found.tokens)
    open_device("cpu", 1)
    predictor = Predictor.load(tagger, models if variant == "TagLM" else [])
    assert predictor.tag(found.tokens) == found.predicted
    if variant == "TagLM":
        assert predictor.spec.embedding.token_map == {"the": "The", ".": "!"}


def test_any_text_has_a_perplexity_on_the_command_line(home: Path, made: dict[str, str], tmp_path: Path) -> None:
    """One row a direction, the model's own held-out perplexity beside it; an empty file is an error."""
    experiment, text = tmp_path / "tiny.yaml", tmp_path / "text.txt.gz"
    experiment.write_text("name: tiny\n")
    text.write_bytes(gzip.compress(b"Mary met Paul .\n\nnobody Zzyzx\n"))
    sets = [f"--set={given}" for given in [*TINY, f"run.store={home / 'store'}"]]
    done = taglm(tmp_path, "perplexity", str(experiment), str(text), *sets)
    assert done.returncode == 0, done.stdout
    (row,) = [line.split("│")[1:-1] for line in done.stdout.splitlines() if "forward" in line]
    direction, from_break, carried, tokens, unknown, *heldout = (cell.strip() for cell in row)
    assert (direction, tokens) == ("forward", "8")
    assert min(float(from_break), float(carried)) > 1
    assert unknown.endswith(" %")
    metrics = Store(home / "store").manifest("language-model", made["language-model/main/forward"]).metrics
    assert heldout == [f"{metrics[f'heldout/perplexity{end}']:.2f}" for end in ("_break_state", "")]
    (tmp_path / "empty.txt").write_text("\n")
    done = taglm(tmp_path, "perplexity", str(experiment), str(tmp_path / "empty.txt"), *sets)
    assert (done.returncode, "found no sentence" in done.stderr) == (1, True)


def test_runs_are_compared_by_name_object_and_mlflow_run(home: Path, made: dict[str, str], tmp_path: Path) -> None:
    """However a run is named: the same evaluation, the figures of the report, and what the runs were made from."""
    path, store = tmp_path / "tiny.yaml", Store(home / "store")
    path.write_text("name: tiny\n")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "tiny.yaml").write_text("name: tiny\n")
    names = [f"{path}:{variant}" for variant in ("baseline", "TagLM")]
    place = f"run.store={store.root}"
    runs = [find_run(name, split="test", overrides=[*TINY, place]) for name in names]
    found = compare_runs(runs, rounds=100)
    report = json.loads((store.root / "objects" / "report" / made["report"] / "report.json").read_text())
    assert to_json(found)["differences"][0] == {**report["differences"][0], "variant": "tiny:TagLM"}
    differing = differing_settings(runs)
    assert differing["language-model/main/forward"] == ("-", made["language-model/main/forward"][:12])
    assert not any("seed" in name or "corpus" in name for name in differing)
    tagger, digest = made["tagger/TagLM/seed-1"], made["evaluation/TagLM/seed-1/test"]
    mlflow_run = store.manifest("tagger", tagger).made["mlflow_run"]
    for text in (digest[:8], tagger[:8], mlflow_run):
        assert find_run(text, split="test", overrides=[place]).evaluations[1].ref.digest == digest
    twins = [runs[0], find_run(f"{tmp_path / 'other' / 'tiny.yaml'}:baseline", split="test", overrides=[*TINY, place])]
    assert labels_of(twins) == [run.text for run in twins]
    shown = taglm(home, "compare", *names, *(f"--set={setting}" for setting in (*TINY, place)))
    assert "tiny:TagLM" in shown.stdout
    assert "what differs" in shown.stdout


def test_runs_that_are_not_there_are_refused_with_what_a_run_is(
    home: Path, made: dict[str, str], tmp_path: Path
) -> None:
    """Nonsense, an unknown object, an unknown variant, an experiment that has not run, one run twice."""
    path, place = tmp_path / "tiny.yaml", f"run.store={home / 'store'}"
    path.write_text("name: tiny\n")
    with pytest.raises(ConfigError, match="a run is EXPERIMENT"):
        find_run("nonsense", split="test")
    with pytest.raises(ConfigError, match="nothing evaluated on test begins with 'ffffffffff'"):
        find_run("ffffffffff", split="test", overrides=[place])
    with pytest.raises(ConfigError, match=r"no variant 'TagML'; write .*tiny\.yaml:baseline or"):
        find_run(f"{path}:TagML", split="test", overrides=TINY)
    with pytest.raises(MissingObject, match=r"seed 1 is not evaluated on test; run `taglm run"):
        find_run(f"{path}:TagLM", split="test", overrides=[*TINY, f"run.store={tmp_path / 'empty'}"])
    run = find_run(made["tagger/TagLM/seed-1"], split="test", overrides=[place])
    with pytest.raises(ConfigError, match="give each once"):
        compare_runs([run, run], rounds=10)


def test_a_tagger_evaluated_by_two_versions_is_found_by_the_newest(home: Path, made: dict[str, str]) -> None:
    """An evaluation made before STAGE_VERSION was raised stays in the store and is passed over."""
    store = Store(home / "store")
    pointer = max((p for p in store.pointers("evaluation") if p.digest == made["evaluation/TagLM/seed-1/test"]),
                  key=lambda p: p.time)  # fmt: skip
    old = dataclasses.replace(pointer.recipe, version=pointer.recipe.version - 1)
    write_json(
        store.root / "keys" / "evaluation" / f"{old.key}.json",
        dataclasses.asdict(dataclasses.replace(pointer, recipe=old, time=pointer.time - 1)),
    )
    tagger = made["tagger/TagLM/seed-1"]
    assert (
        find_run(tagger, split="test", overrides=[f"run.store={store.root}"]).evaluations[1].ref.digest
        == pointer.digest
    )


def test_a_damaged_report_is_set_aside_and_written_anew(
    home: Path, made: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same size, other bytes, nothing else to do: the command that prints it notices and repairs."""
    monkeypatch.setenv("PREFECT_API_URL", PREFECT_API_URL.value() or "")  # no server of its own
    path = home / "store" / "objects" / "report" / made["report"] / "report.json"
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"rounds": 100', b'"rounds": 101'))
    settings = [*TINY, f"run.store={home / 'store'}", f"run.tracking_uri=sqlite:///{home / 'mlflow.db'}"]
    (home / "tiny.yaml").write_text("name: demo\n")
    shown = taglm(home, "run", "tiny.yaml", *(f"--set={setting}" for setting in settings))
    assert "report: damaged (report.json has other bytes" in shown.stdout.replace("\n", " "), shown.stdout
    assert shown.returncode == 0, shown.stdout
    assert path.read_bytes() == data


def test_a_changed_field_reruns_what_depends_on_it(home: Path, made: dict[str, str]) -> None:
    """Another dropout: taggers, evaluations and report are made anew; corpora, LM and embeddings are not."""
    experiment = tiny(home, "tagger.dropout=0.1", ONE_VARIANT)
    stages = {build_graph(experiment)[name].stage for name in not_reused(experiment)}
    assert stages == {Stage.TAG}
    digests = {name: ref.digest for name, ref in pipeline(experiment).items()}
    changed = {name for name in digests if made[name] != digests[name]}
    assert all(name.startswith(("tagger", "evaluation", "report")) for name in changed)
    assert "tagger/TagLM/seed-1" in changed
    assert not_reused(tiny(home)) == set()  # the first experiment's objects are still there


def test_another_test_file_is_evaluated_without_training_and_loses_nothing(
    home: Path, made: dict[str, str], tmp_path: Path
) -> None:
    """Odd tokens come out as they went in; a tag that training lacks is scored and named; no tagger is trained."""
    tokens = ["e\u0301", "\N{GRINNING FACE}", "a" * 3000, "\xa0", "\u200b", "-", "O", "x"]
    tags = ["B-VEHICLE", "I-VEHICLE", *["O"] * 5, "B-PER"]
    path = tmp_path / "odd.conll"
    path.write_text("".join(f"{token} {tag}\n" for token, tag in zip(tokens, tags, strict=True)), encoding="utf-8")
    refs = pipeline(tiny(home, *DEMO_SOURCES, f"labelled.test={path}", ONE_VARIANT))
    assert refs["tagger/TagLM/seed-1"].digest == made["tagger/TagLM/seed-1"]
    store = Store(home / "store")
    evaluation = store.open(refs["evaluation/TagLM/seed-1/test"]).path
    found = read_predictions(evaluation / "predictions.parquet")
    assert found.tokens == [tokens]
    assert found.gold == [["B-VEHICLE", "E-VEHICLE", *["O"] * 5, "S-PER"]]
    scores = json.loads((evaluation / "scores.json").read_text())
    assert scores["tags_unseen_in_training"] == ["B-VEHICLE", "E-VEHICLE"]
    assert scores["scores"]["per_type"]["VEHICLE"]["gold"] == 1
    report = (store.open(refs["report"]).path / "report.md").read_text(encoding="utf-8")
    assert "training has none of, counted as errors: type VEHICLE" in report


@pytest.mark.parametrize("damage", ["truncate", "flip"])
def test_damage_is_noticed_and_rebuilt_with_the_same_digest(home: Path, made: dict[str, str], damage: str) -> None:
    """A damaged embedding file: set aside, made again, same bytes; what depends on it is reused."""
    name = "embeddings/main/forward/train"
    path = home / "store" / "objects" / "embeddings" / made[name] / "part-00000.arrow"
    data = path.read_bytes()
    if damage == "truncate":
        path.write_bytes(data[:-10])
        experiment = tiny(home)
    else:
        path.write_bytes(data[:-400] + bytes([data[-400] ^ 1]) + data[-399:])
        experiment = tiny(home, "tagger.dropout=0.2", ONE_VARIANT)  # same size: seen when something reads it
    digests = {name: ref.digest for name, ref in pipeline(experiment).items()}
    assert digests[name] == made[name]
    assert path.read_bytes() == data
    assert list((home / "store" / "damaged").glob(f"embeddings-{made[name]}-*"))


def test_refresh_computes_again_and_stops_at_equal_content(home: Path, made: dict[str, str]) -> None:
    """The refreshed language model comes out with the same digest, so nothing after it is computed."""
    store = Store(home / "store")
    before = store.pointer("embeddings", _key(home, "embeddings/main/forward/dev"))
    refs = pipeline(tiny(home), Options(refresh=(Stage.PRETRAIN,)))
    assert refs["language-model/main/forward"].digest == made["language-model/main/forward"]
    assert store.pointer("embeddings", _key(home, "embeddings/main/forward/dev")) == before


def test_one_stage_alone(home: Path, made: dict[str, str], tmp_path: Path) -> None:
    """With its inputs in the store it runs; without, and told not to run others, it says what is missing."""
    refs = embed(tiny(home), Options(first=Stage.EMBED))
    assert refs["embeddings/main/forward/test"].digest == made["embeddings/main/forward/test"]
    with pytest.raises(MissingObject, match=r"corpus/train.*ingest stage"):
        embed(tiny(tmp_path, "run.tracking=false"), Options(first=Stage.EMBED))


def test_language_models_go_on_with_new_text(home: Path, made: dict[str, str]) -> None:
    """A deployment's run settles `latest` itself: the base is told to MLflow, and the same text again makes nothing."""
    new = tiny(home, "demo.seed=2", "language_models.main.continue_from=latest")
    digest = pretrain(new)["language-model/main/forward"].digest
    store, base = Store(home / "store"), made["language-model/main/forward"]
    manifest = store.manifest("language-model", digest)
    assert manifest.recipe.inputs["base"] == base
    assert manifest.counts["continued"] == 1
    assert manifest.made["experiment"]["language_models"]["main"]["continue_from"] == {"forward": base}
    run = mlflow.MlflowClient(f"sqlite:///{home / 'mlflow.db'}").get_run(manifest.made["mlflow_run"])
    assert run.data.tags["taglm.input.base"] == base
    assert run.data.metrics["heldout/perplexity_before"] == manifest.metrics["heldout/perplexity_before"]
    assert pretrain(new)["language-model/main/forward"].digest == digest


def test_without_a_test_split_variants_are_compared_on_dev(home: Path, made: dict[str, str]) -> None:
    """Taggers are reused, only the report is another one, and it says which split it is of."""
    refs = pipeline(tiny(home, "labelled.test=null"))
    assert {name for name, ref in refs.items() if made[name] != ref.digest} <= {"scheme", "statistics", "report"}
    report = Store(home / "store").open(refs["report"]).path
    assert read_report(report).split == "dev"
    assert "no test split" in (report / "report.md").read_text(encoding="utf-8")


def test_text_alone_pretrains(home: Path, made: dict[str, str]) -> None:
    """Without labelled data a run ends with its language models."""
    refs = pipeline(tiny(home, "labelled=null"))
    assert refs["language-model/main/forward"].digest == made["language-model/main/forward"]
    assert not any(name.startswith(("tagger", "embeddings", "report")) for name in refs)


def test_bad_input_fails_with_file_and_line(tmp_path: Path, prefect_server: None) -> None:
    """A line with a missing column ends the flow with the reader's own error; the corpora before it are kept."""
    bad = tmp_path / "bad.conll"
    bad.write_text("Mary B-PER\nsleeps O\n\nin\n")
    with pytest.raises(InputError, match=r"bad\.conll:4: found 1 column"):
        pipeline(tiny(tmp_path, *DEMO_SOURCES, f"labelled.train={bad}", "run.tracking=false"))


def test_mlflow_shows_variants_with_their_seeds(home: Path, made: dict[str, str]) -> None:
    """Runs of the tag stage nest under their variants, nothing is left running, the champion loads by alias."""
    client = mlflow.MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    names = {experiment.name for experiment in client.search_experiments()}
    assert {"taglm/pretrain/demo", "taglm/embed/demo", "taglm/tag/demo", "taglm/pipeline/demo"} <= names
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(ids)
    assert {run.info.status for run in runs} == {"FINISHED"}
    children = [run for run in runs if run.data.tags.get("taglm.kind") == "tagger"]
    assert len(children) >= 2
    assert all("mlflow.parentRunId" in run.data.tags for run in children)
    assert all("test/f1" in run.data.metrics and "dev/f1" in run.data.metrics for run in children)
    assert client.get_model_version_by_alias("taglm-demo", "champion").version


def _key(home: Path, name: str) -> str:
    ref = plan(Store(home / "store"), build_graph(tiny(home)))[name].ref
    assert ref is not None
    return ref.key
