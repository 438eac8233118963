"""The training process: one entry point for language models, embeddings, taggers and evaluation.

    python -m taglm_core.process.child JOB.json
    python -m torch.distributed.run ... -m taglm_core.process.child JOB.json    several ranks of one training

It imports neither Prefect nor MLflow, says how far it is in the journal, writes a checkpoint and ends on SIGTERM,
SIGINT or when the process that started it is gone, and publishes its object itself. Exit status: 0 object made,
3 an error for the user (in `error.json` beside the job), 75 stopped on request with a checkpoint.
"""

from __future__ import annotations

import os
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taglm_core import errors
from taglm_core.config.experiment import Experiment
from taglm_core.errors import InputError, Interrupted, OutOfResources, TagLMError
from taglm_core.pipeline.build import build
from taglm_core.pipeline.graph import build_graph
from taglm_core.pipeline.steps import Step
from taglm_core.store.durable import read_json, write_json
from taglm_core.store.records import Ref
from taglm_core.store.store import Store
from taglm_core.store.system_errors import system_error
from taglm_core.training.stopping import StopRequest

if TYPE_CHECKING:
    from taglm_core.training.ranks import Ranks

USER_ERROR, STOPPED = 3, 75
ORPHAN_SECONDS = 300.0  # a rank whose torchrun was killed may wait for something that never comes
ERROR_FILE = "error.json"


@dataclass(frozen=True, slots=True)
class ChildJob:
    """What a training process is told.

    Attributes:
        settings: the whole experiment.
        step: the step to build.
        inputs: objects it reads, by role.
        refresh: build even if the object is there.
        made: further facts for the manifest.
        beside: the step itself, where the experiment's graph has none of this name.
    """

    settings: dict[str, Any]
    step: str
    inputs: dict[str, Ref]
    refresh: bool = False
    made: dict[str, Any] = field(default_factory=dict)
    beside: Step | None = None

    def save(self, path: Path) -> None:
        """Write as JSON."""
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> ChildJob:
        """Inverse of `save`."""
        data = read_json(path)
        if data is None:
            raise errors.ConfigError(f"{path}: no job of a training process; it is written by the stage that starts it")
        inputs = {role: Ref(**ref) for role, ref in data["inputs"].items()}
        beside = data["beside"] and Step(**data["beside"])
        return cls(**{**data, "inputs": inputs, "beside": beside})


def run(path: Path, stop: StopRequest, ranks: Ranks | None = None) -> Ref:
    """Do what a job file says, alone or as one of several ranks."""
    job = ChildJob.load(path)
    experiment = Experiment.model_validate(job.settings)
    step = job.beside or build_graph(experiment)[job.step]
    return build(
        Store(experiment.run.store),
        step,
        job.inputs,
        run=experiment.run,
        label=f"{experiment.name}/{step.name}",
        refresh=job.refresh,
        made=job.made,
        stop=stop,
        ranks=ranks,
    )


def save_error(path: Path, error: TagLMError) -> None:
    """Keep an error for the process that started this one."""
    arguments = list(error.args) if not isinstance(error, InputError) else list(error.__reduce__()[1])
    write_json(path, {"type": type(error).__name__, "arguments": arguments})


def load_error(path: Path) -> TagLMError | None:
    """Inverse of `save_error`; None where there is none."""
    data = read_json(path)
    if data is None:
        return None
    error: TagLMError = getattr(errors, data["type"])(*data["arguments"])
    return error


def main() -> int:
    """Entry point."""
    path, rank = Path(sys.argv[1]), int(os.environ.get("RANK", "0"))
    stop = StopRequest()
    stop.listen()
    stop.follow_parent(ORPHAN_SECONDS if "RANK" in os.environ else None)
    try:
        if "RANK" in os.environ:
            from taglm_core.training.ranks import joined_ranks

            with joined_ranks() as ranks:
                run(path, stop, ranks)
        else:
            run(path, stop)
    except TagLMError as error:
        save_error(error_file(path, rank), error)
        return STOPPED if isinstance(error, Interrupted) else USER_ERROR
    except (OSError, MemoryError) as error:
        if (known := system_error(error)) is None:
            raise
        save_error(error_file(path, rank), known)
        return USER_ERROR
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's, which not every step imports
            raise
        said = str(error).partition(". ")[0]
        save_error(error_file(path, rank), OutOfResources(
            f"the GPU's memory is full ({said}); lower run.device_share or run.workers, so that less is done at once, "
            "or the batch (streams, batch_size, batch_sentences); the next run goes on from the last checkpoint"
        ))  # fmt: skip
        return USER_ERROR
    return 0


def error_file(job: Path, rank: int) -> Path:
    """Where a rank says what it met: each in a file of its own, the first one's counts."""
    return job.with_name(ERROR_FILE if rank == 0 else f"error-{rank}.json")


if __name__ == "__main__":
    status = main()
    if "RANK" in os.environ:
        # Everything is on the disk; threads of torch.distributed sometimes abort an interpreter that tidies up.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)
