"""Taggers that start from one trained on another labelled set: parameters, keys, exact resume, errors."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from taglm_core.config.experiment import Experiment
from taglm_core.config.load import load_experiment
from taglm_core.config.tagger import TaggerConfig
from taglm_core.errors import ConfigError, Interrupted, MismatchError, MissingObject, TagLMError
from taglm_core.pipeline.bases import from_random_weights, resolve_bases
from taglm_core.pipeline.build import build
from taglm_core.pipeline.context import PipelineContext
from taglm_core.pipeline.graph import build_graph
from taglm_core.store.store import Artifact, Store
from taglm_core.tagging.trained import FrozenVectors, LmInput, TaggerSpec, build_network, load_spec, save_tagger
from taglm_core.tagging.transfer import start_from
from taglm_core.tagging.words import TaggerWords
from taglm_core.training.randomness import seed_torch
from taglm_core.training.stopping import StopRequest
from tasks.tracking.spec import Variant
from tests.building import build_up_to
from tests.lm.test_training import StopAfter
from tests.tagging.test_tagging import corpus

TAGGER = {"units": [4, 5], "words": {"size": 6}, "characters": {"kind": "cnn", "dim": 4, "filters": 6}, "batch_size": 4,
          "max_epochs": 1, "patience": 1, "annealing": []}  # fmt: skip
STEP = "tagger/baseline/seed-{}"


class Bed:
    """A store with two experiments on files of their own: `old.yaml`, and `new.yaml` that starts from it."""

    def __init__(self, root: Path) -> None:
        self.root, self.store = root, Store(root / "store")

    def write(self, name: str, seed: int, tag: str, **more: Any) -> Path:
        """Write the files of an experiment; `tag` replaces the type PER."""
        for number, split in enumerate(("train", "dev")):
            tokens, tags = corpus(24, seed + number)
            rows = (zip(*sentence, strict=True) for sentence in zip(tokens, tags, strict=True))
            text = "\n\n".join("\n".join(" ".join(pair) for pair in row) for row in rows)
            (self.root / f"{name}-{split}").write_text(text.replace("PER", tag) + "\n")
        labelled = {split: str(self.root / f"{name}-{split}") for split in ("train", "dev")}
        settings = {"name": name, "labelled": {**labelled, "test": None}, "unlabelled": None, "tagger": TAGGER,
                    "variants": [{"name": "baseline"}], "seeds": [1, 2],
                    "run": {"store": str(self.store.root), "device": "cpu", "checkpoint_steps": 1}}  # fmt: skip
        path = self.root / f"{name}.yaml"
        path.write_text(yaml.safe_dump({**settings, **more}))
        return path

    def new(self, *changes: str, base: str | None = None) -> Experiment:
        base = f"{self.root}/old.yaml:baseline" if base is None else base
        return load_experiment(self.root / "new.yaml", [f"tagger.init_from={base}", *changes])

    def bases(self, *changes: str, base: str | None = None) -> dict[str, str]:
        """Digests that the taggers of `new` start from, by step."""
        graph = build_graph(resolve_bases(self.store, self.new(*changes, base=base)).experiment)
        return {name: step.objects["base"][1] for name, step in graph.items() if step.objects}

    def train(self, experiment: Experiment, seed: int = 1, stop: StopRequest | None = None) -> Artifact:
        """Train the tagger of a seed."""
        context, step = PipelineContext.resolve(experiment), STEP.format(seed)
        refs = {role: build_up_to(experiment, name)[name] for role, name in context.graph[step].inputs.items()}
        return self.store.open(build(self.store, context.request(context.graph[step], refs), stop=stop))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bed, dict[int, str]]:
    """The experiments, and the taggers of `old` by seed."""
    bed = Bed(tmp_path_factory.mktemp("transfer"))
    bed.write("new", 20, "ORG", seeds=[2, 3])
    old = load_experiment(bed.write("old", 10, "PER"))
    return bed, {seed: bed.train(old, seed).ref.digest for seed in (1, 2)}


def test_each_seed_starts_from_the_tagger_of_its_seed_or_the_first(trained: tuple[Bed, dict[int, str]]) -> None:
    """A digest, or its beginning, is for all seeds; settled again, from JSON too, nothing changes."""
    bed, digests = trained
    assert bed.bases() == {STEP.format(2): digests[2], STEP.format(3): digests[1]}
    assert set(bed.bases(base=digests[2][:9]).values()) == {digests[2]}
    assert set(bed.bases("tagger.train_on=train+dev")) == {
        f"tagger/baseline{part}/seed-{seed}" for part in ("", ":train-only") for seed in (2, 3)
    }
    settled = resolve_bases(bed.store, bed.new()).experiment
    assert resolve_bases(bed.store, settled).experiment == settled
    again = Experiment.model_validate(settled.model_dump(mode="json"))
    assert resolve_bases(bed.store, again).experiment == settled
    own = resolve_bases(bed.store, bed.new("variants=[{name: a}, {name: b, tagger: {init_from: null}}]")).experiment
    assert [bool(own.tagger_of(variant).init_from) for variant in own.variants] == [True, False]


def test_the_base_is_in_the_key_and_nothing_where_there_is_none(trained: tuple[Bed, dict[int, str]]) -> None:
    """Keys depend on the content of the base, and not on how it is named."""
    bed, digests = trained

    def recipe(experiment: Experiment) -> tuple[Any, Any]:
        step = PipelineContext.resolve(experiment).graph[STEP.format(2)]
        return dict(step.config), dict(step.objects)

    plain = recipe(load_experiment(bed.root / "new.yaml"))
    assert plain[1] == {}
    assert "init_from" not in plain[0]
    assert recipe(bed.new()) == recipe(bed.new(base=digests[2])) == (plain[0], {"base": ("tagger", digests[2])})
    assert recipe(bed.new(base=digests[1]))[1] != recipe(bed.new())[1]
    assert recipe(from_random_weights(bed.new())) == plain
    assert recipe(bed.new(base="null")) == plain
    with pytest.raises(ValueError, match="is not resolved"):
        build_graph(bed.new())


def test_trained_from_it_and_killed_it_ends_with_the_same_bits(trained: tuple[Bed, dict[int, str]]) -> None:
    """Its start shows in the result; its manifest names the base and counts the words that both have."""
    bed, digests = trained
    whole = bed.train(bed.new(), 2)
    manifest = whole.manifest
    assert manifest.recipe.inputs["base"] == digests[2]
    assert 0 < manifest.counts["words_of_base"] < manifest.counts["words"]
    plain = bed.train(load_experiment(bed.root / "new.yaml"), 2)
    assert plain.ref.digest != whole.ref.digest
    assert "words_of_base" not in plain.manifest.counts
    assert "init_from" not in load_spec(whole.path)[1]["settings"]
    bed.store.set_aside("tagger", whole.ref.digest, "to be made again")
    shutil.rmtree(bed.store.work(manifest.recipe), ignore_errors=True)
    for looks in (1, 3):
        with pytest.raises(Interrupted):
            bed.train(bed.new(), 2, StopAfter(looks))
    assert bed.train(bed.new(), 2).ref.digest == whole.ref.digest


def test_seeds_with_bases_of_their_own_are_one_variant(trained: tuple[Bed, dict[int, str]]) -> None:
    """In MLflow; another base makes another variant."""
    bed, digests = trained
    two, three = (
        Variant.of("x", "e", {"seed": seed}, {"train/corpus": "a", "base": digests[base]}, store=bed.store)
        for seed, base in ((2, 2), (3, 1))
    )
    assert two == three
    for inputs in ({"train/corpus": "a"}, {"train/corpus": "a", "base": "f" * 32}):
        assert Variant.of("x", "e", {"seed": 2}, inputs, store=bed.store).digest != two.digest


@pytest.mark.parametrize(
    ("base", "changes", "error", "message"),
    [
        ("ffffffff", [], MissingObject, r"variant baseline, tagger\.init_from: no taggers begin with 'ffffffff'; in"),
        ("{1: aaaaaaaa, 2: aaaaaaaa}", [], ConfigError, r"no tagger for seeds \[3\]; expected one for each seed"),
        ("{root}/old.yaml:TagLM", [], ConfigError, r"no variant 'TagLM'; write .*old\.yaml:baseline"),
        ("{root}/none.yaml:baseline", [], ConfigError, r"none\.yaml"),
        ("{root}/self.yaml:baseline", [], ConfigError, r"self\.yaml:baseline starts from itself"),
        ("{root}/untrained.yaml:baseline", [], MissingObject, r"seed 2 is not trained in .*run `taglm tag .*untrained"),
        (None, ["tagger.units=[4]"], MismatchError, r"units is \[4\], in that tagger \[4, 5\]\. A tagger keeps"),
        (None, ["tagger.cell=lstm"], MismatchError, r"tagger\.init_from: cell is lstm, in that tagger gru"),
        (None, ["tagger.characters={kind: none}"], MismatchError, r"characters\.kind is none, in that tagger cnn"),
        (None, ["tagger.words.size=7"], MismatchError, r"words\.size is 7, in that tagger 6"),
    ],
)
def test_a_base_that_does_not_fit_is_refused_before_anything_runs(
    trained: tuple[Bed, dict[int, str]], base: str | None, changes: list[str], error: type[TagLMError], message: str
) -> None:
    """Missing, ambiguous, untrained, circular, or of another shape: one line with what to do."""
    bed, _ = trained
    bed.write("self", 10, "PER", tagger={**TAGGER, "init_from": f"{bed.root}/self.yaml:baseline"})
    bed.write("untrained", 50, "PER")
    given = None if base is None else base.replace("{root}", str(bed.root))
    with pytest.raises(error, match=message):
        bed.bases(*changes, base=given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("latest", "expected EXPERIMENT.yaml:VARIANT, the beginning"),
        ("x.yaml", "expected EXPERIMENT.yaml:VARIANT, the beginning"),
        ("1234567", "found 1234567; put it into quotes, or YAML reads a number"),
        ("abcdef, tagger.lm.position=only", "init_from has nothing to give to lm.position only"),
    ],
)
def test_what_is_no_tagger_is_refused(given: str, message: str) -> None:
    """With the dotted path."""
    settings = [f"tagger.init_from={part}" if "=" not in part else part for part in given.split(", ")]
    with pytest.raises(ConfigError) as caught:
        load_experiment(None, ["variants=[{name: TagLM, lm: main}]", *settings])
    assert message in str(caught.value)
    assert "tagger" in str(caught.value)


def spec_of(words: list[str], tags: tuple[str, ...], lm_size: int, **settings: Any) -> TaggerSpec:
    lm = (LmInput("main", "forward", lm_size),) if lm_size else ()
    config = TaggerConfig.model_validate({**TAGGER, **settings})
    return TaggerSpec(config, tags, TaggerWords(tuple(words), 0), 6, lm)


def network_of(spec: TaggerSpec, seed: int) -> Any:
    seed_torch(seed, "tagger")
    return build_network(spec, torch.randn(len(spec.words), 6), FrozenVectors.none(6))


def saved(folder: Path, spec: TaggerSpec) -> dict[str, torch.Tensor]:
    folder.mkdir()
    save_tagger(network_of(spec, 1), spec, {}, folder)
    return load_file(folder / "weights.safetensors")


@pytest.mark.parametrize("characters", [{"kind": "cnn", "dim": 4, "filters": 6}, {"kind": "gru", "dim": 3, "units": 4}])
def test_everything_but_dense_and_crf_is_taken(tmp_path: Path, characters: dict[str, Any]) -> None:
    """Words that both have get their rows, other words, dense layer and CRF stay; no random number is drawn."""
    mixed = {"characters": characters, "lm": {"scale": True, "projection": 3}}
    base = saved(tmp_path / "base", spec_of(["the", "rome", "of"], ("O", "S-LOC"), 5, **mixed))
    spec = spec_of(["of", "anna", "the"], ("O", "S-PER", "S-ORG"), 5, **mixed)
    network = network_of(spec, 2)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = torch.get_rng_state()
    assert start_from(network, spec, tmp_path / "base", "x") == 2
    assert torch.equal(torch.get_rng_state(), state)
    after = network.state_dict()
    own = {name for name in after if name.startswith(("dense.", "crf."))}
    assert len(own) == 3
    others = after.keys() - {"words.weight"}
    assert all(torch.equal(after[name], base[name]) for name in others - own)
    assert all(torch.equal(after[name], before[name]) for name in own)
    moved = {name.partition(".")[0] for name in others if not torch.equal(after[name], before[name])}
    assert moved == {"characters", "layers", "lm"}
    table, older = after["words.weight"], base["words.weight"]
    assert torch.equal(table[[0, 1, 3]], older[[0, 3, 1]])  # the unknown word, of, the
    assert torch.equal(table[2], before["words.weight"][2])


def test_a_mixer_of_other_shapes_stays_and_other_layers_are_refused(tmp_path: Path) -> None:
    """A projection to the same size from other language models starts anew; embeddings of another width do not fit."""
    tags = ("O", "S-LOC")
    mixed = {"lm": {"projection": 3}}
    base = saved(tmp_path / "base", spec_of(["the"], tags, 5, **mixed))
    spec = spec_of(["the"], tags, 7, **mixed)
    network = network_of(spec, 2)
    mixer = {name: tensor.clone() for name, tensor in network.state_dict().items() if name.startswith("lm.")}
    start_from(network, spec, tmp_path / "base", "x")
    after = network.state_dict()
    assert mixer
    assert all(torch.equal(after[name], tensor) for name, tensor in mixer.items())
    layer = "layers.1.ahead.weight_ih_l0"
    assert torch.equal(after[layer], base[layer])
    wider = spec_of(["the"], tags, 5)
    message = rf"tagger\.init_from: .*{layer} is \[15, 13\], in that tagger \[15, 11\].*\(x\); give words, characters"
    with pytest.raises(MismatchError, match=message):
        start_from(network_of(wider, 2), wider, tmp_path / "base", "x")
