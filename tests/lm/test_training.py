"""Training a language model: it learns, the same bits come out of a resumed run, unknown words have classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from taglm_core.config.language_model import (
    AdaptiveSoftmax,
    CharCnnInput,
    FullSoftmax,
    LanguageModelConfig,
    SampledSoftmax,
    WordInput,
)
from taglm_core.corpus.token_bytes import BOUNDARY
from taglm_core.errors import ConfigError, Interrupted, NonFiniteLoss
from taglm_core.lm.lm_training import Intervals, LmTraining, learning_rate
from taglm_core.lm.lm_vocabulary import LmVocabulary
from taglm_core.lm.model import WordTable, build_network
from taglm_core.lm.streams import Streams
from taglm_core.training.checkpoints import Checkpoints
from taglm_core.training.devices import open_device
from taglm_core.training.journal import JOURNAL, Journal, read_events
from taglm_core.training.loop import LoopSettings, take_step, train
from taglm_core.training.randomness import seed_torch
from taglm_core.training.ranks import ALONE, Ranks
from taglm_core.training.stopping import StopRequest
from tests.devices import DEVICES
from tests.lm.conftest import WORDS, small_config
from tests.lm.test_streams import Memory


class StopAfter(StopRequest):
    """Stops when it has been looked at so many times."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self._looks = looks

    @property
    def requested(self) -> bool:
        self._looks -= 1
        return self._looks < 0


def text(count: int, seed: int) -> list[np.ndarray]:
    """A language of cycles: word k is followed by word k + 1."""
    generator = np.random.default_rng(seed)
    starts, lengths = generator.integers(0, 30, count), generator.integers(2, 9, count)
    return [
        ((start + np.arange(length)) % 30 + 1).astype(np.int32) for start, length in zip(starts, lengths, strict=True)
    ]


def new_training(
    config: LanguageModelConfig,
    ranks: Ranks = ALONE,
    *,
    precision: str = "float32",
    compiled: bool = False,
    where: str = "cpu",
) -> LmTraining:
    """A fresh training over the cycles."""
    device = open_device(where, 1, precision=precision, compiled=compiled, ranks=ranks)
    vocabulary = LmVocabulary(WORDS, shapes=True)
    seed_torch(config.seed, "test")
    network = device.prepared(build_network(config, len(vocabulary)))
    if not ranks.is_main:
        seed_torch(config.seed, "test", ranks.rank)
    table = WordTable([BOUNDARY, *WORDS], vocabulary, config)
    shards = [Memory(text(40, 1)), Memory(text(30, 2))]
    streams = Streams(shards, streams=config.streams, window=config.window, backward=False, seed=config.seed)
    return LmTraining(network, table, streams, text(40, 3), config, Intervals(log=5, evaluate=20), device, ranks)


def run(
    folder: Path, config: LanguageModelConfig, stop: StopRequest, ranks: Ranks = ALONE, where: str = "cpu"
) -> LmTraining:
    """Train with a checkpoint after every step."""
    training, journal = (
        new_training(config, ranks, where=where),
        Journal(folder / (JOURNAL if ranks.is_main else f"{ranks.rank}-{JOURNAL}")),
    )
    try:
        train(training, checkpoints=Checkpoints(folder / "c", 2), journal=journal, stop=stop, settings=LoopSettings(0),
              ranks=ranks)  # fmt: skip
    finally:
        journal.close()
    return training


@pytest.mark.parametrize("where", DEVICES)
@pytest.mark.parametrize("kind", ["char-cnn", "word"])
@pytest.mark.parametrize("optimizer", ["adam", "adagrad"])
@pytest.mark.parametrize("changes", [
    {},
    {"softmax": SampledSoftmax(samples=20), "accumulate": 2},
    {"layers": 2, "residual": True, "softmax": AdaptiveSoftmax(cutoffs=(5,)), "average": 0.9, "loss_scale": 5.0},
], ids=["full", "sampled", "deep"])  # fmt: skip
def test_interrupted_and_resumed_gives_the_same_bits(
    tmp_path: Path, where: str, kind: str, optimizer: str, changes: dict[str, object]
) -> None:
    """Stopped three times, dropout on: weights and journal equal those of a run that never stopped."""
    config = small_config(kind, dropout=0.3, steps=25, optimizer=optimizer, learning_rate=0.01, **changes)
    whole = run(tmp_path / "whole", config, StopRequest(), where=where)
    for looks in (1, 7, 9):
        with pytest.raises(Interrupted, match="checkpoint written"):
            run(tmp_path / "parts", config, StopAfter(looks), where=where)
    parts = run(tmp_path / "parts", config, StopRequest(), where=where)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, parts.model.state_dict()[name]), name
    assert bool(whole._average) == (config.average is not None)
    assert all(torch.equal(weight, parts._average[name]) for name, weight in whole._average.items())

    name = "train/sampled_loss" if whole.model.softmax.samples else "train/loss"

    def losses(folder: Path) -> dict[int, float]:
        events = [event for event, _ in read_events(folder / JOURNAL) if name in event.values]
        return {event.step: event.values[name] for event in events}

    assert losses(tmp_path / "whole")

    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")


@pytest.mark.parametrize("kind", ["char-cnn", "word"])
@pytest.mark.parametrize("softmax", [FullSoftmax(), SampledSoftmax(samples=20), AdaptiveSoftmax(cutoffs=(5,))], ids=str)
@pytest.mark.parametrize("where", DEVICES)
def test_nothing_reads_memory_that_nobody_wrote(
    kind: str, softmax: FullSoftmax | SampledSoftmax | AdaptiveSoftmax, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With fresh memory full of nan, as torch leaves it where asked to, the same losses and held-out perplexity."""
    found = []
    for filled in (False, True):
        training = new_training(small_config(kind, dropout=0.3, softmax=softmax), where=where)
        monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", filled)
        assert not filled or bool(torch.empty(3).isnan().all())
        found.append(([take_step(training) for _ in range(5)], training.heldout_perplexity()))
    assert found[0] == found[1]


@pytest.mark.parametrize("changes", [
    {}, {"softmax": SampledSoftmax(samples=20), "steps": 250, "learning_rate": 0.02}, {"layers": 2, "residual": True},
    {"input": WordInput(size=10), "softmax": FullSoftmax(tied=True)},
], ids=["full", "sampled", "deep", "tied"])  # fmt: skip
def test_it_learns_the_language(tmp_path: Path, changes: dict[str, object]) -> None:
    """Cycles are predictable but for starts and ends: held-out perplexity falls from about V to below 8."""
    usual: dict[str, object] = {"steps": 120, "learning_rate": 0.03, "streams": 8, "window": 10}
    config = small_config("char-cnn", **usual | changes)
    training = new_training(config)
    before = training.heldout_perplexity()
    after = run(tmp_path, config, StopRequest()).heldout_perplexity()
    assert before > 30
    assert after < 8


def test_accumulated_gradients_are_the_mean_of_their_windows() -> None:
    """Two windows in one step: the gradient is the mean of the two, the second window with the state of the first."""
    plain, both = (
        new_training(small_config("char-cnn", steps=4)),
        new_training(small_config("char-cnn", steps=4, accumulate=2)),
    )
    losses, gradients = [], []
    for _ in range(2):
        plain.model.zero_grad()
        loss = plain.loss()
        loss.backward()
        losses.append(loss.item())
        gradients.append([p.grad.clone() for p in plain.model.parameters() if p.grad is not None])
    both.clip = 1e9
    assert take_step(both) == pytest.approx(sum(losses) / 2)
    found = [p.grad for p in both.model.parameters() if p.grad is not None]
    for one, two, mean in zip(*gradients, found, strict=True):
        torch.testing.assert_close(mean, (one + two) / 2)


def test_a_gradient_that_is_not_finite_changes_no_weight(tmp_path: Path) -> None:
    """The loss was fine, its gradient is not: stopped before the optimiser, so no checkpoint holds such weights."""
    training = new_training(small_config("char-cnn", steps=5))
    weights = [weight.clone() for weight in training.model.parameters()]
    next(training.model.layers.parameters()).register_hook(lambda gradient: gradient * float("inf"))
    journal = Journal(tmp_path / JOURNAL)
    with pytest.raises(NonFiniteLoss, match=r"norm of the gradients is (nan|inf) at step 1 \(epoch 0, shard"):
        train(
            training,
            checkpoints=Checkpoints(tmp_path / "c", 2),
            journal=journal,
            stop=StopRequest(),
            settings=LoopSettings(0),
        )
    journal.close()
    assert all(torch.equal(a, b) for a, b in zip(weights, training.model.parameters(), strict=True))
    assert Checkpoints(tmp_path / "c", 2).latest() is None


def test_checkpoints_come_by_steps_too(tmp_path: Path) -> None:
    """Every third step, however long the time between them may be."""
    journal = Journal(tmp_path / JOURNAL)
    train(new_training(small_config("word", steps=8)), checkpoints=Checkpoints(tmp_path / "c", 9), journal=journal,
          stop=StopRequest(), settings=LoopSettings(1e9, checkpoint_steps=3))  # fmt: skip
    journal.close()
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == ["step-000000003", "step-000000006"]


def test_measuring_changes_no_number(tmp_path: Path) -> None:
    """Measured before training, dropout on: the same losses; the share of the matrix products' rate is said."""
    config = small_config("char-cnn", dropout=0.3, steps=6)
    plain = new_training(config)
    losses = [take_step(plain) for _ in range(3)]
    measured = new_training(config)
    measured.measure()
    assert [take_step(measured) for _ in range(3)] == losses
    journal = Journal(tmp_path / JOURNAL)
    measured.step = 6
    measured.after_step(1.0, journal)
    journal.close()
    events = [event for event, _ in read_events(tmp_path / JOURNAL)]
    assert any(event.values.get("gemm_share", 0) > 0 for event in events)
    assert any("GFLOP/s (one large matrix product at the start: " in event.text for event in events)


def test_the_average_is_what_is_read_and_saved_and_not_what_is_trained(tmp_path: Path) -> None:
    """Held-out text reads the moving average and leaves the trained weights as they were; the end takes it over."""
    config = small_config("word", steps=40, learning_rate=0.05, schedule="constant", average=0.9)
    training = run(tmp_path, config, StopRequest())
    weights = [weight.clone() for weight in training.model.layers.parameters()]
    replayed = new_training(config.model_copy(update={"average": None}))
    mean = [weight.detach().clone() for weight in replayed.model.layers.parameters()]
    while not replayed.finished():  # the definition, step by step
        take_step(replayed)
        replayed.step += 1
        decay = min(0.9, replayed.step / (replayed.step + 10))
        for average, weight in zip(mean, replayed.model.layers.parameters(), strict=True):
            average.lerp_(weight.detach(), 1 - decay)
    before = training.heldout_perplexity()
    assert all(torch.equal(a, b) for a, b in zip(weights, training.model.layers.parameters(), strict=True))
    training.take_average()
    for average, weight in zip(mean, training.model.layers.parameters(), strict=True):
        torch.testing.assert_close(weight.detach(), average)
    assert training.heldout_perplexity() == before
    assert before != replayed.heldout_perplexity()


def test_a_loss_that_is_not_finite_stops_and_keeps_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names step and place in the text; the checkpoint before it is there."""
    config = small_config("word", steps=10)
    original: Callable[[LmTraining], torch.Tensor] = LmTraining.loss
    monkeypatch.setattr(
        LmTraining, "loss", lambda training: original(training) * (float("nan") if training.step == 4 else 1.0)
    )
    with pytest.raises(NonFiniteLoss, match=r"step 5 \(epoch 0, shard"):
        run(tmp_path, config, StopRequest())
    kept = Checkpoints(tmp_path / "c", 2).latest()
    assert kept is not None
    assert kept.data["step"] == 4


def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path) -> None:
    """The one before it is taken."""
    run(tmp_path, small_config("word", steps=6), StopRequest())
    newest = tmp_path / "c" / "step-000000006" / "state.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    kept = Checkpoints(tmp_path / "c", 2).latest()
    assert kept is not None
    assert kept.data["step"] == 5


def test_schedules_end_where_they_should() -> None:
    """Warm-up rises to the rate, linear and cosine fall to nearly zero, constant stays."""
    for schedule, last in (("constant", 0.01), ("linear", 0.01 / 90), ("cosine", 0.0)):
        config = small_config("word", steps=100, warmup_steps=10, learning_rate=0.01, schedule=schedule)
        assert learning_rate(config, 0) == pytest.approx(0.001)
        assert learning_rate(config, 10) == pytest.approx(0.01)
        assert learning_rate(config, 99) == pytest.approx(last, abs=1e-5)


def test_vocabulary_takes_the_most_frequent_and_classes_the_rest(tmp_path: Path) -> None:
    """Size counts the mark and the classes; rare words and words that do not fit get the class of their shape."""
    path = tmp_path / "words.parquet"
    words, counts = [BOUNDARY, "the", "of", "Paris", "once"], [9, 7, 5, 5, 1]
    pq.write_table(pa.table({"id": pa.array(range(5), pa.int32()), "word": words, "count": counts}), path)
    everything = LmVocabulary.select(path, size=1000, min_count=2, shapes=True)
    assert everything.words == ("the", "of", "Paris")
    small = LmVocabulary.select(path, size=everything.classes + 3, min_count=1, shapes=True)
    assert small.words == ("the", "of")
    assert len(small) == everything.classes + 3
    single = LmVocabulary.select(path, size=4, min_count=1, shapes=False)
    assert (single.words, single.ids(["the", "Rome", "of"]).tolist()) == (("the", "of"), [2, 1, 3])
    ids = everything.ids(["Rome", "Oslo", "1999", "the"])
    assert everything.is_unknown(ids).tolist() == [True, True, True, False]
    assert ids[0] != ids[2]
    assert everything.ids([BOUNDARY]).tolist() == [0]  # a word of its own, not an unknown one of odd shape
    everything.save(tmp_path / "v.parquet")
    assert LmVocabulary.load(tmp_path / "v.parquet", shapes=True) == everything


def test_a_sample_as_large_as_the_vocabulary_is_refused_and_the_default_scales() -> None:
    """Named with both numbers when the network is built; by default 3.2 words a token, at most half the vocabulary."""
    with pytest.raises(ConfigError, match=r"samples of a vocabulary of .* words; expected fewer"):
        new_training(small_config("word", softmax=SampledSoftmax(samples=500)))
    assert SampledSoftmax().number(128 * 20, 793_471) == 8_192
    assert SampledSoftmax().number(128 * 20, 1_000) == 500
    assert SampledSoftmax(samples=7).number(128 * 20, 1_000) == 7


def test_tying_needs_fitting_words() -> None:
    """A word table of another width than the states, or characters, cannot be the matrix."""
    for entry in (WordInput(size=12), CharCnnInput()):
        with pytest.raises(ValueError, match="tied needs"):
            small_config("word", input=entry, softmax=FullSoftmax(tied=True))


def test_adaptive_cutoffs_must_rise() -> None:
    """A falling list is refused with the values."""
    with pytest.raises(ValueError, match="must rise"):
        small_config("word", softmax=AdaptiveSoftmax(cutoffs=(5, 3)))


def test_a_step_goes_on_from_the_state_of_the_last_one() -> None:
    """The state after a window is the start of the next one, without the graph that led to it."""
    training = new_training(small_config("word"))
    assert not training._state.hidden.any()
    starts, losses_of = [], training._losses_of
    training._losses_of = lambda state: starts.append(state) or losses_of(state)  # type: ignore[method-assign]
    take_step(training)
    after = training._state
    assert bool(after.hidden.any())
    take_step(training)
    assert starts[1] is after
    assert not after.hidden.requires_grad
    assert not torch.equal(after.hidden, training._state.hidden)


def test_heldout_perplexity_has_no_dropout() -> None:
    """Measured twice, from training mode, it is the same figure."""
    training = new_training(small_config("word", dropout=0.5))
    found = []
    for _ in range(2):
        training.model.train()
        found.append(training.heldout_perplexity())
    assert found[0] == found[1]
