"""The demo as shipped: where its gain comes from, and what its language models are worth."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.pipeline import pipeline
from taglm_core.config.load import load_experiment
from taglm_core.store.records import Ref
from taglm_core.store.store import Store

pytestmark = [
    pytest.mark.real,  # four language models and six taggers: too long for every commit, so `make test-real` runs it
    pytest.mark.timeout(3600),
    pytest.mark.usefixtures("prefect_server"),
    # libraries' own, about libraries' own
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
ROOT = Path(__file__).parents[2]


def run(store: Path, *changes: str) -> dict[str, Ref]:
    """The shipped demo with two seeds, and changes."""
    always = ["seeds=[1, 2]", f"run.store={store}", "run.tracking=false"]
    return pipeline(load_experiment(ROOT / "experiments" / "demo.yaml", [*always, *changes]))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "store"


@pytest.fixture(scope="module")
def refs(store: Path, prefect_server: None) -> dict[str, Ref]:
    """Objects of the demo as shipped."""
    return run(store)


def f1_means(store: Path, refs: dict[str, Ref]) -> dict[str, float]:
    """Mean test F1 in percent, by variant."""
    data = json.loads((Store(store).open(refs["report"]).path / "report.json").read_text())
    return {variant["variant"]: 100 * variant["f1"]["mean"] for variant in data["variants"]}


def test_the_baseline_leaves_room_and_taglm_uses_it(store: Path, refs: dict[str, Ref]) -> None:
    """Baseline between 60 and 85; TagLM above it by five points or more."""
    means = f1_means(store, refs)
    assert 60 <= means["baseline"] <= 85
    assert means["TagLM"] - means["baseline"] >= 5


def test_the_gain_is_earned_by_knowing_the_names(store: Path, refs: dict[str, Ref]) -> None:
    """Language models of the same text with the entity names replaced by others lose most of the gain."""
    means = f1_means(store, refs)
    replaced = f1_means(store, run(store, "unlabelled.path=demo:text-replaced"))
    assert replaced["baseline"] == means["baseline"]  # it has not read the text, and was reused
    gain, left = means["TagLM"] - means["baseline"], replaced["TagLM"] - means["baseline"]
    assert left < 0.5 * gain


def test_the_break_state_stands_for_carried_state(store: Path, refs: dict[str, Ref]) -> None:
    """On trained models: perplexity from the break state within 2 % of carried state, and better than from zero."""
    for direction in ("forward", "backward"):
        metrics = Store(store).manifest("language-model", refs[f"language-model/main/{direction}"].digest).metrics
        carried, fixed = metrics["heldout/perplexity"], metrics["heldout/perplexity_break_state"]
        assert fixed == pytest.approx(carried, rel=0.02)
        assert fixed < metrics["heldout/perplexity_zero_state"]
