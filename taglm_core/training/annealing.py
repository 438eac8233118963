"""The schedule of the tagger: constant rate until dev stops improving, then fixed phases (Peters et al. 2017, 3.3).

phase 0    rate alpha; ends `patience` epochs after the best dev F1, or at `max_epochs`
phase 1    a given number of epochs from the best model, at the first annealing rate
phase 2..  a given number of epochs from the end of the last phase, at the next rate
result     the model with the best dev F1 over all phases; the earliest of equals

Without a dev set all phases have fixed numbers of epochs: rising scores make every epoch the best so far.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do after an epoch.

    Attributes:
        best: the model just scored is the best so far: keep it.
        rewind: go back to the best model before the next epoch.
        finished: no further epoch.
    """

    best: bool
    rewind: bool
    finished: bool


@dataclass(slots=True)
class _Position:
    phase: int = 0
    epoch: int = 0  # finished epochs, over all phases
    in_phase: int = 0
    best_score: float = -1.0
    best_epoch: int = 0
    rewound_to: int = 0  # best epoch of phase 0


class Annealing:
    """The schedule: dev scores in, decisions out.

    Args:
        learning_rate: rate of phase 0.
        patience: number of epochs without a better score that ends phase 0.
        max_epochs: most epochs of phase 0.
        phases: (learning rate, epochs) of the later phases.
    """

    def __init__(
        self, *, learning_rate: float, patience: int, max_epochs: int, phases: Sequence[tuple[float, int]]
    ) -> None:
        self._rates = [learning_rate, *(rate for rate, _ in phases)]
        self._lengths = [max_epochs, *(epochs for _, epochs in phases)]
        self._patience = patience
        self._at = _Position()

    @property
    def learning_rate(self) -> float:
        """Rate of the next epoch."""
        return self._rates[self._at.phase]

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return self._at.epoch

    @property
    def best(self) -> tuple[float, int]:
        """Best score so far and its epoch, counted from 1."""
        return self._at.best_score, self._at.best_epoch

    @property
    def first_phase_epochs(self) -> int:
        """Number of epochs of phase 0 up to its best model: as many as a repetition on more data trains."""
        return self._at.rewound_to or self._at.best_epoch

    @property
    def most_epochs(self) -> int:
        """Number of epochs if patience never runs out."""
        return sum(self._lengths)

    def observe(self, score: float) -> Verdict:
        """Take the dev score of the epoch just done."""
        at = self._at
        at.epoch += 1
        at.in_phase += 1
        best = score > at.best_score
        if best:
            at.best_score, at.best_epoch = score, at.epoch
        waited = at.phase == 0 and at.epoch - at.best_epoch >= self._patience
        if not waited and at.in_phase < self._lengths[at.phase]:
            return Verdict(best, rewind=False, finished=False)
        if at.phase == len(self._rates) - 1:
            return Verdict(best, rewind=False, finished=True)
        if at.phase == 0:
            at.rewound_to = at.best_epoch
        at.phase, at.in_phase = at.phase + 1, 0
        return Verdict(best, rewind=at.phase == 1 and not best, finished=False)

    def pack(self) -> dict[str, Any]:
        """Return the position as JSON values."""
        return asdict(self._at)

    def unpack(self, state: dict[str, Any]) -> None:
        """Restore what `pack` returned."""
        self._at = _Position(**state)
