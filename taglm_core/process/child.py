"""Child process that builds language models, embeddings, taggers and evaluations.

    python -m taglm_core.process.child REQUEST.json    build one object
    python -m taglm_core.process.child                 build the requests whose paths come on standard input
    python -m torch.distributed.run ... -m taglm_core.process.child REQUEST.json    several ranks of one training

The process imports neither Prefect nor MLflow. It reports progress in the journal and publishes its object itself. On
SIGTERM, SIGINT or the end of its parent it writes a checkpoint and ends. Exit status: 0 for a built object, 3 for an
error of the user (in `error.json` beside the request), 75 for a stop on request with a checkpoint.
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
ORPHAN_SECONDS = 300.0  # a rank may wait forever when its torchrun was killed
ERROR_FILE, STATUS_FILE = "error.json", "status.json"


def save_error(path: Path, error: TagLMError) -> None:
    """Write an error for the parent process."""
    arguments = list(error.args) if not isinstance(error, InputError) else list(error.arguments)
    write_json(path, {"type": type(error).__name__, "arguments": arguments})


def load_error(path: Path) -> TagLMError | None:
    """Return the error that `save_error` wrote; None if there is none."""
    data = read_json(path)
    if data is None:
        return None
    error: TagLMError = getattr(errors, data["type"])(*data["arguments"])
    return error


def error_file(request: Path, rank: int) -> Path:
    """Return the error file of a rank; the one of the main rank wins."""
    return request.with_name(ERROR_FILE if rank == 0 else f"error-{rank}.json")


def run(path: Path, stop: StopRequest, ranks: Ranks | None = None) -> int:
    """Build a request and return the exit status; write errors that a user can act on to `error.json`."""
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
    """Build the requests on standard input until it closes; write the status of each beside its request."""
    for line in sys.stdin:
        path = Path(line.rstrip("\n"))
        status = run(path, stop)
        write_json(path.with_name(STATUS_FILE), status)
        if stop.requested:
            break
    return 0


def main() -> int:
    """Build one request, or those on standard input."""
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
    """Return an error of the system or of torch as one that a user can act on; None for a bug."""
    if isinstance(error, OSError | MemoryError):
        return system_error(error)
    if type(error).__name__ != "OutOfMemoryError":  # of torch, which not every step imports
        return None
    reason = str(error).partition(". ")[0]
    return OutOfResources(
        f"the GPU's memory is full ({reason}); lower run.device_share or run.workers, or "
        "the batch (streams, batch_size, batch_sentences); the next run goes on from the last checkpoint"
    )


if __name__ == "__main__":
    status = main()
    if "RANK" in os.environ:
        # All results are on the disk. Threads of torch.distributed sometimes abort an interpreter that shuts down.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)
