"""Calibration: worked by hand, on confidences that are right by construction, and on spans."""

from __future__ import annotations

import numpy as np
import pytest

from taglm_core.evaluation.calibration import Calibration, calibrate, calibrate_spans, calibrate_tokens, pool
from taglm_core.evaluation.figures import reliability_figure


def test_worked_by_hand() -> None:
    """Two bins: four at 0.75 of which two are right, one at 0.1 that is wrong."""
    found = calibrate([0.75, 0.75, 0.75, 0.75, 0.1], [True, True, False, False, False], bins=2)
    assert [part.count for part in found.bins] == [1, 4]
    assert found.bins[1].confidence == pytest.approx(0.75)
    assert found.bins[1].accuracy == pytest.approx(0.5)
    assert found.error == pytest.approx(0.2 * 0.1 + 0.8 * 0.25)
    assert Calibration.from_dict(found.to_dict()) == found


def test_a_confidence_at_an_edge_belongs_to_the_bin_below() -> None:
    """As in the definition of expected calibration error: bins are open below and closed above."""
    found = calibrate([0.5, 0.5, 1.0], [True, False, True], bins=2)
    assert [part.count for part in found.bins] == [2, 1]


def test_true_probabilities_have_no_error_and_overconfidence_has_its_own() -> None:
    """Outcomes drawn with the stated probability: error near 0; the same outcomes stated as certain: 1 - mean."""
    generator = np.random.default_rng(3)
    probabilities = generator.random(200_000)
    correct = generator.random(200_000) < probabilities
    assert calibrate(probabilities, correct).error < 0.01
    assert calibrate(np.ones(200_000), correct).error == pytest.approx(1 - correct.mean())


def test_pooled_is_as_if_counted_together() -> None:
    """Two seeds' calibrations, pooled, are the calibration of all their predictions."""
    generator = np.random.default_rng(4)
    given = generator.random((2, 500))
    correct = generator.random((2, 500)) < given**2
    whole = calibrate(given.ravel(), correct.ravel())
    found = pool(calibrate(*pair) for pair in zip(given, correct, strict=True))
    assert found.error == pytest.approx(whole.error)
    assert [part.count for part in found.bins] == [part.count for part in whole.bins]


def test_edges_and_nothing() -> None:
    """0 and 1 have a bin; nothing at all has no error; rounding above 1 is forgiven."""
    found = calibrate([0.0, 1.0, 1.000001], [False, True, True])
    assert (found.bins[0].count, found.bins[-1].count) == (1, 2)
    assert found.error == pytest.approx(0.0)
    assert calibrate([], []).error == 0.0


def test_what_is_no_probability_is_refused() -> None:
    """Beyond 0 and 1, and different lengths."""
    with pytest.raises(ValueError, match=r"between 0.5 and 1.5; expected probabilities"):
        calibrate([0.5, 1.5], [True, True])
    with pytest.raises(ValueError, match=r"shape \[1\], outcomes \[2\]"):
        calibrate([0.5], [True, True])


def test_tokens_and_spans_are_matched_with_gold() -> None:
    """A tag is right if it is gold's; a span if type and both boundaries are."""
    gold = [["B-PER", "E-PER", "O"], ["S-LOC"]]
    predicted = [["B-PER", "E-PER", "S-LOC"], ["S-ORG"]]
    tokens = calibrate_tokens(gold, predicted, [[1.0, 1.0, 1.0], [1.0]])
    assert (tokens.count, tokens.bins[-1].accuracy) == (4, pytest.approx(0.5))
    spans = calibrate_spans(gold, predicted, [[1.0, 1.0], [1.0]])
    assert (spans.count, spans.bins[-1].accuracy) == (3, pytest.approx(1 / 3))
    assert len(reliability_figure({"tokens": tokens, "spans": spans}).axes) == 2
