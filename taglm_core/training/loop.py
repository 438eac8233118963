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
from taglm_core.training.stopping import StopRequest


class Job(Protocol):
    """What differs between trainings: the step, the score, the schedule.

    Attributes:
        model: what is trained.
        optimizers: their learning rates are set by the job.
        clip: largest norm of the dense gradients.
        loss_scale: what the loss is multiplied by before its gradient.
        step: optimiser steps taken; the loop counts it up.
    """

    model: nn.Module
    optimizers: Sequence[torch.optim.Optimizer]
    clip: float
    loss_scale: float
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
    """

    checkpoint_seconds: float


def train(job: Job, *, checkpoints: Checkpoints, journal: Journal, stop: StopRequest, settings: LoopSettings) -> None:
    """Train until the job is finished, from the newest checkpoint if there is one.

    Raises:
        NonFiniteLoss: inf or nan; the last checkpoint before it is kept.
        Interrupted: a stop was requested; a checkpoint was written.
    """
    saved = checkpoints.latest()
    if saved is not None:
        _unpack(job, saved)
        journal.message(job.step, f"resumed from the checkpoint at step {job.step:,}")
    due = time.monotonic() + settings.checkpoint_seconds
    while not job.finished():
        if stop.requested:
            checkpoints.save(job.step, _pack(job))
            raise Interrupted(f"stopped at step {job.step:,} ({stop.reason}); checkpoint written, run again to go on")
        loss = take_step(job)
        job.step += 1
        job.after_step(loss, journal)
        if time.monotonic() >= due:
            checkpoints.save(job.step, _pack(job))
            due = time.monotonic() + settings.checkpoint_seconds


def take_step(job: Job) -> float:
    """One optimiser step on the next batch; gives its loss.

    Raises:
        NonFiniteLoss: inf or nan; nothing was changed.
    """
    job.model.train()
    loss = job.loss()
    value = loss.item()
    if not math.isfinite(value):
        raise NonFiniteLoss(
            f"loss is {value} at step {job.step + 1:,} ({job.where()}); the last checkpoint is kept; "
            "lower learning_rate or clip"
        )
    for optimizer in job.optimizers:
        optimizer.zero_grad(set_to_none=True)
    (loss if job.loss_scale == 1.0 else loss * job.loss_scale).backward()
    nn.utils.clip_grad_norm_(_dense(job.model.parameters()), job.clip)
    for optimizer in job.optimizers:
        optimizer.step()
    return value


def _dense(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    """Parameters with a dense gradient: sparse ones do not clip."""
    return [parameter for parameter in parameters if parameter.grad is not None and not parameter.grad.is_sparse]


def _pack(job: Job) -> TrainingState:
    own = job.pack()
    tensors = {f"job.{name}": tensor for name, tensor in own.tensors.items()}
    tensors |= {f"model.{name}": tensor for name, tensor in job.model.state_dict().items()}
    for number, optimizer in enumerate(job.optimizers):
        tensors |= pack_optimizer(optimizer, f"optimizer.{number}")
    tensors |= {f"generator.{name}": state for name, state in generator_states().items()}
    return TrainingState(tensors, {"step": job.step, "job": own.data})


def _unpack(job: Job, state: TrainingState) -> None:
    tensors = state.tensors
    job.model.load_state_dict(_section(tensors, "model."))
    for number, optimizer in enumerate(job.optimizers):
        unpack_optimizer(optimizer, f"optimizer.{number}", tensors)
    job.step = state.data["step"]
    job.unpack(TrainingState(_section(tensors, "job."), state.data["job"]))
    set_generator_states(_section(tensors, "generator."))


def _section(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
