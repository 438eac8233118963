"""Significance tests on constructed cases, against enumeration and against published figures."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from taglm_core.evaluation import significance
from taglm_core.evaluation.significance import approximate_randomisation, bootstrap_interval, welch


def _system(generator: np.random.Generator, gold: np.ndarray, quality: float, seeds: int) -> np.ndarray:
    """Counts [seeds, B, 3] of a system that finds each gold span, and makes a false one, by chance."""
    correct = generator.binomial(gold, quality, size=(seeds, len(gold)))
    predicted = correct + generator.binomial(1, 1 - quality, size=correct.shape)
    return np.stack([np.broadcast_to(gold, correct.shape), predicted, correct], axis=2)


def _f1(counts: np.ndarray) -> float:
    gold, predicted, correct = counts.reshape(-1, 3).sum(axis=0)
    return 2 * correct / (gold + predicted)


def test_identical_systems_have_p_one() -> None:
    """A system does not differ from itself: difference 0, p exactly 1, interval from 0 to 0."""
    generator = np.random.default_rng(0)
    a = _system(generator, generator.integers(0, 4, 80), 0.8, 3)
    found = approximate_randomisation(a, a, rounds=500, seed=1)
    assert (found.difference, found.p_value) == (0.0, 1.0)
    interval = bootstrap_interval(a, a, rounds=100)
    assert (interval.low, interval.high) == (0.0, 0.0)


def test_clear_gap_is_significant_and_inside_its_interval() -> None:
    """A gap of 20 points over 300 sentences has the smallest p there is; the interval holds it and excludes 0."""
    generator = np.random.default_rng(0)
    gold = generator.integers(0, 4, 300)
    a, b = _system(generator, gold, 0.9, 3), _system(generator, gold, 0.7, 3)
    found = approximate_randomisation(a, b, rounds=999, seed=1)
    assert found.p_value == 1 / 1000
    assert found.difference == pytest.approx(_f1(a) - _f1(b))
    interval = bootstrap_interval(a, b, rounds=1000, seed=1)
    assert 0.05 < interval.low < found.difference < interval.high


def test_p_value_approaches_enumeration() -> None:
    """With ten sentences the p-value is close to the share among all 1,024 exchanges."""
    generator = np.random.default_rng(5)
    gold = generator.integers(1, 4, 10)
    a, b = _system(generator, gold, 0.9, 2), _system(generator, gold, 0.8, 2)
    observed = abs(_f1(a) - _f1(b))
    extreme = 0
    for exchange in itertools.product([False, True], repeat=10):
        mask = np.array(exchange)[None, :, None]
        difference = _f1(np.where(mask, b, a)) - _f1(np.where(mask, a, b))
        extreme += abs(difference) >= observed - 1e-12
    exact = extreme / 1024
    assert 0.01 < exact < 0.9, "the case must not be trivial"
    assert approximate_randomisation(a, b, rounds=20_000, seed=2).p_value == pytest.approx(exact, abs=0.015)


def test_seeds_of_a_sentence_are_exchanged_together() -> None:
    """Ten copies of one seed bring no evidence: the p-value is that of the seed alone."""
    generator = np.random.default_rng(3)
    gold = generator.integers(0, 4, 60)
    a, b = _system(generator, gold, 0.85, 1), _system(generator, gold, 0.8, 1)
    alone = approximate_randomisation(a, b, rounds=2000, seed=4)
    copied = approximate_randomisation(np.repeat(a, 10, 0), np.repeat(b, 10, 0), rounds=2000, seed=4)
    unequal = approximate_randomisation(np.repeat(a, 2, 0), np.repeat(b, 3, 0), rounds=2000, seed=4)
    assert 0.01 < alone.p_value < 1
    assert alone == copied == unequal == approximate_randomisation(a[0], b[0], rounds=2000, seed=4)


def test_symmetric() -> None:
    """Naming the systems the other way round turns the sign and nothing else."""
    generator = np.random.default_rng(6)
    gold = generator.integers(0, 4, 100)
    a, b = _system(generator, gold, 0.85, 2), _system(generator, gold, 0.82, 2)
    one, other = (approximate_randomisation(*pair, rounds=2000, seed=4) for pair in ((a, b), (b, a)))
    assert one.p_value == other.p_value
    assert one.difference == -other.difference
    forth, back = (bootstrap_interval(*pair, rounds=2000, seed=4) for pair in ((a, b), (b, a)))
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low))


def test_calibrated_under_the_null() -> None:
    """Between equally good systems about one comparison in ten falls below p = 0.1, and few intervals miss 0."""
    generator = np.random.default_rng(7)
    below = missed = 0
    for trial in range(300):
        gold = generator.integers(0, 4, 60)
        a, b = _system(generator, gold, 0.8, 2), _system(generator, gold, 0.8, 2)
        below += approximate_randomisation(a, b, rounds=199, seed=trial).p_value <= 0.1
        interval = bootstrap_interval(a, b, rounds=199, seed=trial)
        missed += not interval.low <= 0 <= interval.high
    assert 0.05 < below / 300 < 0.16
    assert 0.02 < missed / 300 < 0.11


def test_memory_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """One round at a time gives the same p-value and interval as all rounds at once."""
    generator = np.random.default_rng(8)
    gold = generator.integers(0, 4, 70)
    a, b = _system(generator, gold, 0.85, 2), _system(generator, gold, 0.8, 2)
    whole = approximate_randomisation(a, b, rounds=301, seed=1), bootstrap_interval(a, b, rounds=301, seed=1)
    monkeypatch.setattr(significance, "_BLOCK_ELEMENTS", 1)
    assert whole == (approximate_randomisation(a, b, rounds=301, seed=1), bootstrap_interval(a, b, rounds=301, seed=1))


def test_welch_gives_the_papers_p_value() -> None:
    """91.93 ± 0.19 against 91.62 ± 0.33 with ten seeds each: the paper prints p = 0.021, its figures give 0.0217."""
    shape = np.arange(10) - 4.5
    shape /= shape.std(ddof=1)
    assert welch(list(91.93 + 0.19 * shape), list(91.62 + 0.33 * shape)) == pytest.approx(0.0217, abs=1e-4)


def test_welch_is_not_defined_without_variation() -> None:
    """One seed, or seeds that all agree on both sides, give no p-value rather than a wrong one or a warning."""
    assert welch([0.8], [0.7, 0.9]) is None
    assert welch([0.8, 0.8], [0.7, 0.7]) is None
    assert welch([0.8, 0.8], [0.7, 0.71]) is not None


def test_shapes_that_do_not_fit_are_refused() -> None:
    """Other sentences, other columns, no round: errors that give the shape."""
    counts = np.ones((2, 5, 3), dtype=np.int64)
    with pytest.raises(ValueError, match="5 and 4 sentences"):
        approximate_randomisation(counts, counts[:, :4], seed=0)
    with pytest.raises(ValueError, match="expected \\[seeds, sentences, 3\\]"):
        bootstrap_interval(counts[..., :2], counts)
    with pytest.raises(ValueError, match="rounds is 0"):
        approximate_randomisation(counts, counts, rounds=0, seed=0)
