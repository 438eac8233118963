"""Significance of a difference: paired tests over sentences, pooled over seeds, and Welch's test over seeds.

Counts are gold, predicted and correct spans of every sentence, arrays [seeds, B, 3]. The unit is the sentence: its
counts of all seeds are exchanged, or drawn, together, because the seeds of a sentence are not independent of each
other. F1 is micro F1 over the pooled counts; differences are A minus B, between -1 and 1.

The randomisation test and the interval generalise to other sentences of this kind, Welch's test to other seeds.
Source: Noreen (1989), Computer-intensive Methods for Testing Hypotheses; Yeh (2000), COLING.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SentenceCounts = NDArray[np.integer]

# Elements of the largest temporary array: 32 MiB of float64, whatever the number of rounds and sentences.
_BLOCK_ELEMENTS = 4 * 1024 * 1024
# Two fractions of integers that are equal can differ in the last bits; a tie counts as at least as extreme.
_TIE = 1e-12


@dataclass(frozen=True)
class Significance:
    """Difference in pooled micro F1, A minus B, and its two-sided p-value."""

    difference: float
    p_value: float


@dataclass(frozen=True)
class Interval:
    """Percentile interval of the difference A minus B at ``level``."""

    low: float
    high: float
    level: float


def approximate_randomisation(a: SentenceCounts, b: SentenceCounts, *, rounds: int = 10_000, seed: int) -> Significance:
    """Exchange the two systems' counts in random sentences and see how often the difference is as large.

    The p-value is (n + 1) / (rounds + 1), n the rounds whose difference is at least as large in absolute value
    (two-sided), so it is never below 1 / (rounds + 1). Symmetric in the systems.

    Args:
        a: counts of system A, [seeds, B, 3] (or [B, 3] for one seed).
        b: counts of system B on the same sentences; with another number of seeds, both are weighted to the same mass.
        rounds: number of random exchanges.
        seed: of the generator; the same seed gives the same p-value whatever the machine's threads.

    Raises:
        ValueError: shapes do not fit, counts are negative, or there is no round.
    """
    one, other = _pooled(a, b, rounds)
    total_one, total_other = one.sum(axis=0), other.sum(axis=0)
    observed = float(_f1(total_one) - _f1(total_other))
    change = other - one
    # A sentence on which the systems have the same counts changes nothing when exchanged.
    change = change[change.any(axis=1)]
    B = len(change)
    words = max(1, math.ceil(B / 32))  # whole 32-bit words a round, so that the block size changes no draw
    generator = np.random.default_rng(seed)
    extreme = 0
    for size in _blocks(rounds, words * 32):
        bits = np.frombuffer(generator.bytes(size * words * 4), dtype=np.uint8).reshape(size, words * 4)
        exchanged = np.unpackbits(bits, axis=1, count=B) if B else np.zeros((size, 0))
        moved = exchanged.astype(np.float64) @ change  # [rounds, 3]; sums of integers, so exact in any order
        difference = _f1(total_one + moved) - _f1(total_other - moved)
        extreme += int((np.abs(difference) >= abs(observed) - _TIE).sum())
    return Significance(observed, (extreme + 1) / (rounds + 1))


def bootstrap_interval(
    a: SentenceCounts, b: SentenceCounts, rounds: int = 10_000, seed: int = 0, level: float = 0.95
) -> Interval:
    """Return the percentile interval of the difference over sentences drawn with replacement, the same for both.

    Arguments and errors as for ``approximate_randomisation``; ``level`` lies between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; expected a number between 0 and 1")
    one, other = _pooled(a, b, rounds)
    both = np.concatenate([one, other], axis=1)  # [B, 6]
    B = len(both)
    if not B:
        return Interval(0.0, 0.0, level)
    generator = np.random.default_rng(seed)
    differences = np.empty(rounds)
    done = 0
    for size in _blocks(rounds, B):
        drawn = generator.integers(0, B, size=(size, B)) + np.arange(size)[:, None] * B
        times = np.bincount(drawn.ravel(), minlength=size * B).reshape(size, B)
        totals = times.astype(np.float64) @ both  # [rounds, 6]
        differences[done : done + size] = _f1(totals[:, :3]) - _f1(totals[:, 3:])
        done += size
    low, high = np.quantile(differences, [(1 - level) / 2, (1 + level) / 2]).tolist()
    return Interval(low, high, level)


def welch(a_f1s: Sequence[float], b_f1s: Sequence[float]) -> float | None:
    """Return the two-sided p-value of Welch's t-test over the seeds' F1; None where it is not defined.

    It is not defined with fewer than two seeds on a side, or if neither side varies.
    """
    if min(len(a_f1s), len(b_f1s)) < 2:
        return None
    deviations = [float(np.std(side, ddof=1)) for side in (a_f1s, b_f1s)]
    if not any(deviations):
        return None
    # Imported here because scipy.stats takes longer to load than a finished report takes to print.
    from scipy.stats import ttest_ind_from_stats

    means = [float(np.mean(side)) for side in (a_f1s, b_f1s)]
    result = ttest_ind_from_stats(
        means[0], deviations[0], len(a_f1s), means[1], deviations[1], len(b_f1s), equal_var=False
    )
    return float(result.pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number, so that the chance of any false one stays below the level.

    The smallest of n is multiplied by n, the next by n - 1, and so on, and none is smaller than the one before.
    Source: Holm (1979), A Simple Sequentially Rejective Multiple Test Procedure.
    """
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    corrected, least = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = least
    return corrected


def _pooled(a: SentenceCounts, b: SentenceCounts, rounds: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum counts over the seeds, [B, 3] each; repeat both to a common multiple of seeds first."""
    if rounds < 1:
        raise ValueError(f"rounds is {rounds}; expected at least 1")
    sides = [np.asarray(side)[None] if np.ndim(side) == 2 else np.asarray(side) for side in (a, b)]
    for side in sides:
        if side.ndim != 3 or side.shape[2] != 3 or not len(side):
            raise ValueError(f"counts have shape {side.shape}; expected [seeds, sentences, 3]")
        if side.size and side.min() < 0:
            raise ValueError(f"counts contain {side.min()}; expected numbers of spans")
    if sides[0].shape[1] != sides[1].shape[1]:
        raise ValueError(f"systems were scored on {sides[0].shape[1]} and {sides[1].shape[1]} sentences")
    common = math.lcm(len(sides[0]), len(sides[1]))
    pooled = [side.sum(axis=0).astype(np.float64) * (common // len(side)) for side in sides]
    return pooled[0], pooled[1]


def _f1(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return micro F1 from counts [..., 3]; 0 without any span."""
    total = counts[..., 0] + counts[..., 1]
    return 2 * counts[..., 2] / np.where(total > 0, total, 1.0)


def _blocks(rounds: int, columns: int) -> Iterator[int]:
    """Split the rounds into blocks whose [rounds, columns] arrays stay bounded; yields the sizes."""
    size = max(1, _BLOCK_ELEMENTS // max(1, columns))
    for start in range(0, rounds, size):
        yield min(size, rounds - start)
