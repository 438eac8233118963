"""Steps, keys and plans: what reruns when something changes, and the reason given."""

from __future__ import annotations

from pathlib import Path

import pytest

from taglm_core.config.experiment import Experiment
from taglm_core.config.load import load_experiment
from taglm_core.errors import ConfigError, InputError
from taglm_core.pipeline.graph import build_graph
from taglm_core.pipeline.kinds import Stage
from taglm_core.pipeline.plan import Action, Decision, plan
from taglm_core.pipeline.steps import Graph
from taglm_core.store.records import Manifest
from taglm_core.store.store import Store, list_files
from tests.building import DEMO_SOURCES


def fill(store: Store, graph: Graph, experiment: Experiment) -> None:
    """Publish an object for every step whose payload is a function of its recipe, as a run would."""
    while True:
        decisions = plan(store, graph)
        ready = [decision for decision in decisions.values() if decision.action is Action.RUN]
        if not ready:
            return
        for decision in ready:
            assert decision.recipe is not None
            out = store.work(decision.recipe) / "out"
            out.mkdir(parents=True)
            (out / "payload").write_text(decision.recipe.key)
            label = f"{experiment.name}/{decision.step.name}"
            store.publish(out, Manifest(label, decision.recipe, list_files(out), made={"time": 0}))


def changed(store: Store, *overrides: str) -> dict[str, Decision]:
    """What no longer is reused under overrides."""
    decisions = plan(store, build_graph(load_experiment(None, overrides)))
    return {name: decision for name, decision in decisions.items() if decision.action is not Action.REUSE}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store in which the default experiment has run."""
    store, experiment = Store(tmp_path / "store"), load_experiment(None)
    fill(store, build_graph(experiment), experiment)
    return store


def test_nothing_changed_nothing_runs(store: Store) -> None:
    """A second plan reuses everything."""
    assert changed(store) == {}


@pytest.mark.parametrize(
    "override",
    [
        "name=other",
        "run.threads=2",
        "run.device=cpu",
        "run.workers=1",
        "run.device_share=8",
        "run.checkpoint_seconds=1",
        "run.evaluate_steps=3",
        "run.tracking=false",
        "run.memory_limit=1GB",
    ],
)
def test_execution_settings_are_in_no_key(store: Store, override: str) -> None:
    """How things run changes nothing."""
    assert changed(store, override) == {}


def test_a_tagger_setting_reruns_taggers_only(store: Store) -> None:
    """Stages above the change are reused; the reason names the field."""
    found = changed(store, "tagger.dropout=0.3")
    assert {decision.step.kind for decision in found.values()} == {"tagger", "evaluation", "report"}
    assert found["tagger/baseline/seed-1"].reason == "against demo/tagger/baseline/seed-1: dropout 0.25 -> 0.3"
    assert found["report"].action is Action.DEPENDS


def test_a_language_model_setting_spares_the_baseline(store: Store) -> None:
    """A baseline does not depend on language models."""
    found = changed(store, "language_models.main.steps=7")
    kinds = {decision.step.kind for decision in found.values()}
    assert kinds == {"language-model", "embeddings", "tagger", "evaluation", "report"}
    assert not any("baseline" in name for name in found)
    assert "steps 3000 -> 7" in found["language-model/main/forward"].reason


def test_the_order_of_sentences_is_in_keys_only_where_it_is_not_the_usual_one(store: Store) -> None:
    """Passages make other token ids and language models; passages of one sentence are what there was."""
    assert changed(store, "unlabelled.passage_sentences=1") == {}
    decisions = changed(store, "unlabelled.passage_sentences=20")
    assert decisions["token-ids"].action is Action.RUN
    assert "vocabulary" not in decisions
    recipe = build_graph(load_experiment(None, ["unlabelled.passage_sentences=20"]))["language-model/main/backward"]
    assert recipe.config["passage_sentences"] == 20


def test_the_output_is_in_keys_only_where_it_is_no_crf(store: Store) -> None:
    """Taggers made before there was a choice keep their keys."""
    assert changed(store, "tagger.output=crf") == {}
    decisions = changed(store, "tagger.output=softmax")
    assert {decision.step.kind for decision in decisions.values()} == {"tagger", "evaluation", "report"}
    back = "variants=[{name: baseline, tagger: {output: crf}}, {name: TagLM, lm: main}]"
    assert not any("baseline" in name for name in changed(store, "tagger.output=softmax", back))


def test_one_more_seed_adds_its_runs_only(store: Store) -> None:
    """Seeds are independent."""
    found = changed(store, "seeds=[1, 2, 3, 4]")
    assert all("seed-4" in name for name in found if name != "report")
    assert {f"tagger/{variant}/seed-4" for variant in ("baseline", "TagLM")} <= found.keys()


def test_a_damaged_object_is_a_reason(store: Store) -> None:
    """A truncated file is noticed by planning."""
    ref = plan(store, build_graph(load_experiment(None)))["vocabulary"].ref
    assert ref is not None
    (store.root / "objects" / ref.kind / ref.digest / "payload").write_text("")
    assert "damaged: payload has 0 bytes" in changed(store)["vocabulary"].reason


def test_refresh_runs_a_stage_and_leaves_the_rest_to_its_outcome(store: Store) -> None:
    """What depends on a refreshed stage runs only if the content changes."""
    decisions = plan(store, build_graph(load_experiment(None)), [Stage.PRETRAIN])
    assert decisions["vocabulary"].reason == "refresh requested"
    assert decisions["tagger/TagLM/seed-1"].action is Action.DEPENDS
    assert decisions["tagger/baseline/seed-1"].action is Action.REUSE


@pytest.mark.parametrize(
    "extra",
    [
        [],
        ["labelled.dev=null", "labelled.dev_sentences=9", "labelled.train_fraction=0.5"],
        ["tagger.train_on=train+dev"],
    ],
)
def test_test_data_has_no_path_into_training(extra: list[str]) -> None:
    """No step above a tagger or a language model reads the test corpus; only the scheme's name sees its tags."""
    graph = build_graph(load_experiment(None, extra))
    for name, step in graph.items():
        if step.kind in ("tagger", "language-model", "vocabulary"):
            assert "corpus/test" not in graph.above(name)
            assert not any("/test" in above for above in graph.above(name))


def test_a_tagger_on_train_and_dev_takes_its_epochs_from_one_on_train(store: Store) -> None:
    """That one is what trains on train alone, by key; dev is measured on it, test on the other."""
    variants = (
        "variants=[{name: baseline}, {name: TagLM, lm: main}, {name: both, lm: main, tagger: {train_on: train+dev}}]"
    )
    experiment = load_experiment(None, [variants])
    graph = build_graph(experiment)
    before, after = graph["tagger/both:train-only/seed-2"], graph["tagger/both/seed-2"]
    assert before.config == graph["tagger/TagLM/seed-2"].config
    assert dict(after.inputs) == {**before.inputs, "train-only": before.name}
    assert dict(after.config) == {**before.config, "train_on": "train+dev"}
    assert graph["evaluation/both/seed-2/dev"].inputs["tagger"] == before.name
    assert graph["evaluation/both/seed-2/test"].inputs["tagger"] == after.name
    assert graph["report"].inputs["dev/corpus"] == "corpus/dev"
    decisions = plan(store, graph)
    for seed in experiment.seeds:
        assert decisions[f"tagger/both:train-only/seed-{seed}"].action is Action.REUSE
        assert decisions[f"evaluation/both/seed-{seed}/dev"].action is Action.REUSE
        assert decisions[f"tagger/both/seed-{seed}"].action is Action.RUN


def test_every_kind_of_source_is_drawn(tmp_path: Path) -> None:
    """Dev drawn from train and a fraction of train: three corpora from one source."""
    graph = build_graph(load_experiment(None, ["labelled.dev=null", "labelled.dev_sentences=9",
                                               "labelled.train_fraction=0.5"]))  # fmt: skip
    assert graph["corpus/train"].inputs == {"source": "corpus/train-rest"}
    assert graph["corpus/train-rest"].config["complement"]
    assert not graph["corpus/dev"].config["complement"]


def test_missing_input_files_are_an_input_error(tmp_path: Path) -> None:
    """A path that leads nowhere is named, before anything runs."""
    graph = build_graph(load_experiment(None, [*DEMO_SOURCES, "labelled.train=nowhere.conll"]))
    with pytest.raises(InputError, match=r"nowhere\.conll"):
        plan(Store(tmp_path / "store"), graph)


@pytest.mark.parametrize(
    ("overrides", "gone"),
    [
        (["labelled=null"], {"scheme", "corpus/train", "corpus/dev", "corpus/test", "report"}),
        (["labelled.test=null"], {"corpus/test", "evaluation/TagLM/seed-1/test", "embeddings/main/forward/test"}),
        (
            ["unlabelled=null", "variants=[{name: baseline}]"],
            {"corpus/text", "vocabulary", "language-model/main/forward"},
        ),
    ],
)
def test_what_an_experiment_lacks_has_no_steps(overrides: list[str], gone: set[str]) -> None:
    """Without labels no tagger, without a test split no test figures, without text no language model."""
    whole, graph = build_graph(load_experiment(None)), build_graph(load_experiment(None, overrides))
    assert gone <= whole.keys() - graph.keys()
    assert "statistics" in graph
    if "labelled=null" in overrides:
        assert {step.stage for step in graph.values()} == {Stage.INGEST, Stage.PRETRAIN}
    same = (whole.keys() & graph.keys()) - {"scheme", "statistics", "report"}
    assert all(graph[name] == whole[name] for name in same)


def test_unknown_demo_files_are_refused() -> None:
    """demo:x lists what there is."""
    with pytest.raises(ConfigError, match="demo:train"):
        build_graph(load_experiment(None, ["labelled.train=demo:trian"]))


def test_how_files_are_read_is_in_keys_only_where_it_is_not_the_usual_way() -> None:
    """The separator and `strict` are in the recipes of scheme and corpora once they are set, and in no others."""
    usual = build_graph(load_experiment(None))
    assert not {"separator", "strict"} & {*usual["scheme"].config, *usual["corpus/dev"].config}
    graph = build_graph(load_experiment(None, ["labelled.separator=space", "labelled.strict=true"]))
    for name in ("scheme", "corpus/dev"):
        assert dict(graph[name].config) == {**usual[name].config, "separator": "space", "strict": True}
    assert graph["corpus/text"].config == usual["corpus/text"].config


def test_another_content_of_a_raw_file_runs_what_reads_it(tmp_path: Path) -> None:
    """The path stays; the corpus and the scheme of all splits are made again, the text and its words are not."""
    files = {split: tmp_path / f"{split}.conll" for split in ("train", "dev", "test")}
    for path in files.values():
        path.write_text("Ada B-PER\n\n")
    (tmp_path / "text").write_text("Ada sleeps\n")
    sources = [f"labelled.{split}={path}" for split, path in files.items()]
    sources += ["labelled.name=x", f"unlabelled.path={tmp_path / 'text'}", "unlabelled.name=x"]
    store, experiment = Store(tmp_path / "store"), load_experiment(None, sources)
    fill(store, build_graph(experiment), experiment)
    files["dev"].write_text("Bob B-PER\n\n")
    found = changed(store, *sources)
    assert found["scheme"].action is Action.RUN
    assert "input dev changed" in found["scheme"].reason
    assert found["corpus/dev"].action is Action.DEPENDS
    assert not {"corpus/text", "vocabulary", "language-model/main/forward"} & found.keys()
