"""What is chosen by dev F1: the tagger that is registered, the variant that a pipeline's run shows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from mlflow.entities.model_registry import ModelVersion, ModelVersionTag

from taglm_core.analysis import measuring
from taglm_core.config.experiment import Experiment
from taglm_core.evaluation.report import Comparison, Sample
from tasks.tracking import registry
from tasks.tracking.champion import DEV_DIGEST, DEV_F1
from tasks.tracking.pages import best_variant
from tasks.tracking.registry import best_tagger


def _tagger(dev_f1: float, train_on: str = "train") -> Any:
    recipe = SimpleNamespace(config={"train_on": train_on})
    return SimpleNamespace(manifest=SimpleNamespace(metrics={"dev/f1": dev_f1, "test/f1": 1 - dev_f1}, recipe=recipe))


def test_the_tagger_with_the_best_dev_f1_is_registered() -> None:
    """Of two with the same dev F1, the one that was trained on dev as well."""
    taggers = {"a": _tagger(0.5), "b": _tagger(0.7), "c": _tagger(0.6)}
    assert best_tagger(taggers)[0] == "b"
    assert best_tagger({**taggers, "d": _tagger(0.7, "train+dev"), "e": _tagger(0.7)})[0] == "d"


def test_the_best_variant_is_best_on_dev_whatever_its_test_scores() -> None:
    """Without dev scores it is the last one, which the report compares with the first."""
    scores: list[tuple[str, float | None, float]] = [("a", 0.5, 0.9), ("b", 0.8, 0.3), ("c", 0.7, 0.95)]
    assert best_variant(_comparison(scores)) == "b"
    assert best_variant(_comparison([(name, None, test) for name, _, test in scores])) == "c"


def _decided(
    monkeypatch: pytest.MonkeyPatch, anew: tuple[float, float], ended: float | None = None
) -> tuple[bool, str]:
    """The decision about a tagger with dev F1 0.9 and a champion with 0.5 on another dev split, chosen at 2 s."""
    found = measuring.Comparison(anew, 10, 12)
    monkeypatch.setattr(registry, "compare_on_dev", lambda *_: found)
    reporter: Any = SimpleNamespace(client=None, store=None)
    model = registry._Registry(reporter, Experiment(), ended, again=False)
    return model._decide(_version("2", 0.9, "a" * 32, 5000), _version("1", 0.5, "b" * 32, 2000))


def _version(number: str, dev_f1: float, digest: str, created: int) -> ModelVersion:
    tags = {DEV_F1: str(dev_f1), DEV_DIGEST: digest, "taglm.object": number * 32}
    return ModelVersion("m", number, created, tags=[ModelVersionTag(*each) for each in tags.items()])


def test_a_champion_of_another_dev_split_is_measured_on_the_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts is what both have there, not what each had on its own split."""
    moves, why = _decided(monkeypatch, (0.6, 0.7))
    assert not moves
    assert "F1 60.00 is not above the 70.00" in why
    assert _decided(monkeypatch, (0.7, 0.6))[0]


def test_a_champion_that_was_chosen_later_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """An end of a pipeline that is replayed late moves nothing backwards."""
    moves, why = _decided(monkeypatch, (0.9, 0.1), ended=1.0)
    assert not moves
    assert "it was chosen after this tagger's pipeline had ended" in why
    assert _decided(monkeypatch, (0.9, 0.1), ended=3.0)[0]


def _comparison(scores: list[tuple[str, float | None, float]]) -> Comparison:
    summaries = [SimpleNamespace(variant=name, dev_f1=dev, f1=Sample(test, 0.0, 3)) for name, dev, test in scores]
    return cast("Comparison", SimpleNamespace(variants=tuple(summaries)))
