"""One seed, many named generators, so that a new use of randomness does not shift the others."""

from __future__ import annotations

import zlib

import numpy as np
import torch


def numpy_generator(seed: int, *names: str | int) -> np.random.Generator:
    """Return the generator of its own for (seed, names)."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(_entropy(seed, names))))


def seed_torch(seed: int, *names: str | int) -> None:
    """Seed torch's global generator, which initialisation and then dropout own."""
    state = np.random.SeedSequence(_entropy(seed, names)).generate_state(1, np.uint64)
    torch.manual_seed(int(state[0]) >> 1)


def _entropy(seed: int, names: tuple[str | int, ...]) -> list[int]:
    return [seed, *(zlib.crc32(name.encode()) if isinstance(name, str) else name for name in names)]
