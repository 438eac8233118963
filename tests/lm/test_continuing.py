"""Training that goes on from an earlier language model: its weights, vocabulary and state; resumable; lineage."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from taglm_core.config.experiment import Experiment
from taglm_core.config.load import load_experiment
from taglm_core.errors import Interrupted, MismatchError
from taglm_core.lm.lm_training import Intervals, LmTraining
from taglm_core.lm.model import load_language_model
from taglm_core.lm.reading import carried_perplexity
from taglm_core.lm.streams import Streams
from taglm_core.pipeline.bases import resolve_bases
from taglm_core.pipeline.build import build
from taglm_core.pipeline.context import PipelineContext
from taglm_core.pipeline.graph import build_graph
from taglm_core.pipeline.plan import recipe_of
from taglm_core.pipeline.steps import Step
from taglm_core.store.records import Manifest, Ref
from taglm_core.store.store import Artifact, Store
from taglm_core.training.journal import JOURNAL, read_events
from taglm_core.training.stopping import StopRequest
from tests.building import build_up_to
from tests.lm.conftest import Small
from tests.lm.test_streams import Memory
from tests.lm.test_training import StopAfter, text

pytestmark = pytest.mark.usefixtures("no_pictures")

BEFORE = "heldout/perplexity_before"
FORWARD = "language-model/main/forward"
CHARACTERS = "language_models.main={input: {kind: char-cnn, dim: 4, filters: [[2, 8]], size: 8}, units: 16, " \
    "projection: 8, softmax: {kind: adaptive, cutoffs: [8, 20], shrink: 2}, dropout: 0.2, streams: 4, window: 5, " \
    "steps: 120, learning_rate: 0.02, warmup_steps: 5, vocabulary_size: 60, min_count: 1}"  # fmt: skip
WORDS = "language_models.main={input: {kind: word, size: 8}, units: 16, projection: 8, layers: 2, residual: true, " \
    "softmax: {kind: sampled, samples: 10}, average: 0.9, dropout: 0.2, streams: 4, window: 5, steps: 120, " \
    "learning_rate: 0.02, warmup_steps: 5, vocabulary_size: 60, min_count: 1}"  # fmt: skip
VECTORS = WORDS.replace("{input", "{vectors: VECTORS, input")
SHORT = "language_models.main.steps=15"


def cycles(seed: int, first: int, words: int, count: int = 500) -> str:
    """A language of cycles, a sentence a line: word k is followed by word k + 1."""
    generator = np.random.default_rng(seed)
    starts, lengths = generator.integers(0, words, count), generator.integers(3, 9, count)
    pairs = zip(starts, lengths, strict=True)
    return "".join(" ".join(f"w{first + (s + k) % words}" for k in range(n)) + "\n" for s, n in pairs)


TEXTS = {"a": cycles(1, 10, 25), "b": cycles(2, 10, 27), "c": cycles(3, 10, 29)}  # every week has two words more


class Weeks:
    """A store, and the forward language model of every week's text."""

    def __init__(self, root: Path, model: str) -> None:
        self.root, self.store = root, Store(root / "store")
        self.model = model.replace("VECTORS", str(root / "vectors.txt"))
        numbers = np.random.default_rng(4).normal(size=(40, 3))
        lines = (f"w{number} {' '.join(map(str, row))}" for number, row in enumerate(numbers.round(3)))
        (root / "vectors.txt").write_text("\n".join(lines) + "\n")
        for name, lines in TEXTS.items():
            (root / f"{name}.txt").write_text(lines)

    def experiment(self, text: str, *changes: str, latest: bool = True) -> Experiment:
        own = [self.model, "language_models.main.directions=[forward]", "labelled=null",
               f"unlabelled={{path: {self.root / text}.txt, heldout_fraction: 0.2, shards: 2}}",
               f"run={{store: {self.store.root}, device: cpu, checkpoint_steps: 3, log_steps: 1}}"]  # fmt: skip
        own += ["language_models.main.continue_from=latest"] if latest else []
        return resolve_bases(self.store, load_experiment(None, [*own, *changes])).experiment

    def inputs(self, experiment: Experiment) -> tuple[Step, dict[str, Ref]]:
        """The step that trains, and what it reads of this experiment."""
        graph, refs = build_graph(experiment), build_up_to(experiment, "token-ids")
        return graph[FORWARD], {role: refs[above] for role, above in graph[FORWARD].inputs.items()}

    def train(self, experiment: Experiment, stop: StopRequest | None = None, *, refresh: bool = False) -> Artifact:
        step, inputs = self.inputs(experiment)
        request = PipelineContext.resolve(experiment).request(step, inputs, refresh=refresh)
        return self.store.open(build(self.store, request, stop=stop))

    def run(self, text: str, *changes: str, latest: bool = True) -> Artifact:
        return self.train(self.experiment(text, *changes, latest=latest))


@pytest.fixture(scope="module", params=[CHARACTERS, WORDS, VECTORS], ids=["characters", "words", "vectors"])
def first_week(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> tuple[Path, str]:
    """A folder in which the model of text a is trained already, and the model's settings."""
    root = tmp_path_factory.mktemp("weeks")
    Weeks(root, request.param).run("a")
    return root, request.param


@pytest.fixture
def weeks(tmp_path: Path, first_week: tuple[Path, str]) -> Weeks:
    """A copy of the first week: `run("a")` finds its model in the store."""
    shutil.copytree(first_week[0], tmp_path, dirs_exist_ok=True)
    return Weeks(tmp_path, first_week[1])


def metrics(artifact: Artifact) -> dict[str, float]:
    return {name: value for name, value in artifact.manifest.metrics.items() if name != "tokens_per_second"}


def test_it_goes_on_from_weights_vocabulary_and_state(weeks: Weeks) -> None:
    """After a few steps far better than from random weights; the words it predicts are the base's."""
    first = weeks.run("a")
    second = weeks.run("b", SHORT)
    base, now = (load_language_model(artifact.path, torch.device("cpu")) for artifact in (first, second))
    assert now.vocabulary == base.vocabulary  # though w35 and w36 are frequent in the new text
    assert second.manifest.metrics["heldout/unknown_rate"] > 0.02
    assert first.manifest.metrics["heldout/unknown_rate"] == 0
    zero = weeks.run("b", SHORT, latest=False)
    assert len(load_language_model(zero.path, torch.device("cpu")).vocabulary) == len(base.vocabulary) + 2
    before, after = second.manifest.metrics[BEFORE], second.manifest.metrics["heldout/perplexity"]
    assert BEFORE not in zero.manifest.metrics
    assert BEFORE not in first.manifest.metrics
    assert after < before
    assert after < 0.7 * zero.manifest.metrics["heldout/perplexity"]


def test_the_figure_before_is_the_bases_own(weeks: Weeks) -> None:
    """On its own text with a step that hardly moves: the perplexity that the base has from its break state."""
    first = weeks.run("a")
    still = ["language_models.main.steps=1", "language_models.main.learning_rate=1.0e-12",
             f"language_models.main.continue_from={{forward: '{first.ref.digest[:8]}'}}"]  # fmt: skip
    again = weeks.run("a", *still)
    found, own = again.manifest.metrics, first.manifest.metrics
    assert found[BEFORE] == pytest.approx(found["heldout/perplexity"], rel=0.01)  # the step moves the state, only
    assert found[BEFORE] == pytest.approx(own["heldout/perplexity"], rel=0.05)  # carried on from training's end
    assert found["heldout/perplexity_break_state"] == pytest.approx(
        own["heldout/perplexity_break_state"], rel=1e-4
    )  # it leads over from training


def test_streams_start_from_the_break_state_of_the_base(small: Small) -> None:
    """Before the first step every stream, and so held-out text, is where the base says a sentence ends."""
    config = small.lm.config.model_copy(update={"average": 0.9})
    streams = Streams([Memory(text(40, 1))], streams=4, window=5, backward=False, seed=1)
    heldout, state = text(100, 3), small.lm.break_state
    training = LmTraining(small.lm.network, small.table, streams, heldout, config, Intervals(5, 20), start=state)
    own = carried_perplexity(small.lm.network, small.table, heldout, state.expand(3))
    assert training.heldout_perplexity() == own
    assert own != carried_perplexity(small.lm.network, small.table, heldout, small.lm.network.zero_state(3))
    packed = training.pack().tensors
    for row in range(4):
        assert torch.equal(packed["hidden"][:, row], state.hidden[:, 0])
        assert torch.equal(packed["cell"][:, row], state.cell[:, 0])
    for name, weight in small.lm.network.layers.named_parameters():
        assert torch.equal(packed[f"average.{name}"], weight)


@pytest.mark.parametrize("looks", [(0, 4, 6), (7, 1)], ids=["before the first checkpoint", "after it"])
def test_stopped_and_resumed_gives_the_same_bits_and_says_the_figure_once(weeks: Weeks, looks: tuple[int, ...]) -> None:
    """Also when it is stopped before the first step: weights, metrics, and each line of the journal."""
    weeks.run("a")
    experiment = weeks.experiment("b", SHORT)
    whole = weeks.train(experiment)
    weeks.store.set_aside("language-model", whole.ref.digest, "to be made again")
    step, inputs = weeks.inputs(experiment)
    journal = weeks.store.work(recipe_of(weeks.store, step, {role: ref.digest for role, ref in inputs.items()}))
    for path in (journal / JOURNAL, journal / "before.json"):
        path.unlink()
    for folder in (journal / "checkpoints").iterdir():
        (folder / "state.json").unlink()
    for count in looks:
        with pytest.raises(Interrupted, match="checkpoint written"):
            weeks.train(experiment, StopAfter(count))
    parts = weeks.train(experiment)
    assert parts.ref.digest == whole.ref.digest
    assert metrics(parts) == metrics(whole)
    events = [event for event, _ in read_events(parts.path / JOURNAL)]
    assert [event.step for event in events if BEFORE in event.values] == [0]
    assert len([event for event in events if "goes on from" in event.text]) == 1


def test_weeks_are_counted_and_lineage_is_walked_to_the_first(weeks: Weeks) -> None:
    """Depth, tokens of all weeks, and the base's digest in the manifest; nothing of it in the object's bytes."""
    manifests: list[Manifest] = []
    for week, steps in (("a", 20), ("b", 10), ("c", 5)):
        manifests.append(weeks.run(week, f"language_models.main.steps={steps}").manifest)
    assert [manifest.counts["continued"] for manifest in manifests] == [0, 1, 2]
    assert [manifest.counts["training_tokens"] for manifest in manifests] == [400, 200, 100]
    assert [manifest.counts["training_tokens_total"] for manifest in manifests] == [400, 600, 700]
    bases = [manifest.recipe.inputs.get("base") for manifest in manifests]
    assert bases == [None, manifests[0].digest, manifests[1].digest]
    config = (weeks.store.root / "objects" / "language-model" / manifests[2].digest / "config.json").read_text()
    assert "continue" not in config


def test_another_shape_ends_it_before_any_training(weeks: Weeks) -> None:
    """Where nobody has settled the base: named with both values by the builder itself."""
    first = weeks.run("a")
    experiment = weeks.experiment("b", "language_models.main.units=24", latest=False)
    model = experiment.language_models["main"].model_copy(update={"continue_from": {"forward": first.ref.digest}})
    with pytest.raises(MismatchError, match=r"units is 24, in the base 16\. .*give these settings the base's values"):
        weeks.train(experiment.model_copy(update={"language_models": {"main": model}}))


def test_training_settings_may_differ(weeks: Weeks) -> None:
    """Another optimiser, schedule, batch, dropout and seed than the base's."""
    weeks.run("a")
    names = "optimizer=adagrad", "schedule=constant", "streams=6", "window=7", "dropout=0", "seed=5", "accumulate=2"
    found = weeks.run("b", SHORT, *(f"language_models.main.{name}" for name in names)).manifest
    assert found.counts["continued"] == 1
