"""Language models that go on from others: which one `latest` is, and what plans make of it. Nothing is trained."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from taglm_core.analysis import text_perplexity as scoring
from taglm_core.analysis.comparing import EvaluatedRun, differing_settings, find_run
from taglm_core.config.experiment import Experiment
from taglm_core.config.load import load_experiment
from taglm_core.errors import ConfigError, DamagedObject, MismatchError, MissingObject
from taglm_core.pipeline.bases import resolve_bases
from taglm_core.pipeline.context import PipelineContext
from taglm_core.pipeline.graph import build_graph
from taglm_core.pipeline.kinds import Stage
from taglm_core.pipeline.plan import Action, Decision, plan, set_damaged_aside
from taglm_core.store.store import Store
from tests.building import DEMO_SOURCES
from tests.stages.test_graph_and_plan import fill

FORWARD = "language-model/main/forward"
LATEST = "language_models.main.continue_from=latest"


class Weeks:
    """A store, and an experiment whose text is another one every week."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder, Store(folder / "store")

    def experiment(self, text: str, *changes: str, settled: bool = True) -> Experiment:
        """The experiment in the week whose text this is."""
        path = self.folder / "text.txt"  # one place: only its bytes tell the weeks apart
        path.write_text(text)
        fixed = [*DEMO_SOURCES, f"unlabelled.path={path}", f"run.store={self.store.root}", LATEST]
        found = load_experiment(None, [*fixed, *changes])
        return resolve_bases(self.store, found).experiment if settled else found

    def lines(self, text: str, *changes: str) -> str:
        """What is said of `latest`."""
        return "\n".join(resolve_bases(self.store, self.experiment(text, *changes, settled=False)).lines)

    def bases(self, text: str, *changes: str) -> object:
        return self.experiment(text, *changes).language_models["main"].continue_from

    def plan(self, text: str, *changes: str) -> dict[str, Decision]:
        return plan(self.store, build_graph(self.experiment(text, *changes)))

    def runs(self, text: str, *changes: str) -> set[str]:
        """Kinds of the steps that would run."""
        return {d.step.kind for d in self.plan(text, *changes).values() if d.action is not Action.REUSE}

    def run(self, text: str, *changes: str) -> dict[str, str]:
        """A week's run: the digests of its language models, by direction."""
        experiment = self.experiment(text, *changes)
        fill(self.store, build_graph(experiment), experiment)
        return self.digests(text, *changes)

    def digests(self, text: str, *changes: str) -> dict[str, str]:
        found = self.plan(text, *changes)
        ways = ("forward", "backward")
        return {way: ref.digest for way in ways if (ref := found[f"language-model/main/{way}"].ref) is not None}


@pytest.fixture
def weeks(tmp_path: Path) -> Weeks:
    return Weeks(tmp_path)


def test_weeks_form_a_chain_and_a_rerun_of_the_newest_reuses_everything(weeks: Weeks) -> None:
    """The first trains from random weights and says so; each later one goes on from the one before, also when rerun."""
    assert "forward, continue_from latest: no model of other text in the store; starts from random" in weeks.lines("a")
    assert weeks.bases("a") is None
    first = weeks.run("a")
    assert weeks.runs("a") == set()
    assert weeks.bases("b") == first
    assert f"backward, continue_from latest: goes on from {first['backward'][:12]}" in weeks.lines("b")
    second = weeks.run("b")
    assert second["forward"] != first["forward"]
    assert weeks.bases("b") == first  # not itself
    assert weeks.runs("b") == set()
    third = weeks.run("c")
    assert weeks.bases("c") == second
    assert weeks.bases("d") == third
    for text in "abc":
        assert weeks.runs(text) == set(), "an old text again: what was made of it then"


def test_the_base_is_an_input_and_changes_no_other_key(weeks: Weeks) -> None:
    """Without a base the recipe is as if there were no such setting; with one, key and lineage have its digest."""
    plain = weeks.plan("a", "language_models.main.continue_from=null")[FORWARD].step
    assert weeks.plan("a")[FORWARD].step == plain
    assert "continue_from" not in plain.config
    first = weeks.run("a")
    weeks.run("b")
    ref = weeks.plan("b")[FORWARD].ref
    assert ref is not None
    assert weeks.store.manifest(ref.kind, ref.digest).recipe.inputs["base"] == first["forward"]


def test_the_reason_names_the_base(weeks: Weeks) -> None:
    """What a plan says of a week that would go on, and of one that no longer does."""
    weeks.run("a")
    weeks.run("b")
    off = weeks.plan("b", "language_models.main.continue_from=null")[FORWARD]
    assert off.reason == f"against demo/{FORWARD}: input base is gone"
    weeks.run("c", "language_models.main.steps=9")
    assert "steps 9 -> 8" in weeks.plan("c", "language_models.main.steps=8")[FORWARD].reason


def test_directions_find_their_bases_by_themselves(weeks: Weeks) -> None:
    """A run that was killed after one direction: it goes on with the same bases."""
    first = weeks.run("a")
    experiment = weeks.experiment("b", "language_models.main.directions=[forward]",
                                  "variants=[{name: baseline}]")  # fmt: skip
    fill(weeks.store, build_graph(experiment), experiment)
    assert weeks.bases("b") == first
    assert {n for n, d in weeks.plan("b").items() if d.step.kind == "language-model" and d.ref is None} == {
        "language-model/main/backward"
    }


def test_text_is_known_by_what_it_is(weeks: Weeks) -> None:
    """Another held-out share, and a text whose ids and corpus are gone: still the text that was trained on."""
    first = weeks.run("a")
    assert weeks.bases("a", "unlabelled.heldout_fraction=0.3") is None
    weeks.run("b")
    for kind in ("token-ids", "corpus"):
        shutil.rmtree(weeks.store.root / "objects" / kind)
    assert weeks.bases("b") == first


def test_generated_text_is_another_one_with_another_seed(weeks: Weeks) -> None:
    """The demo's text is told by the generator's settings."""
    demo = "unlabelled.path=demo:text"
    first = weeks.run("", demo)
    assert weeks.bases("", demo) is None
    assert weeks.bases("", demo, "demo.seed=2") == first
    second = weeks.run("", demo, "demo.seed=2")
    assert weeks.bases("", demo, "demo.seed=2") == first
    assert weeks.bases("", demo, "demo.seed=3") == second


def test_other_experiments_names_and_shapes_are_no_base(weeks: Weeks) -> None:
    """Names decide; settings of training may differ; a model of another shape is passed over and that is said."""
    first = weeks.run("a")
    assert weeks.bases("b", "name=other") is None
    assert weeks.bases("b", "language_models.main.steps=7", "language_models.main.dropout=0.3") == first
    assert weeks.bases("b", "language_models.main.units=700") is None
    assert f"{first['forward'][:12]} was passed over: its units is 768, not 700" in weeks.lines(
        "b", "language_models.main.units=700"
    )


def test_computing_an_old_week_again_does_not_make_it_the_newest(weeks: Weeks) -> None:
    """Refreshed with the same outcome: when the object was made counts, not when its pointer was written."""
    weeks.run("a")
    second = weeks.run("b")
    for digest, time in ((weeks.digests("a")["forward"], 1), (second["forward"], 2)):
        path = weeks.store.root / "objects" / "language-model" / digest / "manifest.json"
        path.write_text(path.read_text().replace('"time": 0', f'"time": {time}'))
    pointer = weeks.store.pointers("language-model")[0]
    path = weeks.store.root / "keys" / "language-model" / f"{pointer.recipe.key}.json"
    path.write_text(path.read_text().replace(f'"time": {pointer.time}', f'"time": {pointer.time + 1000}'))
    bases = weeks.bases("c")
    assert isinstance(bases, dict)
    assert bases["forward"] == second["forward"]


def test_a_base_is_named_by_its_beginning(weeks: Weeks) -> None:
    """Six characters do; the key has the whole digest, however much was written."""
    first = weeks.run("a")["forward"]
    keys = set()
    for start in (first[:6], first[:9], first):
        decision = weeks.plan("b", f"language_models.main.continue_from={{forward: '{start}'}}")[FORWARD]
        assert decision.step.objects == {"base": ("language-model", first)}
        keys.add(str(decision.step.objects))
    assert len(keys) == 1
    backward = weeks.plan("b", f"language_models.main.continue_from={{forward: '{first}'}}")
    assert backward["language-model/main/backward"].step.objects == {}


def test_a_text_is_scored_by_the_model_that_goes_on(weeks: Weeks, monkeypatch: pytest.MonkeyPatch) -> None:
    """The perplexity command finds a continued model by the same file: `latest`, or the beginning of a digest."""
    first = weeks.run("a")
    short = f"language_models.main.continue_from={{forward: {first['forward'][:8]!r}, backward: {first['backward']!r}}}"
    second = weeks.run("b")
    opened: list[str] = []
    monkeypatch.setattr(scoring, "load_language_model", lambda path, _: opened.append(path.name))
    monkeypatch.setattr(scoring, "score_text", lambda *_: None)
    for changes in ([], [short]):
        experiment = weeks.experiment("b", *changes, settled=False)
        list(scoring.text_perplexity(experiment, str(weeks.folder / "text.txt"), None, command="taglm pretrain x.yaml"))
        assert opened == [second["forward"], second["backward"]]
        opened.clear()


def test_a_base_that_is_not_there_is_refused_with_what_is(weeks: Weeks) -> None:
    """No such beginning, an ambiguous one, one of the other direction, one of another shape."""
    none = "language_models.main.continue_from={forward: 'ffffffff'}"
    with pytest.raises(MissingObject, match=r"main\.continue_from\.forward: no language models begin.*are none"):
        weeks.plan("a", none)
    first = weeks.run("a")
    with pytest.raises(MissingObject, match=rf"{first['forward'][:12]} \(demo/{FORWARD}\)"):
        weeks.plan("b", none)
    twin = weeks.store.root / "objects" / "language-model" / (first["forward"][:8] + "0" * 24)
    shutil.copytree(twin.with_name(first["forward"]), twin)
    with pytest.raises(ConfigError, match="2 language models begin with"):
        weeks.plan("b", f"language_models.main.continue_from={{forward: '{first['forward'][:8]}'}}")
    with pytest.raises(MismatchError, match=r"continue_from\.forward: \w{12} is a backward language model"):
        weeks.plan("b", f"language_models.main.continue_from={{forward: '{first['backward']}'}}")
    changes = ["language_models.main.units=700", "language_models.main.softmax={kind: adaptive, shrink: 2}"]
    unlike = r"main\.softmax\.shrink is 2\.0, in the base 4\.0; .*main\.units is 700, in the base 768.*leave out"
    with pytest.raises(MismatchError, match=unlike):
        weeks.plan("b", *changes, f"language_models.main.continue_from={{forward: '{first['forward']}'}}")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "newest",
            "language_models.main.continue_from: expected null, latest, or a section {forward: DIGEST, backward:",
        ),
        ("{forwards: abcdef}", "expected null, latest, or a section"),
        ("{forward: abc}", "forward: expected the beginning (6 characters or more)"),
        ("{forward: 1234567}", "put it into quotes, or YAML reads a number"),
    ],
)
def test_what_is_no_base_is_refused(given: str, message: str) -> None:
    """One line with the dotted path, and what is valid."""
    with pytest.raises(ConfigError) as caught:
        load_experiment(None, [f"language_models.main.continue_from={given}"])
    assert message in str(caught.value)
    assert str(caught.value).count("\n") == 1
    with pytest.raises(ConfigError, match="continue_from: backward is not in directions"):
        load_experiment(None, ["language_models.more={directions: [forward], continue_from: {backward: abcdef}}"])


def test_an_unsettled_latest_makes_no_graph(weeks: Weeks) -> None:
    """Whoever forgets to settle it must not train from random weights instead."""
    with pytest.raises(ValueError, match="latest is not settled"):
        build_graph(weeks.experiment("a", settled=False))


def test_settling_twice_changes_nothing(weeks: Weeks) -> None:
    """Flows settle what the command line has settled; the settings travel as JSON in between."""
    weeks.run("a")
    settled = weeks.experiment("b")
    again = resolve_bases(weeks.store, Experiment.model_validate(settled.model_dump(mode="json")))
    assert (again.experiment, again.lines) == (settled, ())


def test_a_base_that_is_gone_matters_only_if_it_is_needed(weeks: Weeks) -> None:
    """What was made from it is reused; a plan that would read it fails, and `latest` passes over it, with new text."""
    first = weeks.run("a")
    second = weeks.run("b")
    folder = weeks.store.root / "objects" / "language-model" / first["forward"]
    shutil.rmtree(folder)
    assert weeks.runs("b") == set()
    with pytest.raises(MissingObject, match=rf"{FORWARD}: its base is language-model {first['forward']}.*not in the"):
        weeks.plan("b", "language_models.main.steps=8")
    shutil.rmtree(folder.with_name(second["forward"]))
    bases = weeks.bases("c")
    assert isinstance(bases, dict)
    assert set(bases) == {"backward"}
    assert f"{second['forward'][:12]} was passed over: it is not in the store" in weeks.lines("c")


def test_a_damaged_base_is_never_lost_in_silence(weeks: Weeks) -> None:
    """Same size, other bytes: no step would rebuild it, so the run ends; the next one does not take it for whole."""
    first = weeks.run("a")
    path = weeks.store.root / "objects" / "language-model" / first["forward"] / "payload"
    path.write_text("x" * path.stat().st_size)
    decisions = weeks.plan("b")
    with pytest.raises(DamagedObject, match=r"its base, .*other bytes.*set aside as .*; no step of this experiment"):
        set_damaged_aside(weeks.store, decisions)
    assert len(list((weeks.store.root / "damaged").glob(f"language-model-{first['forward']}-*"))) == 2
    assert set(weeks.bases("b") or ()) == {"backward"}
    path.parent.mkdir()
    with pytest.raises(DamagedObject, match=r"manifest\.json is missing"):
        plan(weeks.store, build_graph(weeks.experiment("b", f"language_models.main.continue_from="
                                                       f"{{forward: '{first['forward']}'}}")))  # fmt: skip


def test_refresh_and_stages_keep_the_base(weeks: Weeks) -> None:
    """The stage computed again: the same recipe."""
    weeks.run("a")
    weeks.run("b")
    graph = build_graph(weeks.experiment("b"))
    before, again = plan(weeks.store, graph)[FORWARD].recipe, plan(weeks.store, graph, [Stage.PRETRAIN])[FORWARD]
    assert again.reason == "after vocabulary, token-ids"  # what it reads is computed first
    assert before is not None
    assert graph[FORWARD].objects["base"][1] == before.inputs["base"]


def test_a_missing_base_ends_the_build_before_it_begins(weeks: Weeks) -> None:
    """Also where nobody planned: the object is looked for before any work."""
    weeks.run("a")
    experiment = weeks.experiment("b")
    step = build_graph(experiment)[FORWARD]
    shutil.rmtree(weeks.store.root / "objects" / "language-model")
    refs = {d.step.name: d.ref for d in weeks.plan("a").values()}
    inputs = {role: ref for role, name in step.inputs.items() if (ref := refs[name]) is not None}
    with pytest.raises(MissingObject, match="its base is language-model"):
        PipelineContext.resolve(experiment).request(step, inputs)


def test_what_differs_is_found_through_the_bases(weeks: Weeks) -> None:
    """Two models of the same text, one of them continued: compared by what they were made from."""
    first, off = weeks.run("a"), "language_models.main.continue_from=null"
    weeks.run("b")
    weeks.run("b", off, "name=other")

    def evaluated(text: str, *changes: str) -> EvaluatedRun:
        ref = weeks.plan(text, *changes)["evaluation/TagLM/seed-1/test"].ref
        assert ref is not None
        return EvaluatedRun(text, text, weeks.store, {1: weeks.store.open(ref)})

    found = differing_settings([evaluated("b"), evaluated("b", off)])
    assert found["language-model/main/forward > base"] == (first["forward"][:12], "-")
    weeks.run("c")
    deeper = differing_settings([evaluated("c"), evaluated("b")])
    assert deeper["language-model/main/forward > base > base"] == (first["forward"][:12], "-")


def test_a_run_of_an_experiment_that_continues_is_found_by_its_file(weeks: Weeks) -> None:
    """`taglm compare FILE:VARIANT` settles `latest` as the run did."""
    weeks.run("a")
    weeks.run("b")
    path = weeks.folder / "weekly.yaml"
    lines = [
        f"unlabelled: {{path: {weeks.folder / 'text.txt'}}}",
        "labelled: {train: demo:train, dev: demo:dev, test: demo:test}",
        "language_models: {main: {continue_from: latest}}",
        f"run: {{store: {weeks.store.root}}}",
    ]
    path.write_text("\n".join(lines))
    found = find_run(f"{path}:TagLM", split="test").evaluations[1].ref
    assert found == weeks.plan("b")["evaluation/TagLM/seed-1/test"].ref
