"""Several processes that train one model together (data parallel): what each owns, and what they tell one another.

Each rank reads its own rows of every batch and computes its own gradients; the mean over ranks is taken before the
optimiser, so all ranks hold the same weights. Dense gradients travel flattened, in few messages; gradients of word
tables row by row. Everything else (losses, requests to stop, recurrent states) travels through the CPU's backend.
Why not torch's wrapper for this: docs/decisions/0007-own-data-parallel-step.md.
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

# Others wait while the first rank evaluates, or waits for a lock. A rank that died is noticed at once, by the closed
# connection and by torchrun; this long a silence only means work.
_PATIENCE = datetime.timedelta(days=7)
_BUCKET = 1 << 24  # elements of one message of dense gradients: 64 MiB of float32


@dataclass(frozen=True, slots=True)
class Word:
    """What the ranks tell one another in each step.

    Attributes:
        loss: mean over ranks; not finite if one rank's is not.
        stop: some rank was asked to stop.
        save: the first rank finds it time for a checkpoint.
        used: for each parameter, whether some rank has a gradient.
        rows: for each rank, how many rows each sparse gradient has.
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
        rank: this one's number, from 0.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this one writes, says and publishes."""
        return self.rank == 0

    @property
    def several(self) -> bool:
        """Whether there are others."""
        return self.size > 1

    def slice_of(self, rows: int) -> slice:
        """This rank's rows of so many.

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

    def joined(self, part: Tensor, dim: int) -> Tensor:
        """Equal parts of all ranks, one after the other along an axis, on the device of this one's part."""
        if not self.several:
            return part
        mine = part.detach().cpu().contiguous()
        parts = [torch.empty_like(mine) for _ in range(self.size)]
        distributed.all_gather(parts, mine)
        return torch.cat(parts, dim).to(part.device)

    def first_says(self, value: bool) -> bool:
        """What the first rank says."""
        if not self.several:
            return value
        said = torch.tensor([int(value)])
        distributed.broadcast(said, 0)
        return bool(said.item())

    def anyone(self, value: bool) -> bool:
        """Whether it is so on some rank."""
        if not self.several:
            return value
        said = torch.tensor([int(value)])
        distributed.all_reduce(said)
        return bool(said.item())

    def wait(self) -> None:
        """Until all ranks are here."""
        self.first_says(self.anyone(False))

    def tell(self, model: nn.Module, loss: float, *, stop: bool, save: bool) -> Word:
        """One small message: how the step went here, against how it went on all ranks."""
        parameters, tables = _trained(model), _sparse_tables(model)
        used = [parameter.grad is not None for parameter in parameters]
        if not self.several:
            return Word(loss, stop, save, used, [[]])
        rows = [0.0] * (self.size * len(tables))
        for number, table in enumerate(tables):
            if table.grad is not None:
                table.grad = table.grad.coalesce()
                rows[self.rank * len(tables) + number] = float(table.grad._nnz())
        said = torch.tensor([loss, stop, save and self.first, *used, *rows], dtype=torch.float64)
        distributed.all_reduce(said)
        total, stops, saves, *rest = said.tolist()
        counts = [int(count) for count in rest[len(used) :]]
        return Word(
            total / self.size,
            stops > 0,
            saves > 0,
            [count > 0 for count in rest[: len(used)]],
            [counts[number * len(tables) : (number + 1) * len(tables)] for number in range(self.size)],
        )

    def average_gradients(self, model: nn.Module, word: Word) -> None:
        """Put the mean over ranks in the place of each gradient.

        A parameter that no rank used (a softmax cluster without targets) keeps none, as with one rank; where only
        others used it, this rank counts as zeros.
        """
        if not self.several:
            return
        tables = _sparse_tables(model)
        sparse = {id(table) for table in tables}
        used = [parameter for parameter, some in zip(_trained(model), word.used, strict=True) if some]
        for bucket in _buckets([parameter for parameter in used if id(parameter) not in sparse]):
            self._average_dense(bucket)
        for table, *counts in zip(tables, *word.rows, strict=True):
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
        """Gather the rows of all ranks (filled up to equal numbers) and add up those of the same word."""
        most, mine = max(counts), counts[self.rank]
        words = torch.zeros(most, dtype=torch.int64, device=table.device)
        values = torch.zeros(most, *table.shape[1:], dtype=table.dtype, device=table.device)
        if table.grad is not None:
            words[:mine], values[:mine] = table.grad._indices()[0], table.grad._values()
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
    """The ranks that torchrun started this process among, connected; alone where it did not."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, timeout=_PATIENCE)
    try:
        yield Ranks(distributed.get_rank(), size)
    finally:
        distributed.destroy_process_group()


def _trained(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _sparse_tables(model: nn.Module) -> list[nn.Parameter]:
    """Tables with row-wise gradients, known without looking at a gradient: on some rank there may be none."""
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
