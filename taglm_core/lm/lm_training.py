"""Training of one direction of a language model: the task that the training loop runs."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from taglm_core.config.language_model import LanguageModelConfig, LrSchedule
from taglm_core.lm.model import WordTable
from taglm_core.lm.reading import Sentences, carried_perplexity, distinct_words
from taglm_core.lm.streams import Streams
from taglm_core.nn.lm_network import LanguageModel, LmState
from taglm_core.training.checkpoints import TrainingState
from taglm_core.training.devices import PLAIN, Device, generator_states, set_generator_states
from taglm_core.training.journal import Journal
from taglm_core.training.randomness import numpy_generator
from taglm_core.training.ranks import ALONE, Ranks
from taglm_core.training.speed import count_operations, gemm_rate

EVALUATION_STREAMS = 32  # each held-out stream should have dozens of sentences, so that its cold start hardly counts


@dataclass(frozen=True, slots=True)
class Intervals:
    """Intervals of reporting; they change no number.

    Attributes:
        log: steps between journal lines.
        evaluate: steps between evaluations on the held-out text.
    """

    log: int
    evaluate: int


class LmTraining:
    """Truncated back-propagation over streams with carried state, for a budget of steps.

    Args:
        network: the network, on its device.
        table: all words of the training and held-out text.
        streams: training text.
        heldout: held-out sentences in reading order.
        config: settings.
        intervals: intervals of reporting.
        device: device of the network.
        ranks: the processes that train this model together; each reads its own rows of the streams.
        start: initial state of every stream, one row; None for zero.
    """

    def __init__(
        self,
        network: LanguageModel,
        table: WordTable,
        streams: Streams,
        heldout: Sentences,
        config: LanguageModelConfig,
        intervals: Intervals,
        device: Device = PLAIN,
        ranks: Ranks = ALONE,
        start: LmState | None = None,
    ) -> None:
        self.model: nn.Module = network
        self.optimizers = build_optimizers(network, config)
        self.clip, self.loss_scale, self.accumulate = config.clip, config.loss_scale, config.accumulate
        self.step, self._windows = 0, 0
        self._network, self._table, self._streams, self._heldout = network, table, streams, heldout
        self._config, self._intervals = config, intervals
        self._device, self._ranks, self._rows = device, ranks, ranks.slice_of(config.streams)
        share = config.streams // ranks.size
        self._state = network.zero_state(share) if start is None else start.expand(share)
        self._exact = network.softmax.samples == 0
        self._loss_name = "train/loss" if self._exact else "train/sampled_loss"
        self._average: dict[str, Tensor] = {}  # moving average of the LSTM weights, by name
        if config.average is not None:
            self._average = {name: weight.detach().clone() for name, weight in network.layers.named_parameters()}
        self._losses: list[float] = []  # losses since the last journal line
        self._operations = 0  # floating-point operations of a step; 0: not measured
        self._product_rate = 0.0  # operations a second of one large matrix product, when training began
        self._started: tuple[float, int] | None = None  # time and step, for tokens per second of this process

    def measure(self) -> None:
        """Find out what a step costs, and how fast this machine multiplies matrices now; changes no number."""
        self._product_rate = gemm_rate(self._state.hidden.device, self._device.multiplies_in)
        self._operations = self.count_operations()

    def count_operations(self) -> int:
        """Count the floating-point operations of one step, forward and backward; changes no number."""
        position, generators = self._streams.pack(), generator_states()
        self._network.train()

        def step() -> None:
            losses, _ = self._losses_of(self._state)
            losses.mean().backward()

        operations = count_operations(step)
        self._network.zero_grad(set_to_none=True)
        self._streams.unpack(position)
        set_generator_states(generators)
        return operations * self._config.accumulate

    @property
    def step_tokens(self) -> int:
        """Tokens of one optimiser step."""
        return self._config.step_tokens

    def finished(self) -> bool:
        """Return whether the budget of steps is spent."""
        return self.step >= self._config.steps

    def loss(self) -> Tensor:
        """Return the mean negative log-probability of the next window of all streams."""
        if self._started is None:
            self._started = time.monotonic(), self.step
        rate = learning_rate(self._config, self.step)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
        losses, state = self._losses_of(self._state)
        self._windows += 1
        self._state = state.detach()
        return losses.mean()

    def _losses_of(self, state: LmState) -> tuple[Tensor, LmState]:
        """Return the losses of the next window of all streams [T B], and the state after it."""
        rows = self._streams.next()[self._rows].astype(
            np.int64
        )  # [B, T + 1]; each rank reads all streams (docs/decisions/0007)
        targets = self._device.upload(self._table.targets[torch.from_numpy(rows[:, 1:].T.copy())])
        generator = numpy_generator(self._config.seed, "samples", self._windows)
        with self._device.autocast():
            words = distinct_words(self._network, self._table, rows[:, :-1].T)
            states, state = self._network(*words, state)
            losses = self._network.softmax.training_losses(states.flatten(0, 1), targets.flatten(), generator)
        return losses.float(), LmState(*(part.float() for part in state))

    def where(self) -> str:
        """Return the position in the text."""
        return self._streams.where()

    def after_step(self, loss: float, journal: Journal) -> None:
        """Write journal lines every few steps; measure held-out perplexity every few hundred steps and at the end."""
        self._losses.append(loss)
        if self._average and self._config.average is not None:
            # follow fast at first: otherwise the initialisation would dominate the average for a thousand steps
            decay = min(self._config.average, self.step / (self.step + 10))
            for name, weight in self._network.layers.named_parameters():
                self._average[name].lerp_(weight.detach(), 1.0 - decay)
        last = self.finished()
        if self.step % self._intervals.log == 0 or last:
            mean = sum(self._losses) / len(self._losses)
            self._losses = []
            rate = learning_rate(self._config, self.step - 1)
            values = {self._loss_name: mean, "learning_rate": rate}
            if self._operations:
                values["gemm_share"] = self._operations * self.steps_per_second() / self._product_rate
            journal.metrics(self.step, values)
            journal.progress(self.step, self.step, self._config.steps, self._progress(mean))
        if self.step % self._intervals.evaluate == 0 or last:
            value = self.heldout_perplexity()
            journal.metrics(self.step, {"heldout/perplexity": value})
            journal.message(self.step, f"step {self.step:,}: held-out perplexity {value:.1f}{self._speed()}")

    def _speed(self) -> str:
        """Describe the rates of training and of one matrix product. No share: the load may have changed since."""
        if not self._operations:
            return ""
        rate = self._operations * self.steps_per_second()
        return f"; {rate / 1e9:,.0f} GFLOP/s (one large matrix product at the start: {self._product_rate / 1e9:,.0f})"

    def heldout_perplexity(self) -> float:
        """Compute the exact perplexity of the held-out sentences, carrying the state on from training.

        All ranks call it together; the main rank reads the text, the others get NaN.
        """
        trained = self._joined_state()
        if not self._ranks.is_main:
            return math.nan
        self._network.eval()
        with self._averaged(), self._device.exact():
            return self._heldout_perplexity(trained)

    def _joined_state(self) -> LmState:
        """Return the recurrent state of all streams, in their order."""
        return LmState(*(self._ranks.all_gather(part, 1) for part in self._state))

    def _heldout_perplexity(self, trained: LmState) -> float:
        streams = max(1, min(EVALUATION_STREAMS, len(self._heldout) // 32, self._config.streams))
        return carried_perplexity(self._network, self._table, self._heldout, trained.first(streams))

    def states(self, rows: int) -> LmState:
        """Return the final states of `rows` streams, or of all if there are fewer; all ranks call it together.

        Reading starts from these states: training never resets the state, so the model does not know a zero state,
        which may harm dozens of sentences.
        """
        return self._joined_state().first(min(rows, self._config.streams))

    def take_average(self) -> None:
        """Make the moving average of the weights, if there is one, the weights: what the finished model has."""
        self._network.layers.load_state_dict(self._average, strict=bool(self._average))
        self._average = {}

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[None]:
        """Use the averaged weights, if there are any, in place of the trained ones."""
        if not self._average:
            yield
            return
        trained = {name: weight.clone() for name, weight in self._network.layers.state_dict().items()}
        self._network.layers.load_state_dict(self._average)
        try:
            yield
        finally:
            self._network.layers.load_state_dict(trained)

    def steps_per_second(self) -> float:
        """Return the steps per second of this process, held-out evaluation included."""
        if self._started is None:
            return 0.0
        begun, step = self._started
        return (self.step - step) / max(1e-9, time.monotonic() - begun)

    def tokens_per_second(self) -> float:
        """Return the tokens per second of this process, held-out evaluation included."""
        return self.steps_per_second() * self._config.step_tokens

    def pack(self) -> TrainingState:
        """Return recurrent state, averaged weights, position in the text, and losses not yet in the journal."""
        data: dict[str, Any] = {"streams": self._streams.pack(), "losses": self._losses}
        tensors = {f"average.{name}": weight for name, weight in self._average.items()}
        state = self._joined_state()
        return TrainingState({"hidden": state.hidden, "cell": state.cell, **tensors}, data)

    def unpack(self, state: TrainingState) -> None:
        """Restore what `pack` returned."""
        device = self._state.hidden.device
        # contiguous copies: matrix products of strided rows differ in the last bits
        parts = (state.tensors[name][:, self._rows] for name in ("hidden", "cell"))
        self._state = LmState(*(part.clone(memory_format=torch.contiguous_format).to(device) for part in parts))
        for name, weight in self._average.items():
            weight.copy_(state.tensors[f"average.{name}"])
        self._streams.unpack(state.data["streams"])
        self._losses = list(state.data["losses"])
        self._windows = self.step * self._config.accumulate
        self._started = None

    def _progress(self, loss: float) -> str:
        speed = self.tokens_per_second()
        # no perplexity with a sampled softmax: its loss is over the drawn words alone
        shown = f"training perplexity {math.exp(min(loss, 50.0)):.1f}" if self._exact else f"sampled loss {loss:.3f}"
        left = (self._config.steps - self.step) * self._config.step_tokens / max(1.0, speed)
        return f"step {self.step:,} of {self._config.steps:,}, {shown}, {speed:,.0f} tokens/s, {left:,.0f} s left"


def build_optimizers(network: LanguageModel, config: LanguageModelConfig) -> Sequence[torch.optim.Optimizer]:
    """Build an optimiser for the dense parameters, and a row-wise one for the word table if there is one."""
    sparse = [m.weight for m in network.modules() if isinstance(m, nn.Embedding) and m.sparse]
    dense = [p for p in network.parameters() if all(p is not table for table in sparse)]
    if config.optimizer == "adagrad":  # one class does both; accumulator 1.0 as in Jozefowicz et al. 2016
        return [torch.optim.Adagrad(ps, initial_accumulator_value=1.0) for ps in (dense, sparse) if ps]
    optimizers: list[torch.optim.Optimizer] = [torch.optim.Adam(dense)]
    if sparse:
        optimizers.append(torch.optim.SparseAdam(sparse))
    return optimizers


def learning_rate(config: LanguageModelConfig, step: int) -> float:
    """Return the rate of step `step`, counted from 0: linear warm-up, then the schedule down to zero."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    if config.schedule is LrSchedule.CONSTANT:
        return config.learning_rate
    done = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    if config.schedule is LrSchedule.LINEAR:
        return config.learning_rate * max(0.0, 1.0 - done)
    return config.learning_rate * 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))
