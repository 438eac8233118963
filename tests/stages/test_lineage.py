"""Lineage: down to raw files as the store knows them, up to reports, and what a user may call an object."""

from __future__ import annotations

import hashlib
import itertools
import shutil
from pathlib import Path

import pytest

from taglm_core.config.load import build_experiment, load_experiment
from taglm_core.errors import ConfigError, MissingObject
from taglm_core.lineage import Lineage, Node, entries, find_object
from taglm_core.pipeline.bases import from_random_weights
from taglm_core.pipeline.graph import build_graph
from taglm_core.pipeline.kinds import KINDS, typed_inputs
from taglm_core.pipeline.plan import plan
from taglm_core.pipeline.roles import BASE, RAW, TRAIN_ONLY
from taglm_core.store.digests import content_digest
from taglm_core.store.records import Manifest, Recipe, Ref
from taglm_core.store.store import Store, list_files
from taglm_core.store.uses import record_use, uses_of
from tests.building import build_up_to

ROOT = Path(__file__).parents[2]


def publish(store: Store, kind: str, inputs: dict[str, str], text: str, *, label: str = "", **made: object) -> Ref:
    """An object of a kind, whose only file holds the text."""
    recipe = Recipe(kind, KINDS[kind].version, {"text": text}, inputs)
    out = store.work(recipe) / "out"
    out.mkdir(parents=True)
    (out / "payload").write_text(text)
    return store.publish(out, Manifest(label or f"mine/{kind}", recipe, list_files(out), made={"time": 1.0, **made}))


class Chain:
    """Two raw texts, a corpus of both, a vocabulary of it, and two that read both."""

    def __init__(self, root: Path) -> None:
        self.store = Store(root / "store")
        (root / "text").mkdir()
        self.files = [root / "text" / "a.txt", root / "text" / "b.txt"]
        for path in self.files:
            path.write_text(f"{path.stem} word\n")
        pattern = str(root / "text" / "*.txt")
        experiment = build_experiment({"unlabelled": {"path": pattern}}, "mine").model_dump(mode="json")
        raw = {"file": self.store.raw_digest(self.files)}
        self.corpus = publish(self.store, "corpus", raw, "c", label="mine/corpus/text", experiment=experiment)
        self.vocabulary = publish(self.store, "vocabulary", {"text": self.corpus.digest}, "v")
        both = {"text": self.corpus.digest, "vocabulary": self.vocabulary.digest}
        self.ids = publish(self.store, "token-ids", both, "i", mlflow_run="m1", prefect_run="p1")
        read = {"token-ids": self.ids.digest, "vocabulary": self.vocabulary.digest}
        self.model = publish(self.store, "language-model", read, "l", mlflow_run="m2")

    def inputs(self, ref: Ref) -> Node:
        return Lineage(self.store).inputs(ref.kind, ref.digest)


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    return Chain(tmp_path)


def raw_of(node: Node) -> Node:
    """The first raw input in a tree."""
    return node if node.entry.kind == "raw" else next(raw_of(below) for below in node.below)


def test_lineage_ends_at_the_raw_files(chain: Chain) -> None:
    """Names, sizes and sha256 of all files that a glob stood for, in order."""
    raw = raw_of(chain.inputs(chain.model))
    assert raw.role == "file"
    assert raw.entry.present
    assert raw.entry.label == str(chain.files[0].parent / "*.txt")
    known = [(file.path, file.bytes, file.sha256) for file in raw.entry.files]
    assert known == [(str(p), p.stat().st_size, hashlib.sha256(p.read_bytes()).hexdigest()) for p in chain.files]


def test_changed_raw_files_are_not_shown_as_those_that_were_read(chain: Chain) -> None:
    """Another file under the same glob: what was read is not there any more."""
    chain.files[0].write_text("other\n")
    raw = raw_of(chain.inputs(chain.corpus)).entry
    assert (raw.present, raw.files) == (False, ())
    assert raw.label.endswith("*.txt")


def test_a_single_raw_file_is_known_even_when_it_is_gone(chain: Chain) -> None:
    """The store remembers its size and sha256, whoever made what from it."""
    alone = chain.files[0]
    corpus = publish(chain.store, "corpus", {"file": chain.store.raw_digest([alone])}, "alone")
    sha256, size = hashlib.sha256(alone.read_bytes()).hexdigest(), alone.stat().st_size
    alone.unlink()
    raw = raw_of(chain.inputs(corpus)).entry
    assert [(file.path, file.bytes, file.sha256, file.unchanged) for file in raw.files] == [
        (str(alone), size, sha256, False)
    ]
    assert not raw.present


def test_each_object_is_expanded_once(chain: Chain) -> None:
    """A second time it stands without what is below it, and says so."""
    tree = chain.inputs(chain.model)
    corpora: list[Node] = []

    def walk(node: Node) -> None:
        if node.entry.digest == chain.corpus.digest:
            corpora.append(node)
        for below in node.below:
            walk(below)

    walk(tree)
    assert len(corpora) == 2
    assert [node.repeated for node in corpora] == [False, True]
    assert [bool(node.below) for node in corpora] == [True, False]
    assert [entry.kind for entry in entries(tree)].count("corpus") == 1


def test_users_are_followed_to_the_end(chain: Chain) -> None:
    """Everything that was made from the corpus, through others too, with its runs."""
    tree = Lineage(chain.store).users("corpus", chain.corpus.digest)
    made = {entry.digest: entry for entry in entries(tree)}
    assert made.keys() == {ref.digest for ref in (chain.corpus, chain.vocabulary, chain.ids, chain.model)}
    assert (made[chain.ids.digest].mlflow_run, made[chain.ids.digest].prefect_run) == ("m1", "p1")
    assert not Lineage(chain.store).users("language-model", chain.model.digest).below


def test_a_shared_object_names_all_experiments_and_ones_own_first(chain: Chain) -> None:
    """The manifest knows the first maker alone; each run records what it uses."""
    place = ("corpus", chain.corpus.digest)
    record_use(chain.store, "mine", "corpus/text", place, mlflow_run="m0")
    record_use(chain.store, "yours", "corpus/news", place, pipeline_run="m9", prefect_run="p9")
    first, own, never = (Lineage(chain.store, name).inputs(*place).entry for name in (None, "yours", "never"))
    assert [use.label for use in first.uses] == ["mine/corpus/text", "yours/corpus/news"]
    assert [(use.pipeline_run, use.prefect_run) for use in first.uses] == [(None, None), ("m9", "p9")]
    assert (first.label, own.label, never.label) == ("mine/corpus/text", "yours/corpus/news", "mine/corpus/text")
    assert own.made_for == "mine/corpus/text"


def test_an_experiment_that_shares_an_object_sees_its_own_files(tmp_path: Path) -> None:
    """The tag scheme of two experiments is one object; each one's lineage leads to its own dev file."""
    for name, first in (("train", "a"), ("dev1", "b"), ("dev2", "c"), ("test", "d")):
        (tmp_path / name).write_text(f"{first} B-X\n\n" * 3)
    store, plans = Store(tmp_path / "store"), {}
    for name, dev in (("one", "dev1"), ("two", "dev2")):
        paths = {"train": "train", "dev": dev, "test": "test"}
        sources = [f"labelled.{split}={tmp_path / file}" for split, file in paths.items()]
        given = [f"name={name}", *sources, "variants=[{name: baseline}]", f"run.store={store.root}"]
        experiment = load_experiment(None, given)
        build_up_to(experiment, "scheme")
        plans[name] = plan(store, build_graph(experiment))
    assert plans["one"]["scheme"].ref.digest == plans["two"]["scheme"].ref.digest
    for name, dev in (("one", "dev1"), ("two", "dev2")):
        tree = Lineage(store, name, plans[name].values()).inputs("tag-scheme", plans[name]["scheme"].ref.digest)
        assert {node.role: node.entry.label for node in tree.below}["dev"] == str(tmp_path / dev)


def test_a_use_is_recorded_once(chain: Chain) -> None:
    """Later runs add what the first did not know; a run that makes the object again replaces the runs."""
    place, runs = ("corpus", chain.corpus.digest), []
    for given in ({"prefect_run": "p1"}, {"prefect_run": "p2", "pipeline_run": "m1"}, {"prefect_run": "p3"}):
        record_use(chain.store, "mine", "corpus/text", place, **given)
    (use,) = uses_of(chain.store, *place)
    assert (use.prefect_run, use.pipeline_run, use.mlflow_run) == ("p1", "m1", None)
    record_use(chain.store, "mine", "corpus/text", place, prefect_run="p4", mlflow_run="m4", anew=True)
    for use in uses_of(chain.store, *place):
        runs.append((use.prefect_run, use.pipeline_run, use.mlflow_run))
    assert runs == [("p4", "m1", "m4")]
    (path,) = (chain.store.root / "uses").rglob("*.json")
    path.write_text('{"experiment": "half')
    assert uses_of(chain.store, *place) == ()


def test_what_was_removed_is_still_known_by_its_key(chain: Chain) -> None:
    """An object that gc took: its key says what it was made from."""
    chain.store.set_aside("token-ids", chain.ids.digest, "test")
    tree = chain.inputs(chain.model)
    gone = next(node for node in tree.below if node.entry.kind == "token-ids")
    assert not gone.entry.present
    assert {below.entry.kind for below in gone.below} == {"corpus", "vocabulary"}
    assert find_object(chain.store, chain.ids.digest[:8]) == ("token-ids", chain.ids.digest)


def test_what_was_removed_with_its_key_is_no_raw_file(chain: Chain) -> None:
    """An object that gc took, which nothing but its reader knows: its kind comes from the role in which it was read."""
    report = publish(chain.store, "report", {"dev/TagLM/1": "e" * 32, "train/corpus": chain.corpus.digest}, "r")
    shutil.rmtree(chain.store.root / "objects" / "corpus" / chain.corpus.digest)
    for path in (chain.store.root / "keys" / "corpus").glob("*.json"):
        path.unlink()
    gone = [node.entry for node in chain.inputs(report).below]
    assert [(entry.kind, entry.digest, entry.present, entry.label) for entry in gone] == [
        ("evaluation", "e" * 32, False, ""),
        ("corpus", chain.corpus.digest, False, ""),
    ]
    assert {entry.kind for entry in entries(chain.inputs(chain.model))} == {
        "language-model", "token-ids", "vocabulary", "corpus",
    }  # fmt: skip


@pytest.mark.parametrize("path", sorted((ROOT / "experiments").glob("*.yaml")), ids=lambda path: path.stem)
def test_kinds_of_inputs_are_those_of_the_graph(path: Path) -> None:
    """Of every step of every experiment: by the kind that reads it, and the role."""
    graph = build_graph(from_random_weights(load_experiment(path)))
    for step in graph.values():
        wanted = {role: graph[name].kind for role, name in step.inputs.items()}
        wanted |= dict.fromkeys(step.files, RAW) | {role: kind for role, (kind, _) in step.objects.items()}
        assert {role: _kind_of_input(step.kind, role) for role in wanted} == wanted, step.name


def test_the_base_of_a_language_model_is_one() -> None:
    """No experiment here names one; a role that only another version knows is an object of some kind."""
    assert _kind_of_input("language-model", BASE) == "language-model"
    assert _kind_of_input("tagger", TRAIN_ONLY) == "tagger"
    assert _kind_of_input("tagger", "gazetteer") == "object"


def test_beginnings_of_digests_find_objects(chain: Chain) -> None:
    """With or without the kind; unknown ones and what is no digest are told apart."""
    digest = chain.corpus.digest
    assert find_object(chain.store, digest) == find_object(chain.store, f"corpus/{digest[:4]}") == ("corpus", digest)
    with pytest.raises(MissingObject, match="no object in"):
        find_object(chain.store, f"vocabulary/{digest[:12]}")
    for text in ("abc", "tagger/TagLM/seed-1", ""):
        with pytest.raises(ConfigError, match="4 characters or more"):
            find_object(chain.store, text)


def alike() -> tuple[str, str]:
    """Two contents whose digests begin with the same four characters."""
    known: dict[str, str] = {}
    for number in itertools.count():  # some hundred, by the birthday paradox
        entry = ("payload", hashlib.sha256(str(number).encode()).hexdigest())
        other = known.setdefault(content_digest([entry])[:4], str(number))
        if other != str(number):
            return other, str(number)
    raise AssertionError


def test_several_candidates_are_listed(chain: Chain) -> None:
    """Two objects that begin alike: both are named with what they are."""
    refs = [publish(chain.store, "vocabulary", {}, text, label=f"mine/v{text}") for text in alike()]
    with pytest.raises(ConfigError, match="may be") as error:
        find_object(chain.store, refs[0].digest[:4])
    for ref in refs:
        label = chain.store.manifest("vocabulary", ref.digest).label
        assert f"vocabulary/{ref.digest[:12]} ({label})" in str(error.value)


def _kind_of_input(kind: str, role: str) -> str:
    return typed_inputs(kind, {role: "0"})[0].kind
