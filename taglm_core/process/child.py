"""The process that computes: language models, embeddings, taggers, evaluations.

    python -m taglm_core.process.child REQUEST.json         build one object
    python -m taglm_core.process.child              build one after the other, as their paths come on standard input
    python -m torch.distributed.run ... -m taglm_core.process.child REQUEST.json    several ranks of one training

It imports neither Prefect nor MLflow, reports its progress in the journal, writes a checkpoint and ends on SIGTERM,
SIGINT or when the process that started it is gone, and publishes its object itself. Exit status: 0 object made,
3 an error for the user (in `error.json` beside the request), 75 stopped on request with a checkpoint.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from taglm_core import errors
from taglm_core.errors import InputError, Interrupted, OutOfResources, TagLMError
from taglm_core.pipeline.build import BuildRequest, build
from taglm_core.store.durable import read_json, write_json
from taglm_core.store.store import Store
from taglm_core.store.system_errors import system_error
from taglm_core.training.stopping import StopRequest

if TYPE_CHECKING:
    from taglm_core.training.ranks import Ranks

USER_ERROR, STOPPED = 3, 75
ORPHAN_SECONDS = 300.0  # a rank whose torchrun was killed may wait for something that never comes
ERROR_FILE, STATUS_FILE = "error.json", "status.json"


def save_error(path: Path, error: TagLMError) -> None:
    """Keep an error for the process that started this one."""
    arguments = list(error.args) if not isinstance(error, InputError) else list(error.__reduce__()[1])
    write_json(path, {"type": type(error).__name__, "arguments": arguments})


def load_error(path: Path) -> TagLMError | None:
    """Read what `save_error` wrote; None where there is none."""
    data = read_json(path)
    if data is None:
        return None
    error: TagLMError = getattr(errors, data["type"])(*data["arguments"])
    return error


def error_file(request: Path, rank: int) -> Path:
    """Return where a rank writes its error: each in a file of its own, the first one's counts."""
    return request.with_name(ERROR_FILE if rank == 0 else f"error-{rank}.json")


def run(path: Path, stop: StopRequest, ranks: Ranks | None = None) -> int:
    """Build what a request asks for; return the exit status. An error that a user can act on is in `error.json`."""
    try:
        request = BuildRequest.load(path)
        build(Store(request.run.store), request, stop=stop, ranks=ranks)
    except TagLMError as error:
        save_error(error_file(path, ranks.rank if ranks else 0), error)
        return STOPPED if isinstance(error, Interrupted) else USER_ERROR
    except (OSError, MemoryError, RuntimeError) as error:
        if (known := _known(error)) is None:
            raise
        save_error(error_file(path, ranks.rank if ranks else 0), known)
        return USER_ERROR
    return 0


def run_all(stop: StopRequest) -> int:
    """Build one object after the other; the status of each lies beside its request. Ends with standard input."""
    for line in sys.stdin:
        path = Path(line.rstrip("\n"))
        status = run(path, stop)
        write_json(path.with_name(STATUS_FILE), status)
        if stop.requested:
            break
    return 0


def main() -> int:
    """Entry point."""
    stop = StopRequest()
    stop.listen()
    if len(sys.argv) == 1:
        stop.die_with_parent()
        return run_all(stop)
    path, is_rank = Path(sys.argv[1]), "RANK" in os.environ
    stop.follow_parent(ORPHAN_SECONDS if is_rank else None)
    if not is_rank:
        return run(path, stop)
    from taglm_core.training.ranks import joined_ranks

    with joined_ranks() as ranks:
        return run(path, stop, ranks)


def _known(error: Exception) -> TagLMError | None:
    """Return an error of the system or of torch as one that a user can act on; None for a fault of the program."""
    if isinstance(error, OSError | MemoryError):
        return system_error(error)
    if type(error).__name__ != "OutOfMemoryError":  # torch's, which not every step imports
        return None
    said = str(error).partition(". ")[0]
    return OutOfResources(
        f"the GPU's memory is full ({said}); lower run.device_share or run.workers, so that less is done at once, or "
        "the batch (streams, batch_size, batch_sentences); the next run goes on from the last checkpoint"
    )


if __name__ == "__main__":
    status = main()
    if "RANK" in os.environ:
        # Everything is on the disk; threads of torch.distributed sometimes abort an interpreter that tidies up.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)
