"""Data-parallel training: the processes that train one model together, and the messages between them.

Each rank reads its own rows of every batch and computes its own gradients. The ranks average the gradients before the
optimiser step, so all of them hold the same weights. Dense gradients travel flattened in few messages, gradients of
word tables row by row; everything else (losses, requests to stop, recurrent states) uses the CPU's backend.
docs/decisions/0007-own-data-parallel-step.md explains why torch's wrapper is not used.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn

from taglm_core.errors import ConfigError

# The other ranks wait while the main rank evaluates or waits for a lock, so a long silence only means work. The closed
# connection and torchrun report a dead rank at once.
_TIMEOUT = datetime.timedelta(days=7)
_BUCKET = 1 << 24  # elements in one message of dense gradients: 64 MiB of float32


@dataclass(frozen=True, slots=True)
class StepStatus:
    """State of one optimiser step over all ranks.

    Attributes:
        loss: mean over ranks; not finite if the loss of any rank is not.
        stop: whether any rank was asked to stop.
        save: whether the main rank wants a checkpoint.
        used: for each parameter, whether any rank has a gradient.
        rows: for each rank, the number of rows of each sparse gradient.
    """

    loss: float
    stop: bool
    save: bool
    used: list[bool]
    rows: list[list[int]]


@dataclass(frozen=True, slots=True)
class Ranks:
    """The processes of one training, seen from one of them.

    Attributes:
        rank: number of this process, from 0.
        size: number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this rank writes checkpoints, logs and publishes."""
        return self.rank == 0

    @property
    def several(self) -> bool:
        """Whether there are other ranks."""
        return self.size > 1

    def slice_of(self, rows: int) -> slice:
        """Return the share of this rank in `rows` rows.

        Raises:
            ConfigError: the ranks cannot have equal shares.
        """
        if rows % self.size:
            raise ConfigError(
                f"{rows} streams cannot be shared out equally among {self.size} ranks; set run.ranks to a divisor of "
                "streams, or change streams (which makes another model)"
            )
        share = rows // self.size
        return slice(self.rank * share, (self.rank + 1) * share)

    def all_gather(self, part: Tensor, dim: int) -> Tensor:
        """Concatenate the equally large parts of all ranks along an axis, on the device of this rank's part."""
        if not self.several:
            return part
        own = part.detach().cpu().contiguous()
        parts = [torch.empty_like(own) for _ in range(self.size)]
        distributed.all_gather(parts, own)
        return torch.cat(parts, dim).to(part.device)

    def broadcast(self, value: bool) -> bool:
        """Return the value of the main rank."""
        if not self.several:
            return value
        message = torch.tensor([int(value)])
        distributed.broadcast(message, 0)
        return bool(message.item())

    def any(self, value: bool) -> bool:
        """Return whether the value is true on any rank."""
        if not self.several:
            return value
        message = torch.tensor([int(value)])
        distributed.all_reduce(message)
        return bool(message.item())

    def barrier(self) -> None:
        """Wait until all ranks are here."""
        self.broadcast(self.any(False))

    def all_reduce_status(self, model: nn.Module, loss: float, *, stop: bool, save: bool) -> StepStatus:
        """Combine the step of this rank with those of all others, in one small message."""
        parameters, tables = _trained(model), _sparse_tables(model)
        used = [parameter.grad is not None for parameter in parameters]
        if not self.several:
            return StepStatus(loss, stop, save, used, [[]])
        rows = [0.0] * (self.size * len(tables))
        for number, table in enumerate(tables):
            if table.grad is not None:
                table.grad = table.grad.coalesce()
                rows[self.rank * len(tables) + number] = float(table.grad._nnz())
        message = torch.tensor([loss, stop, save and self.is_main, *used, *rows], dtype=torch.float64)
        distributed.all_reduce(message)
        total, stops, saves, *rest = message.tolist()
        counts = [int(count) for count in rest[len(used) :]]
        return StepStatus(
            total / self.size,
            stops > 0,
            saves > 0,
            [count > 0 for count in rest[: len(used)]],
            [counts[number * len(tables) : (number + 1) * len(tables)] for number in range(self.size)],
        )

    def average_gradients(self, model: nn.Module, status: StepStatus) -> None:
        """Replace each gradient by its mean over the ranks.

        A parameter that no rank used (a softmax cluster without targets) keeps no gradient, as with one rank. Where
        only other ranks used a parameter, this rank counts as zeros.
        """
        if not self.several:
            return
        tables = _sparse_tables(model)
        sparse = {id(table) for table in tables}
        used = [parameter for parameter, some in zip(_trained(model), status.used, strict=True) if some]
        for bucket in _buckets([parameter for parameter in used if id(parameter) not in sparse]):
            self._average_dense(bucket)
        for table, *counts in zip(tables, *status.rows, strict=True):
            if any(counts):
                self._average_rows(table, counts)

    def _average_dense(self, parameters: Sequence[nn.Parameter]) -> None:
        flat = torch.cat(
            [torch.zeros_like(p).view(-1) if p.grad is None else p.grad.reshape(-1) for p in parameters]
        )  # [sum of sizes]
        distributed.all_reduce(flat)
        flat /= self.size
        for parameter, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            parameter.grad = part.view_as(parameter)

    def _average_rows(self, table: nn.Parameter, counts: Sequence[int]) -> None:
        """Gather the rows of all ranks, padded to equal numbers, and add up those of the same word."""
        most, own = max(counts), counts[self.rank]
        words = torch.zeros(most, dtype=torch.int64, device=table.device)
        values = torch.zeros(most, *table.shape[1:], dtype=table.dtype, device=table.device)
        if table.grad is not None:
            words[:own], values[:own] = table.grad._indices()[0], table.grad._values()
        all_words = [torch.empty_like(words) for _ in counts]
        all_values = [torch.empty_like(values) for _ in counts]
        distributed.all_gather(all_words, words)
        distributed.all_gather(all_values, values)
        index = torch.cat([part[:count] for part, count in zip(all_words, counts, strict=True)])
        rows = torch.cat([part[:count] for part, count in zip(all_values, counts, strict=True)]) / self.size
        table.grad = torch.sparse_coo_tensor(index[None], rows, table.shape).coalesce()


ALONE = Ranks()


@contextlib.contextmanager
def joined_ranks() -> Iterator[Ranks]:
    """Connect the ranks that torchrun started; yield `ALONE` in a process that torchrun did not start."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, timeout=_TIMEOUT)
    try:
        yield Ranks(distributed.get_rank(), size)
    finally:
        distributed.destroy_process_group()


def _trained(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _sparse_tables(model: nn.Module) -> list[nn.Parameter]:
    """Return the tables with row-wise gradients, without looking at gradients: a rank may have none."""
    tables = {id(part.weight) for part in model.modules() if isinstance(part, nn.Embedding) and part.sparse}
    return [parameter for parameter in _trained(model) if id(parameter) in tables]


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    bucket: list[nn.Parameter] = []
    size = 0
    for parameter in parameters:
        if bucket and (size + parameter.numel() > _BUCKET or parameter.dtype != bucket[0].dtype):
            yield bucket
            bucket, size = [], 0
        bucket.append(parameter)
        size += parameter.numel()
    if bucket:
        yield bucket
