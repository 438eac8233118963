"""The one training loop, for language models and taggers."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from taglm_core.errors import Interrupted, NonFiniteLoss
from taglm_core.training.checkpoints import (
    Checkpoints,
    TrainingState,
    pack_optimizer,
    unpack_optimizer,
)
from taglm_core.training.devices import generator_states, set_generator_states
from taglm_core.training.journal import Journal
from taglm_core.training.ranks import ALONE, Ranks
from taglm_core.training.stopping import StopRequest


class Job(Protocol):
    """What differs between trainings: the step, the score, the schedule.

    Attributes:
        model: what is trained.
        optimizers: their learning rates are set by the job.
        clip: largest norm of the dense gradients.
        loss_scale: what the loss is multiplied by before its gradient.
        accumulate: batches whose gradients are averaged in one step.
        step: optimiser steps taken; the loop counts it up.
    """

    model: nn.Module
    optimizers: Sequence[torch.optim.Optimizer]
    clip: float
    loss_scale: float
    accumulate: int
    step: int

    def finished(self) -> bool:
        """Whether the budget is spent."""

    def loss(self) -> Tensor:
        """Loss of the next batch, with its graph."""

    def where(self) -> str:
        """Position in the data, for error messages."""

    def after_step(self, loss: float, journal: Journal) -> None:
        """Log, evaluate, move the schedule on."""

    def pack(self) -> TrainingState:
        """What the job itself must remember; weights, optimisers and generator are the loop's."""

    def unpack(self, state: TrainingState) -> None:
        """Inverse of `pack`."""


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """What changes no number.

    Attributes:
        checkpoint_seconds: time between checkpoints.
        checkpoint_steps: steps after which there is one in any case; None for none.
    """

    checkpoint_seconds: float
    checkpoint_steps: int | None = None


def train(
    job: Job,
    *,
    checkpoints: Checkpoints,
    journal: Journal,
    stop: StopRequest,
    settings: LoopSettings,
    ranks: Ranks = ALONE,
) -> None:
    """Train until the job is finished, from the newest checkpoint if there is one.

    Several ranks run this side by side and take every turn together; the first one writes the checkpoints.

    Raises:
        NonFiniteLoss: inf or nan; the last checkpoint before it is kept.
        Interrupted: a stop was requested; a checkpoint was written.
    """
    saved = checkpoints.latest()
    if saved is not None:
        _unpack(job, saved, ranks)
        journal.message(job.step, f"resumed from the checkpoint at step {job.step:,}{_changed(saved, ranks)}")
    due = time.monotonic() + settings.checkpoint_seconds
    stopping = ranks.anyone(stop.requested)
    while not job.finished():
        if stopping:
            _save(job, checkpoints, ranks)
            ranks.wait()  # whoever ended earlier would have torchrun end the one that still writes
            reason = stop.reason or "another process of this training was asked to"
            raise Interrupted(f"stopped at step {job.step:,} ({reason}); checkpoint written, run again to go on")
        loss, stopping, save = _take_step(job, ranks, stop, due)
        job.step += 1
        job.after_step(loss, journal)
        counted = settings.checkpoint_steps is not None and job.step % settings.checkpoint_steps == 0
        if counted or save:
            _save(job, checkpoints, ranks)
            due = time.monotonic() + settings.checkpoint_seconds


def take_step(job: Job) -> float:
    """One optimiser step on the next batch, or batches; gives their mean loss.

    Raises:
        NonFiniteLoss: a loss, or the norm of the gradients, is inf or nan; no weight was changed.
    """
    return _take_step(job, ALONE, StopRequest(), math.inf)[0]


def _take_step(job: Job, ranks: Ranks, stop: StopRequest, due: float) -> tuple[float, bool, bool]:
    """One optimiser step: mean loss of all ranks, whether to stop after it, whether to write a checkpoint."""
    job.model.train()
    for optimizer in job.optimizers:
        optimizer.zero_grad(set_to_none=True)
    factor, losses = job.loss_scale / job.accumulate, []
    for _ in range(job.accumulate):
        loss = job.loss()
        losses.append(loss.detach())
        (loss if factor == 1.0 else loss * factor).backward()
    # the numbers are asked for once a step and after all of it, so that an accelerator never waits for Python
    total = sum(value / job.accumulate for value in torch.stack(losses).tolist())
    word = ranks.tell(job.model, total, stop=stop.requested, save=time.monotonic() >= due)
    _require_finite(word.loss, "loss", job)
    ranks.average_gradients(job.model, word)
    norm = nn.utils.clip_grad_norm_(_dense(job.model.parameters()), job.clip)
    _require_finite(float(norm), "norm of the gradients", job)
    for optimizer in job.optimizers:
        optimizer.step()
    return word.loss, word.stop, word.save


def _require_finite(value: float, what: str, job: Job) -> None:
    if not math.isfinite(value):
        raise NonFiniteLoss(
            f"{what} is {value} at step {job.step + 1:,} ({job.where()}); the last checkpoint is kept; "
            "lower learning_rate or clip"
        )


def _dense(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    """Parameters with a dense gradient: sparse ones do not clip."""
    return [parameter for parameter in parameters if parameter.grad is not None and not parameter.grad.is_sparse]


def _save(job: Job, checkpoints: Checkpoints, ranks: Ranks) -> None:
    state = _pack(job, ranks)
    if ranks.first:
        checkpoints.save(job.step, state)


def _pack(job: Job, ranks: Ranks = ALONE) -> TrainingState:
    own = job.pack()
    tensors = {f"job.{name}": tensor for name, tensor in own.tensors.items()}
    tensors |= {f"model.{name}": tensor for name, tensor in job.model.state_dict().items()}
    for number, optimizer in enumerate(job.optimizers):
        tensors |= pack_optimizer(optimizer, f"optimizer.{number}")
    # [ranks, bytes]: dropout draws from another generator on each rank
    tensors |= {f"generator.{name}": ranks.joined(state[None], 0) for name, state in generator_states().items()}
    return TrainingState(tensors, {"step": job.step, "job": own.data})


def _unpack(job: Job, state: TrainingState, ranks: Ranks = ALONE) -> None:
    tensors = state.tensors
    job.model.load_state_dict(_section(tensors, "model."))
    for number, optimizer in enumerate(job.optimizers):
        unpack_optimizer(optimizer, f"optimizer.{number}", tensors)
    job.step = state.data["step"]
    job.unpack(TrainingState(_section(tensors, "job."), state.data["job"]))
    if ranks.rank < _ranks_of(state):  # a rank more than before keeps the generator that it was seeded with
        generators = _section(tensors, "generator.").items()
        set_generator_states({name: torch.atleast_2d(states)[ranks.rank].clone() for name, states in generators})


def _ranks_of(state: TrainingState) -> int:
    return len(torch.atleast_2d(state.tensors["generator.cpu"]))


def _changed(state: TrainingState, ranks: Ranks) -> str:
    """What to say when a checkpoint of so many ranks goes on with another number."""
    before = _ranks_of(state)
    if before == ranks.size:
        return ""
    return (
        f", with {ranks.size} ranks instead of {before}: the same training, but dropout draws other numbers, so not "
        "the bits of a run that kept its ranks"
    )


def _section(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
