"""What is chosen by dev F1: the tagger that is registered, the variant that a pipeline's run shows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from taglm_core.evaluation.report import Comparison, Sample
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


def _comparison(scores: list[tuple[str, float | None, float]]) -> Comparison:
    summaries = [SimpleNamespace(variant=name, dev_f1=dev, f1=Sample(test, 0.0, 3)) for name, dev, test in scores]
    return cast("Comparison", SimpleNamespace(variants=tuple(summaries)))
