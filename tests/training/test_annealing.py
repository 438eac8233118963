"""The tagger's schedule: patience, rewind to the best epoch, fixed phases, earliest of equals."""

from __future__ import annotations

import pytest

from taglm_core.training.annealing import Annealing, Verdict


def schedule(patience: int = 3, max_epochs: int = 50) -> Annealing:
    """The paper's rates with short phases."""
    return Annealing(learning_rate=1e-3, patience=patience, max_epochs=max_epochs, phases=[(1e-4, 2), (1e-5, 2)])


def test_the_papers_schedule_step_by_step() -> None:
    """Best at epoch 2, three epochs of waiting, rewind, two epochs at each lower rate, end."""
    at = schedule()
    seen = []
    for score in (0.5, 0.7, 0.6, 0.7, 0.65, 0.71, 0.70, 0.72, 0.60):
        rate = at.learning_rate
        seen.append((rate, at.observe(score)))
    rates = [rate for rate, _ in seen]
    assert rates == [1e-3] * 5 + [1e-4] * 2 + [1e-5] * 2
    assert [verdict.best for _, verdict in seen] == [True, True, False, False, False, True, False, True, False]
    assert seen[4][1] == Verdict(best=False, rewind=True, finished=False)
    assert not any(verdict.rewind for _, verdict in seen[5:])
    assert [verdict.finished for _, verdict in seen] == [False] * 8 + [True]
    assert at.best == (0.72, 8)


def test_epochs_to_repeat_on_more_data() -> None:
    """Those of the first phase up to its best model, whatever the later phases bring; scores that rise repeat them."""
    at = schedule()
    for score in (0.5, 0.7, 0.6, 0.7, 0.65, 0.71, 0.70, 0.72, 0.60):
        at.observe(score)
    assert (at.first_phase_epochs, at.best[1]) == (2, 8)
    again = schedule(patience=2, max_epochs=at.first_phase_epochs)
    seen = []
    while not seen or not seen[-1][1].finished:
        seen.append((again.learning_rate, again.observe(again.epoch + 1.0)))
    assert [rate for rate, _ in seen] == [1e-3] * 2 + [1e-4] * 2 + [1e-5] * 2
    assert all(verdict.best and not verdict.rewind for _, verdict in seen)
    one_phase = Annealing(learning_rate=1e-3, patience=2, max_epochs=9, phases=[])
    for score in (0.1, 0.3, 0.2, 0.2):
        one_phase.observe(score)
    assert one_phase.first_phase_epochs == 2


def test_without_improvement_the_first_epoch_is_the_best() -> None:
    """A dev F1 of zero for ever ends after patience, and the earliest epoch counts."""
    at = schedule(patience=2)
    verdicts = [at.observe(0.0) for _ in range(7)]
    assert at.best == (0.0, 1)
    assert verdicts[2].rewind
    assert verdicts[6].finished


def test_no_rewind_where_the_last_epoch_is_the_best() -> None:
    """max_epochs may end the first phase on its best epoch."""
    at = schedule(max_epochs=2)
    at.observe(0.1)
    assert at.observe(0.2) == Verdict(best=True, rewind=False, finished=False)
    assert at.learning_rate == 1e-4


@pytest.mark.parametrize("cut", range(9))
def test_packed_anywhere_it_goes_on_alike(cut: int) -> None:
    """Its whole memory is in what it packs."""
    scores = (0.5, 0.7, 0.6, 0.7, 0.65, 0.71, 0.70, 0.72, 0.60)
    whole = schedule()
    expected = [whole.observe(score) for score in scores]
    first = schedule()
    found = [first.observe(score) for score in scores[:cut]]
    second = schedule()
    second.unpack(first.pack())
    assert found + [second.observe(score) for score in scores[cut:]] == expected
