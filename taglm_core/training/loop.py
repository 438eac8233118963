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


class TrainingTask(Protocol):
    """What differs between trainings: the step, the score, the schedule.

    Attributes:
        model: the network to train.
        optimizers: its optimisers; the task sets their learning rates.
        clip: largest norm of the dense gradients.
        loss_scale: factor of the loss before its gradient is taken.
        accumulate: number of batches whose gradients are averaged in one step.
        step: number of optimiser steps so far; the loop counts it up.
    """

    model: nn.Module
    optimizers: Sequence[torch.optim.Optimizer]
    clip: float
    loss_scale: float
    accumulate: int
    step: int

    def finished(self) -> bool:
        """Return whether the budget is spent."""

    def loss(self) -> Tensor:
        """Return the loss of the next batch, with its graph."""

    def where(self) -> str:
        """Return the position in the data, for error messages."""

    def after_step(self, loss: float, journal: Journal) -> None:
        """Log, evaluate, move the schedule on."""

    def pack(self) -> TrainingState:
        """Return the state of the task; the loop adds weights, optimisers and generators."""

    def unpack(self, state: TrainingState) -> None:
        """Restore what `pack` returned."""


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """Settings that change no number.

    Attributes:
        checkpoint_seconds: time between checkpoints.
        checkpoint_steps: number of steps between further checkpoints; None for no further ones.
    """

    checkpoint_seconds: float
    checkpoint_steps: int | None = None


def train(
    task: TrainingTask,
    *,
    checkpoints: Checkpoints,
    journal: Journal,
    stop: StopRequest,
    settings: LoopSettings,
    ranks: Ranks = ALONE,
) -> None:
    """Train until the task is finished, from the newest checkpoint if there is one.

    Several ranks call this together and take every step together; the main rank writes the checkpoints.

    Raises:
        NonFiniteLoss: the loss is inf or nan; the last checkpoint before that is kept.
        Interrupted: a stop was requested; a checkpoint was written.
    """
    saved = checkpoints.latest()
    if saved is not None:
        _unpack(task, saved, ranks)
        journal.message(task.step, f"resumed from the checkpoint at step {task.step:,}{_changed(saved, ranks)}")
    due = time.monotonic() + settings.checkpoint_seconds
    stopping = ranks.any(stop.requested)
    while not task.finished():
        if stopping:
            _save(task, checkpoints, ranks)
            ranks.barrier()  # when a rank ends, torchrun ends the others: let the main rank finish its checkpoint
            reason = stop.reason or "another process of this task was asked to"
            raise Interrupted(f"stopped at step {task.step:,} ({reason}); checkpoint written, run again to go on")
        loss, stopping, save = _take_step(task, ranks, stop, due)
        task.step += 1
        task.after_step(loss, journal)
        counted = settings.checkpoint_steps is not None and task.step % settings.checkpoint_steps == 0
        if counted or save:
            _save(task, checkpoints, ranks)
            due = time.monotonic() + settings.checkpoint_seconds


def take_step(task: TrainingTask) -> float:
    """Take one optimiser step on the next batch or batches, and return their mean loss.

    Raises:
        NonFiniteLoss: a loss, or the norm of the gradients, is inf or nan; no weight was changed.
    """
    return _take_step(task, ALONE, StopRequest(), math.inf)[0]


def _take_step(task: TrainingTask, ranks: Ranks, stop: StopRequest, due: float) -> tuple[float, bool, bool]:
    """Take one step; return the mean loss of all ranks, whether to stop, and whether to write a checkpoint."""
    task.model.train()
    for optimizer in task.optimizers:
        optimizer.zero_grad(set_to_none=True)
    factor, losses = task.loss_scale / task.accumulate, []
    for _ in range(task.accumulate):
        loss = task.loss()
        losses.append(loss.detach())
        (loss if factor == 1.0 else loss * factor).backward()
    # read once a step and after all of it, so that an accelerator never waits for Python
    total = sum(value / task.accumulate for value in torch.stack(losses).tolist())
    status = ranks.all_reduce_status(task.model, total, stop=stop.requested, save=time.monotonic() >= due)
    _require_finite(status.loss, "loss", task)
    ranks.average_gradients(task.model, status)
    norm = nn.utils.clip_grad_norm_(_dense(task.model.parameters()), task.clip)
    _require_finite(float(norm), "norm of the gradients", task)
    for optimizer in task.optimizers:
        optimizer.step()
    return status.loss, status.stop, status.save


def _require_finite(value: float, what: str, task: TrainingTask) -> None:
    if not math.isfinite(value):
        raise NonFiniteLoss(
            f"{what} is {value} at step {task.step + 1:,} ({task.where()}); the last checkpoint is kept; "
            "lower learning_rate or clip"
        )


def _dense(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    """Return the parameters with a dense gradient: sparse gradients cannot be clipped."""
    return [parameter for parameter in parameters if parameter.grad is not None and not parameter.grad.is_sparse]


def _save(task: TrainingTask, checkpoints: Checkpoints, ranks: Ranks) -> None:
    state = _pack(task, ranks)
    if ranks.is_main:
        checkpoints.save(task.step, state)


def _pack(task: TrainingTask, ranks: Ranks = ALONE) -> TrainingState:
    own = task.pack()
    # "job": name of the task's part in checkpoints
    tensors = {f"job.{name}": tensor for name, tensor in own.tensors.items()}
    tensors |= {f"model.{name}": tensor for name, tensor in task.model.state_dict().items()}
    for number, optimizer in enumerate(task.optimizers):
        tensors |= pack_optimizer(optimizer, f"optimizer.{number}")
    # [ranks, bytes]: each rank has its own generator for dropout
    tensors |= {f"generator.{name}": ranks.all_gather(state[None], 0) for name, state in generator_states().items()}
    return TrainingState(tensors, {"step": task.step, "job": own.data})


def _unpack(task: TrainingTask, state: TrainingState, ranks: Ranks = ALONE) -> None:
    tensors = state.tensors
    task.model.load_state_dict(_section(tensors, "model."))
    for number, optimizer in enumerate(task.optimizers):
        unpack_optimizer(optimizer, f"optimizer.{number}", tensors)
    task.step = state.data["step"]
    task.unpack(TrainingState(_section(tensors, "job."), state.data["job"]))
    if ranks.rank < _ranks_of(state):  # an additional rank keeps the generator that it was seeded with
        generators = _section(tensors, "generator.").items()
        set_generator_states({name: torch.atleast_2d(states)[ranks.rank].clone() for name, states in generators})


def _ranks_of(state: TrainingState) -> int:
    return len(torch.atleast_2d(state.tensors["generator.cpu"]))


def _changed(state: TrainingState, ranks: Ranks) -> str:
    """Return a note on a checkpoint that was written by another number of ranks; otherwise an empty string."""
    before = _ranks_of(state)
    if before == ranks.size:
        return ""
    return (
        f", with {ranks.size} ranks instead of {before}: dropout draws other numbers, so the bits differ from those of "
        "a run that kept its ranks"
    )


def _section(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
