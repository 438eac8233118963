"""Checkpoints: one safetensors file and one JSON file in a folder that appears by one rename."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from taglm_core.store.digests import file_sha256
from taglm_core.store.durable import read_json, sync_folder, sync_tree


@dataclass(frozen=True, slots=True)
class TrainingState:
    """Everything that training needs to go on as if it had never stopped.

    Attributes:
        tensors: weights, optimiser moments, recurrent state, generators (as bytes), by name.
        data: counters and positions (JSON values).
    """

    tensors: dict[str, Tensor]
    data: dict[str, Any]


class Checkpoints:
    """The last few checkpoints of one training run.

    Args:
        folder: folder of the checkpoints, which are named `step-000000123/`.
        keep: number of checkpoints to keep.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self._folder, self._keep = folder, keep

    def save(self, step: int, state: TrainingState) -> Path:
        """Write a checkpoint; when this returns it is on the disk. Older ones beyond `keep` are removed after that."""
        target = self._folder / f"step-{step:09d}"
        temporary = self._folder / f".writing-{step:09d}"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.tensors.items()}
        save_file(tensors, temporary / "state.safetensors")
        data = {"step": step, "sha256": file_sha256(temporary / "state.safetensors"), "data": state.data}
        (temporary / "state.json").write_text(json.dumps(data), encoding="utf-8")
        sync_tree(temporary)
        shutil.rmtree(target, ignore_errors=True)
        temporary.rename(target)
        sync_folder(self._folder)
        for old in self._all()[: -self._keep]:
            shutil.rmtree(old)
        return target

    def latest(self) -> TrainingState | None:
        """Return the newest whole checkpoint, or None; damaged ones are skipped."""
        for folder in reversed(self._all()):
            saved = read_json(folder / "state.json")
            tensors = folder / "state.safetensors"
            if saved is not None and tensors.is_file() and file_sha256(tensors) == saved["sha256"]:
                return TrainingState(load_file(tensors), saved["data"])
        return None

    def _all(self) -> list[Path]:
        return sorted(self._folder.glob("step-*"))


def pack_optimizer(optimizer: torch.optim.Optimizer, prefix: str) -> dict[str, Tensor]:
    """Return the moments and step counts of an optimiser, flat, by name."""
    return {
        f"{prefix}.{index}.{name}": value if isinstance(value, Tensor) else torch.tensor(value)
        for index, moments in optimizer.state_dict()["state"].items()
        for name, value in moments.items()
    }


def unpack_optimizer(optimizer: torch.optim.Optimizer, prefix: str, tensors: dict[str, Tensor]) -> None:
    """Restore what `pack_optimizer` returned; learning rates stay, because the schedule sets them."""
    state: dict[int, dict[str, Any]] = {}
    for name, value in tensors.items():
        if name.startswith(f"{prefix}."):
            index, moment = name.removeprefix(f"{prefix}.").split(".", 1)
            # SparseAdam keeps its step as a plain int and refuses a tensor
            plain = isinstance(optimizer, torch.optim.SparseAdam) and moment == "step"
            state.setdefault(int(index), {})[moment] = int(value) if plain else value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
