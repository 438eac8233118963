"""What gc takes and what it leaves: keys, running jobs, lineage, work; kills in the middle and runs beside it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from taglm_core.config.experiment import Experiment
from taglm_core.config.load import load_experiment
from taglm_core.gc.collect import Marked, mark, sweep, usage
from taglm_core.gc.garbage import Garbage, active_builds, take_aside
from taglm_core.gc.reachability import GcRoots
from taglm_core.pipeline.bases import resolve_bases
from taglm_core.pipeline.build import BuildContext, BuildResult, build
from taglm_core.pipeline.context import PipelineContext
from taglm_core.pipeline.graph import build_graph
from taglm_core.pipeline.kinds import KINDS
from taglm_core.pipeline.plan import Action, Decision, plan
from taglm_core.store.records import Manifest, Recipe, Ref
from taglm_core.store.store import Store, Work, list_files
from taglm_core.store.uses import record_use, uses_of

ROOT = Path(__file__).parents[2]
SMALL = ("seeds=[1]", "name=small")


def make(store: Store, recipe: Recipe, label: str, text: str | None = None) -> Ref:
    """Publish an object whose payload is a function of its recipe, or another one."""
    out = store.work(recipe) / "out"
    out.mkdir(parents=True)
    (out / "payload").write_text(text or recipe.key)
    ref = store.publish(out, Manifest(label, recipe, list_files(out), made={"time": 0}))
    store.work(recipe).rmdir()
    return ref


def fill(store: Store, experiment: Experiment) -> None:
    """What a run does, without the work."""
    experiment = resolve_bases(store, experiment).experiment
    while ready := [d for d in plan(store, build_graph(experiment)).values() if d.action is Action.RUN]:
        for decision in ready:
            assert decision.recipe is not None
            make(store, decision.recipe, f"{experiment.name}/{decision.step.name}")


def decided(store: Store, experiment: Experiment) -> dict[str, Decision]:
    return plan(store, build_graph(experiment))


def kinds(found: Marked) -> set[str]:
    return {one.kind for one in found.garbage}


def ref_of(store: Store, experiment: Experiment, step: str) -> Ref:
    ref = decided(store, experiment)[step].ref
    assert ref is not None
    return ref


@pytest.fixture
def experiment() -> Experiment:
    return load_experiment(None, SMALL)


@pytest.fixture
def store(tmp_path: Path, experiment: Experiment) -> Store:
    """A store in which the default experiment has run with one seed."""
    store = Store(tmp_path / "store")
    fill(store, experiment)
    return store


def test_what_keys_lead_to_stays(store: Store, experiment: Experiment) -> None:
    """After a run there is nothing to remove, with and without the experiment given; looking writes nothing."""
    before = sorted(store.root.rglob("*"))
    assert mark(store, grace=0) == mark(store, GcRoots((experiment,)), grace=0) == Marked((), ())
    assert sorted(store.root.rglob("*")) == before


def test_an_empty_store_has_no_garbage(tmp_path: Path, experiment: Experiment) -> None:
    """A store that is not there yet is looked at without making it."""
    assert mark(Store(tmp_path / "none"), GcRoots((experiment,))).garbage == ()
    assert usage(Store(tmp_path / "none")).total == 0
    assert not (tmp_path / "none").exists()


def test_objects_that_no_key_leads_to_go(store: Store, experiment: Experiment) -> None:
    """A stage computed again with another outcome leaves its old object to gc, nothing else."""
    decision = decided(store, experiment)["statistics"]
    assert decision.recipe is not None
    assert decision.ref is not None
    make(store, decision.recipe, "small/statistics", "other")
    found = mark(store, grace=0)
    assert [(one.kind, one.reason) for one in found.garbage] == [("corpus-statistics", "no key leads to it")]
    assert [one.kind for one in sweep(store, found, grace=0).removed] == ["corpus-statistics"]
    assert ("corpus-statistics", decision.ref.digest) not in store.objects()
    assert all(d.action is Action.REUSE for d in decided(store, experiment).values())


def test_records_of_use_go_with_what_was_used(store: Store, experiment: Experiment) -> None:
    """They keep nothing from going, stay as long as the object or a key that knows it, and young ones stay."""
    old, kept = ref_of(store, experiment, "statistics"), ref_of(store, experiment, "corpus/dev")
    for name, ref in (("statistics", old), ("corpus/dev", kept)):
        record_use(store, "small", name, (ref.kind, ref.digest))
    decision = decided(store, experiment)["statistics"]
    assert decision.recipe is not None
    make(store, decision.recipe, "small/statistics", "other")
    assert kinds(mark(store)) == set()
    found = mark(store, grace=0)
    assert kinds(found) == {"corpus-statistics", "use"}
    sweep(store, found, grace=0)
    assert uses_of(store, old.kind, old.digest) == ()
    assert [use.step for use in uses_of(store, kept.kind, kept.digest)] == ["corpus/dev"]
    assert mark(store, grace=0).garbage == ()


def test_objects_of_older_versions_go_with_their_pointers(
    store: Store, experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A raised STAGE_VERSION makes a kind's keys garbage, and those whose language model or tagger went."""
    kind = KINDS["tagger"]
    monkeypatch.setitem(KINDS, "tagger", replace(kind, version=kind.version + 1))
    found = mark(store, grace=0)
    assert kinds(found) == {"tagger", "evaluation", "report"}
    assert next(one.kind for one in found.garbage) == "report", "dependants first"
    assert {one.reason for one in found.garbage if one.kind == "tagger"} == {
        f"STAGE_VERSION {kind.version}, now {kind.version + 1}"
    }
    sweep(store, found, grace=0)
    assert mark(store, grace=0).garbage == ()
    assert store.pointers("tagger") == []


def test_a_corpus_of_an_older_version_takes_no_model_with_it(
    store: Store, monkeypatch: pytest.MonkeyPatch, experiment: Experiment
) -> None:
    """Read again it may come out the same, and then the models are still good; so they stay."""
    kind = KINDS["corpus"]
    monkeypatch.setitem(KINDS, "corpus", replace(kind, version=kind.version + 1))
    assert kinds(mark(store, grace=0)) <= {"corpus", "pointer"}
    found = mark(store, GcRoots((experiment,)), grace=0)
    assert "language-model" not in kinds(found)
    assert any("inputs are not built yet" in line for line in found.kept)


def test_embeddings_of_a_model_that_was_trained_anew_go(store: Store, experiment: Experiment) -> None:
    """Nobody's key leads to the old model: it goes, with its embeddings, taggers and scores; the baseline stays."""
    recipe = decided(store, experiment)["language-model/main/forward"].recipe
    assert recipe is not None
    make(store, recipe, "small/language-model/main/forward", "other weights")
    found = mark(store, grace=0)
    assert kinds(found) == {"language-model", "embeddings", "tagger", "evaluation", "report"}
    labels = " ".join(one.label for one in found.garbage)
    assert "backward" not in labels
    assert "baseline" not in labels
    sweep(store, found, grace=0)
    assert decided(store, experiment)["tagger/baseline/seed-1"].action is Action.REUSE


def test_only_what_the_given_experiments_use_stays(store: Store, experiment: Experiment) -> None:
    """Another experiment's keys go, what both use stays, and every pointer left leads to a whole object."""
    other = load_experiment(None, ["seeds=[2]", "name=other", "language_models.main.steps=7"])
    fill(store, other)
    found = mark(store, GcRoots((other,)), grace=0)
    assert kinds(found) == {"language-model", "embeddings", "tagger", "evaluation", "report"}
    assert {one.reason for one in found.garbage} == {"no experiment given uses it"}
    assert mark(store, GcRoots((other, experiment)), grace=0).garbage == ()
    sweep(store, found, GcRoots((other,)), grace=0)
    assert all(decision.action is Action.REUSE for decision in decided(store, other).values())
    assert {p.label.partition("/")[0] for p in store.pointers("tagger")} == {"other"}


def test_what_is_young_stays(store: Store) -> None:
    """A run that has planned already may be about to use it."""
    other = load_experiment(None, ["seeds=[9]", "tagger.dropout=0.1"])
    assert mark(store, GcRoots((other,)), grace=3600).garbage == ()
    for path in [*(store.root / "objects").rglob("*")]:  # old objects that a young key leads to
        os.utime(path, (time.time() - 86400,) * 2)
    assert mark(store, GcRoots((other,)), grace=3600).garbage == ()
    assert mark(store, GcRoots((other,)), grace=0).garbage != ()


def test_bases_stay_and_the_history_of_texts_is_known_without_the_texts(tmp_path: Path) -> None:
    """Three weeks of new text: only the last week's text stays, every base does, and `latest` is what it was."""
    store, week = Store(tmp_path / "store"), {}
    for number in (1, 2, 3):
        (tmp_path / f"{number}.txt").write_text("a b\n" * number)
        text = [f"unlabelled.path={tmp_path / f'{number}.txt'}", "language_models.main.continue_from=latest"]
        week[number] = load_experiment(None, [*SMALL, *text])
        fill(store, week[number])
    settled = {number: resolve_bases(store, experiment) for number, experiment in week.items()}
    last = settled[3].experiment
    found = mark(store, GcRoots((last,)), grace=0)
    assert "language-model" not in kinds(found)
    assert {one.label.split()[0] for one in found.garbage if one.kind == "corpus"} == {"small/corpus/text"}
    sweep(store, found, GcRoots((last,)), grace=0)
    assert len([kind for kind, _ in store.objects() if kind == "token-ids"]) == 1
    assert {number: resolve_bases(store, experiment) for number, experiment in week.items()} == settled
    assert all(decision.action is Action.REUSE for decision in decided(store, last).values())
    assert mark(store, GcRoots((last,)), grace=0).garbage == ()


def test_a_tagger_that_is_named_from_outside_stays_usable(store: Store, experiment: Experiment) -> None:
    """Its language models, corpora and scores stay with it; its caches, and the same experiment's other tagger, go."""
    tagger = ref_of(store, experiment, "tagger/TagLM/seed-1")
    models = [ref_of(store, experiment, f"language-model/main/{way}").digest for way in ("forward", "backward")]
    fill(store, load_experiment(None, ["name=other", "seeds=[5]", "demo.seed=99"]))
    other = load_experiment(None, ["name=other", "seeds=[5]", "demo.seed=99"])
    roots = GcRoots((other,), {tagger.digest: "champion"})
    found = mark(store, roots, grace=0)
    assert f"{tagger.digest[:12]}: champion" in found.kept
    sweep(store, found, roots, grace=0)
    there = store.objects()
    assert {("tagger", tagger.digest), *(("language-model", digest) for digest in models)} <= set(there)
    scores = [p for p in store.pointers("evaluation") if p.recipe.inputs["tagger"] == tagger.digest]
    assert {p.recipe.config["split"] for p in scores} == {"dev", "test"}
    assert all(store.damage("evaluation", p.digest) is None for p in scores)
    assert not {p.label for p in store.pointers("embeddings")} & {"small/embeddings/main/forward/train"}
    assert "small/tagger/baseline/seed-1" not in {p.label for p in store.pointers("tagger")}
    assert mark(store, roots, grace=0).garbage == ()


def test_a_tagger_that_is_named_from_outside_stays_without_its_scores(store: Store, experiment: Experiment) -> None:
    """It needs no key and no evaluation that leads to it; what it is read with stays, too."""
    tagger = ref_of(store, experiment, "tagger/TagLM/seed-1")
    model = ref_of(store, experiment, "language-model/main/forward")
    other = load_experiment(None, ["name=other", "seeds=[5]", "demo.seed=99"])
    for kind in ("evaluation", "report"):
        shutil.rmtree(store.root / "keys" / kind)
        shutil.rmtree(store.root / "objects" / kind)
    needs = GcRoots((other,), {tagger.digest: "champion"})
    sweep(store, mark(store, needs, grace=0), needs, grace=0)
    assert {("tagger", tagger.digest), ("language-model", model.digest)} <= set(store.objects())
    assert len([kind for kind, _ in store.objects() if kind == "tagger"]) == 1


HOLDER = """
import sys, time, json
from pathlib import Path
from taglm_core.store.records import Recipe
from taglm_core.store.store import Store, Work
store, recipe = Store(Path(sys.argv[1])), Recipe(**json.loads(sys.argv[2]))
with store.lock(recipe):
    if sys.argv[3] == "begin":
        store.begin(Work(recipe, "small/tagger/x"))
    print("held", flush=True)
    time.sleep(600)
"""


@contextlib.contextmanager
def held(store: Store, recipe: Recipe, how: str = "begin") -> Iterator[None]:
    """Another process builds a key, and is killed at the end."""
    command = [sys.executable, "-c", HOLDER, str(store.root), json.dumps(asdict(recipe)), how]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield
        finally:
            process.kill()


def test_what_a_running_job_reads_stays_until_it_ends(store: Store, experiment: Experiment) -> None:
    """Whatever experiments are given: inputs and key of a held lock are not removed under it; killed, they go."""
    recipe = decided(store, experiment)["tagger/TagLM/seed-1"].recipe
    assert recipe is not None
    other = GcRoots((load_experiment(None, ["seeds=[2]", "demo.seed=99"]),))
    fill(store, other.experiments[0])
    with held(store, recipe):
        found = mark(store, other, grace=0)
        assert "inputs of small/tagger/x: it is being built now" in found.kept
        assert "language-model" not in kinds(found)
        sweep(store, found, other, grace=0)
        there = {digest for _, digest in store.objects()}
        assert set(recipe.inputs.values()) <= there
        assert store.find(recipe) is not None
        assert store.work(recipe).exists()
    found = mark(store, other, grace=0)
    assert {"language-model", "embeddings", "tagger"} <= kinds(found)
    sweep(store, found, other, grace=0)
    assert mark(store, other, grace=0).garbage == ()
    assert store.find(recipe) is None


def test_nothing_goes_while_the_inputs_of_a_build_are_unknown(store: Store, experiment: Experiment) -> None:
    """A lock is held and nobody has said for what: every object and pointer stays."""
    recipe = decided(store, experiment)["tagger/TagLM/seed-1"].recipe
    assert recipe is not None
    with held(store, recipe, "silently"):
        found = mark(store, GcRoots((load_experiment(None, ["seeds=[2]"]),)), grace=0)
        assert kinds(found) <= {"lock", "work"}
        assert any("inputs are not known yet" in line for line in found.kept)


def test_a_key_that_somebody_has_begun_meanwhile_is_left(store: Store, experiment: Experiment) -> None:
    """Between looking and removing a job took the key's lock: pointer and object stay."""
    other = GcRoots((load_experiment(None, ["seeds=[2]", "demo.seed=99"]),))
    recipe = decided(store, experiment)["report"].recipe
    assert recipe is not None
    shown = mark(store, other, grace=0)
    with held(store, recipe):
        swept = sweep(store, shown, other, grace=0)
        assert "report" in {one.kind for one in swept.in_use}
        assert store.find(recipe) is not None


def test_a_key_that_somebody_holds_is_not_taken(tmp_path: Path) -> None:
    """Even where the lock was taken after the last look."""
    store, recipe = Store(tmp_path / "store"), Recipe("corpus", 1, {}, {})
    ref = make(store, recipe, "x/y")
    path = store.root / "keys" / "corpus" / f"{recipe.key}.json"
    garbage = Garbage("pointer", "x/y", "test", 0, 0.0, (path,), (store.lock_file("corpus", recipe.key),))
    with store.lock(recipe):
        assert take_aside([garbage]) == ([], [])
        assert store.find(recipe) == ref
    assert take_aside([garbage]) == ([garbage], [])
    assert store.find(recipe) is None


def test_only_what_was_shown_is_removed(store: Store, experiment: Experiment) -> None:
    """What became garbage since is left to the next gc; what became needed again stays."""
    first, second = (load_experiment(None, [f"seeds=[{seed}]", "name=x"]) for seed in (1, 2))
    fill(store, second)
    shown = mark(store, GcRoots((first,)), grace=0)
    assert shown.garbage
    assert sweep(store, shown, GcRoots((second,)), grace=0).removed == ()
    assert all(decision.action is Action.REUSE for e in (first, second) for decision in decided(store, e).values())


def test_builders_and_gc_wait_for_each_other(tmp_path: Path) -> None:
    """While somebody publishes, gc takes nothing; it goes on when that is over."""
    store, done = Store(tmp_path / "store"), threading.Event()
    shown = mark(store, grace=0)  # of an empty store, so that a moment would be enough
    with store.guard():
        worker = threading.Thread(target=lambda: (sweep(store, shown, grace=0), done.set()))
        worker.start()
        assert not done.wait(0.5)
    worker.join(60)
    assert done.is_set()


def test_a_lock_file_may_be_removed_by_its_holder(store: Store) -> None:
    """Whoever waited for it holds the new file then, not the one that is gone: nobody else gets the lock."""
    recipe, got = Recipe("x", 1, {}, {}), threading.Event()
    go_on = threading.Event()

    def wait_for_it() -> None:
        with store.lock(recipe):
            got.set()
            go_on.wait(60)

    with store.lock(recipe):
        waiting = threading.Thread(target=wait_for_it)
        waiting.start()
        time.sleep(0.2)
        store.lock_file("x", recipe.key).unlink()
    assert got.wait(60)
    with store.lock(recipe, wait=False) as free:
        assert not free
    go_on.set()
    waiting.join()


KILLER = """
import os, signal, sys
from pathlib import Path
from taglm_core.gc.collect import mark, sweep
from taglm_core.store.store import Store
store, left = Store(Path(sys.argv[1])), int(sys.argv[2])
found = mark(store, grace=0)
def count(event, arguments):
    global left
    if event in ("os.rename", "os.remove", "os.rmdir") and "locks" not in str(arguments[0]):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(count)
sweep(store, found, grace=0)
"""


@pytest.mark.parametrize("moment", [1, 2, 3, 4, 20, 30])
def test_killed_in_the_middle_it_leaves_a_valid_store(store: Store, experiment: Experiment, moment: int) -> None:
    """Before and after any removal or renaming: each pointer leads to a whole object, and the next gc does the rest."""
    recipe = decided(store, experiment)["language-model/main/forward"].recipe
    assert recipe is not None
    make(store, recipe, "small/language-model/main/forward", "other weights")
    expected = {*store.objects()}
    expected -= {(one.kind, one.paths[-1].name) for one in mark(store, grace=0).garbage}
    command = [sys.executable, "-c", KILLER, str(store.root), str(moment)]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    for kind in KINDS:
        for pointer in store.pointers(kind):
            assert store.find(pointer.recipe) is not None, kind
    sweep(store, mark(store, grace=0), grace=0)
    assert mark(store, grace=0).garbage == ()
    assert {*store.objects()} == expected
    assert not list(store.root.rglob(".*"))


def begin(store: Store, recipe: Recipe, label: str, days: float = 0) -> Path:
    """Work that a killed run left."""
    store.begin(Work(recipe, label))
    work = store.work(recipe)
    (work / "out").mkdir()
    (work / "checkpoint").write_text("c" * 1000)
    for path in [work, *work.rglob("*")]:
        os.utime(path, (time.time() - days * 86400,) * 2)
    return work


def test_work_that_can_be_resumed_stays(store: Store, experiment: Experiment) -> None:
    """Of a given experiment it stays and is said; of another one it goes; without experiments it goes after long."""
    asked = load_experiment(None, [*SMALL, "language_models.main.steps=7"])
    recipe = decided(store, asked)["language-model/main/forward"].recipe
    assert recipe is not None
    work = begin(store, recipe, "small/language-model/main/forward", days=1)
    kept = f"work of small/language-model/main/forward {recipe.key[:12]}: unfinished; the next run goes on from it"
    assert kept in mark(store, GcRoots((asked,)), grace=0).kept
    assert kept in mark(store, grace=0).kept
    (found,) = mark(store, GcRoots((experiment,)), grace=0).garbage
    assert (found.kind, found.reason, found.bytes >= 1000) == (
        "work",
        "unfinished; no experiment given goes on with it",
        True,
    )
    shutil.rmtree(work)
    begin(store, recipe, "small/language-model/main/forward", days=31)
    (found,) = mark(store, grace=0).garbage
    assert found.reason == "unfinished; untouched for 30 days"
    assert kept in mark(store, GcRoots((asked,)), grace=0).kept
    sweep(store, mark(store, grace=0), grace=0)
    assert not work.exists()


def test_finished_work_goes(store: Store, experiment: Experiment) -> None:
    """A run that was killed after publishing leaves its checkpoints."""
    recipe = decided(store, experiment)["language-model/main/forward"].recipe
    assert recipe is not None
    work = begin(store, recipe, "x/y")
    assert mark(store, grace=0).garbage == ()  # refreshed, and killed in the middle
    shutil.rmtree(work / "out")
    assert [one.reason for one in mark(store, grace=0).garbage] == ["finished"]


def test_running_jobs_are_those_whose_lock_is_held(store: Store, experiment: Experiment) -> None:
    """A process that holds a key's lock is seen with what it reads; one that was killed is not."""
    recipe = decided(store, experiment)["report"].recipe
    assert recipe is not None
    with held(store, recipe):
        (job,) = active_builds(store)
        assert (job.kind, job.key) == ("report", recipe.key)
        assert job.work is not None
        assert job.work.recipe == recipe
    assert active_builds(store) == []


def test_a_build_says_what_it_reads_before_it_reads_it(
    store: Store, experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a builder works its job is known with inputs and experiment, so that gc leaves all of them alone."""
    step = build_graph(experiment)["statistics"]
    inputs = {role: ref_of(store, experiment, name) for role, name in step.inputs.items()}
    seen: list[Marked] = []

    def builder(context: BuildContext) -> BuildResult:
        (job,) = active_builds(store)
        assert job.work is not None
        assert job.work.recipe.inputs == {role: ref.digest for role, ref in inputs.items()}
        seen.append(mark(store, GcRoots((other,)), grace=0))
        return BuildResult()

    other = load_experiment(None, ["seeds=[2]", "demo.seed=99", "name=other"])
    fill(store, other)
    assert mark(store, GcRoots((other,)), grace=0).garbage != ()
    monkeypatch.setitem(KINDS, step.kind, replace(KINDS[step.kind], builder=lambda: builder))
    context = PipelineContext.resolve(experiment.model_copy(update={"name": "running"}))
    build(store, replace(context.request(step, inputs), refresh=True))
    assert [one.garbage for one in seen] == [()]
