"""Language models that are trained on with the words of the labelled training sentences."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from taglm_core.config.experiment import Experiment
from taglm_core.config.load import load_experiment
from taglm_core.pipeline.bases import resolve_bases
from taglm_core.pipeline.graph import build_graph
from taglm_core.pipeline.plan import recipe_of
from taglm_core.store.records import Manifest, Ref
from taglm_core.store.store import Store
from tests.building import build_up_to
from tests.lm.test_continuing import BEFORE, FORWARD, TEXTS, VECTORS, Weeks, cycles

pytestmark = pytest.mark.usefixtures("no_pictures")

TEXT_ONLY = "language-model/main:text/forward"
TUNE = "language_models.main.fine_tune={steps: 40, learning_rate: 0.01, warmup_steps: 3}"
LABELLED = cycles(7, 15, 25, 300)  # ten words of it are not in the text


class Labelled(Weeks):
    """Text of every week, and labelled sentences of another kind."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, VECTORS)
        (root / "labelled.txt").write_text(LABELLED)
        for split, lines in (("train", LABELLED), ("dev", TEXTS["b"]), ("test", TEXTS["c"])):
            sentences = (line.split() for line in lines.splitlines())
            (root / split).write_text("".join("".join(f"{word} O\n" for word in one) + "\n" for one in sentences))

    def experiment(self, text: str, *changes: str, latest: bool = True) -> Experiment:
        own = [f"labelled.{split}={self.root / split}" for split in ("train", "dev", "test")]
        own.append("variants=[{name: baseline}]")
        return super().experiment(text, *own, *changes, latest=latest)

    def make(self, experiment: Experiment, last: str = FORWARD) -> dict[str, Ref]:
        """A step and all above it."""
        return build_up_to(experiment, last)

    def manifest(self, ref: Ref) -> Manifest:
        return self.store.manifest(ref.kind, ref.digest)


@pytest.fixture
def weeks(tmp_path: Path) -> Labelled:
    return Labelled(tmp_path)


def test_it_is_the_model_of_the_text_trained_on_with_the_training_words(weeks: Labelled) -> None:
    """Better on them than before, and the same object as by hand: their words as a text, continue_from the first."""
    refs = weeks.make(weeks.experiment("a", TUNE, latest=False))
    tuned, before = weeks.manifest(refs[FORWARD]), weeks.manifest(refs[TEXT_ONLY])
    assert tuned.metrics["heldout/perplexity"] < 0.7 * tuned.metrics[BEFORE]
    assert tuned.counts["training_tokens_total"] == before.counts["training_tokens"] + 40 * 20
    alone = weeks.make(weeks.experiment("a", latest=False))
    assert alone[FORWARD] == refs[TEXT_ONLY]
    by_hand = weeks.experiment(
        "labelled", "language_models.main.steps=40", "language_models.main.learning_rate=0.01",
        "language_models.main.warmup_steps=3",
        f"language_models.main.continue_from={{forward: '{refs[TEXT_ONLY].digest}'}}", latest=False,
    )  # fmt: skip
    step, inputs = weeks.inputs(by_hand)
    recipe = recipe_of(weeks.store, step, {role: ref.digest for role, ref in inputs.items()})
    assert weeks.store.find(recipe) == refs[FORWARD]


def test_dev_and_test_are_not_read() -> None:
    """Neither has a path into a fine-tuned language model."""
    graph = build_graph(load_experiment(None, ["language_models.main.fine_tune.steps=9"]))
    for way in ("forward", "backward"):
        above = graph.above(f"language-model/main/{way}")
        assert "corpus/train" in above
        assert f"language-model/main:text/{way}" in above
        assert not above & {"corpus/dev", "corpus/test"}


def test_words_are_read_as_they_are_embedded(weeks: Labelled) -> None:
    """With a token_map no language model is told of the labelled data's own way to write quotes."""
    mapped = weeks.experiment("a", TUNE, "embedding.token_map={w15: w11, w16: w12}", latest=False)
    refs = weeks.make(mapped, "token-ids/train")
    words = pq.read_table(weeks.store.open(refs["vocabulary/train"]).path / "words.parquet")["word"].to_pylist()
    assert not {"w15", "w16"} & set(words)
    assert {"w11", "w12", "w17"} <= set(words)
    assert "w11" not in LABELLED.split()
    assert weeks.manifest(refs["corpus/train-words"]).counts["sentences"] == 300


def test_new_text_goes_on_from_the_model_before_fine_tuning(weeks: Labelled) -> None:
    """Also where fine-tuning is switched on or off from one week to the next."""
    first = weeks.make(weeks.experiment("a", TUNE))
    for changes in ((), (TUNE,)):
        config = weeks.experiment("b", *changes).language_models["main"]
        assert config.continue_from == {"forward": first[TEXT_ONLY].digest}
    second = weeks.make(weeks.experiment("b"))
    again = weeks.make(weeks.experiment("c", TUNE))
    assert weeks.manifest(again[TEXT_ONLY]).recipe.inputs["base"] == second[FORWARD].digest
    assert weeks.manifest(again[FORWARD]).recipe.inputs["base"] == again[TEXT_ONLY].digest


def test_without_fine_tuning_no_key_changes(weeks: Labelled) -> None:
    """The settings say nothing of it, so models made before it was there are found."""
    config = weeks.experiment("a", latest=False)
    assert "fine_tune" not in config.model_dump(mode="json")["language_models"]["main"]
    step = build_graph(config)[FORWARD]
    assert not any("fine" in name for name in step.config)
    assert TEXT_ONLY not in build_graph(config)
    assert resolve_bases(Store(weeks.root / "store"), config).experiment == config
