"""Numbers that decide a draw: the same for ever, whatever the library versions."""

from __future__ import annotations

import numpy as np

UINT64_SPAN = 2**64


def mix64(numbers: np.ndarray, seed: int) -> np.ndarray:
    """Scatter numbers over 64 bits; for one seed no two numbers collide.

    The finaliser of splitmix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators"),
    written out so that no generator's change can move a sentence.

    Args:
        numbers: [N] integers.
        seed: another seed gives another scatter.

    Returns:
        [N] uint64.
    """
    offset = np.uint64((seed * 0x9E3779B97F4A7C15 + 0xD1B54A32D192ED03) % UINT64_SPAN)
    mixed = numbers.astype(np.uint64)
    for _ in range(2):  # twice: once leaves neighbouring seeds visibly alike
        mixed = mixed + offset
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed = mixed ^ (mixed >> np.uint64(31))
    return mixed
