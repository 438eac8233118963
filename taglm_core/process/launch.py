"""Starting a training process and following it until it ends."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from taglm_core.config.experiment import Experiment
from taglm_core.errors import ChildFailed, ConfigError, Interrupted, TagLMError
from taglm_core.pipeline.graph import build_graph
from taglm_core.process.child import ChildJob, error_file, load_error
from taglm_core.store.durable import one_locked
from taglm_core.training.journal import JOURNAL, Event, read_events
from taglm_core.training.stopping import StopRequest

POLL_SECONDS = 0.3
STOP_SECONDS = 60.0  # a checkpoint of a large model takes a while to reach the disk
SPARE_SECONDS = 10.0  # torchrun first ends its ranks
LOG = "child.log"


class Children:
    """The training processes that this process has started: they can all be asked to stop, from any thread.

    Steps run in threads of the flow's process, but a cancelled flow hears of it in its main thread only.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._late = math.inf  # of the monotonic clock
        self.stop_request = StopRequest()

    def start_afresh(self) -> None:
        """New processes may start (again)."""
        self.stop_request = StopRequest()

    def stop(self) -> None:
        """Ask every process to write its checkpoint and end; no further one starts."""
        with self._lock:
            self._late = time.monotonic() + STOP_SECONDS + SPARE_SECONDS
            self.stop_request.set("the run has ended")
            for process in self._running:
                process.terminate()

    @property
    def past_deadline(self) -> bool:
        """Whether processes have had all the time there is for ending by themselves."""
        return self.stop_request.requested and time.monotonic() > self._late

    @contextlib.contextmanager
    def start(self, command: list[str], log: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
        """A process that runs as long as the block; when the block ends early it is asked to stop, then made to."""
        with log.open("wb") as output:
            with self._lock:
                self.stop_request.check()
                process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=output, stderr=output, env=environment
                )
                self._running.add(process)
            try:
                with process, _stopped_at_exit(process):
                    yield process
            finally:
                with self._lock:
                    self._running.discard(process)


CHILDREN = Children()


def run_child(job: ChildJob, work: Path, threads: int, on_events: Callable[[list[Event], int], None],
              offset: int = 0) -> None:  # fmt: skip
    """Run a job in a process of its own.

    Args:
        job: what to do.
        work: the step's work folder: the journal lies there, and the log of a process that died.
        threads: threads of one operation; set before the process starts, as libraries read it when loaded.
        on_events: gets new journal events and the offset after them, every moment or so.
        offset: bytes of the journal that were handed on before.

    Raises:
        TagLMError: the error the process met; a stop comes as `Interrupted`.
        ChildFailed: it died without saying why; its last words are in the message.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    ranks = ranks_of(job)
    if ranks > 1:
        environment = {"GLOO_SOCKET_IFNAME": "lo", **environment} if sys.platform == "linux" else environment
    # a folder of its own: two runs of the same key share the work folder, but neither their jobs nor their errors
    with tempfile.TemporaryDirectory(prefix="taglm-") as own:
        job_file, log = Path(own, "job.json"), Path(own, LOG)
        job.save(job_file)
        command = [sys.executable, *torchrun(ranks), "-m", "taglm_core.process.child", str(job_file)]
        with CHILDREN.start(command, log, environment) as process:
            while True:
                ended = process.poll() is not None  # asked before reading, so that nothing is missed
                offset = hand_on(work / JOURNAL, offset, on_events)
                if ended:
                    break
                if CHILDREN.past_deadline:
                    process.kill()
                time.sleep(POLL_SECONDS)
        if process.returncode != 0:
            said = _error_of(job_file, ranks)
            if said is None and CHILDREN.stop_request.requested:  # before it could listen, or it would not
                said = Interrupted("stopped without a word; the next run goes on from its last checkpoint")
            raise said or _death(job.step, log, work, process.returncode)


def ranks_of(job: ChildJob) -> int:
    """How many processes do a job together: more than one only for language models.

    Raises:
        ConfigError: `run.ranks` does not share the streams out equally.
    """
    experiment = Experiment.model_validate(job.settings)
    step = build_graph(experiment)[job.step] if job.step.startswith("language-model/") else None
    if step is None:
        return 1
    streams, wanted = int(step.config["streams"]), experiment.run.ranks
    if wanted is None:
        devices = 1 if experiment.run.device == "cpu" else _cuda_devices()
        return max(count for count in range(1, max(1, devices) + 1) if streams % count == 0)
    if streams % wanted:
        raise ConfigError(
            f"run.ranks is {wanted}, and {job.step} has {streams} streams, which cannot be shared out equally; set "
            "run.ranks to a divisor of streams, or change streams (which makes another model)"
        )
    return wanted


def torchrun(ranks: int) -> list[str]:
    """What starts so many ranks on this machine, before the module and its arguments."""
    if ranks == 1:
        return []
    return ["-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", str(ranks),
            "--shutdown-timeout", str(int(STOP_SECONDS))]  # fmt: skip


def _cuda_devices() -> int:
    """Devices that torch sees, asked in a process of its own; not asked where no driver is."""
    if not any(any(Path("/dev").glob(pattern)) for pattern in ("nvidia[0-9]*", "kfd", "dxg")):
        return 0
    command = [sys.executable, "-c", "import torch; print(torch.cuda.device_count())"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return int(answer.stdout) if answer.returncode == 0 else 0


def _error_of(job_file: Path, ranks: int) -> TagLMError | None:
    """What the first rank met; what another one met where the first one said nothing."""
    found = (load_error(error_file(job_file, rank)) for rank in range(ranks))
    return next((error for error in found if error is not None), None)


def place_of(locks: Path, number: int) -> Path:
    """The lock file of one of the places for training processes."""
    return locks / f"slot-{number}.lock"


@contextlib.contextmanager
def slot(locks: Path, count: int) -> Iterator[None]:
    """Hold one of `count` places for training processes; waits for a free one.

    The places are file locks, so they also hold between pipelines that run at the same time, and a place is free
    again the moment its holder dies.

    Args:
        locks: folder of the store's locks.
        count: training processes side by side on this machine.
    """
    with one_locked([place_of(locks, number) for number in range(count)], lambda: CHILDREN.stop_request.check()):
        yield


def hand_on(journal: Path, offset: int, on_events: Callable[[list[Event], int], None]) -> int:
    """Give the new events of a journal to whoever watches.

    Args:
        journal: its file.
        offset: bytes that were handed on before.
        on_events: gets the events and the offset after them.

    Returns:
        The offset after them.
    """
    found = list(read_events(journal, offset))
    if not found:
        return offset
    offset = found[-1][1]
    on_events([event for event, _ in found], offset)
    return offset


@contextlib.contextmanager
def _stopped_at_exit(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Whatever ends the following (a cancelled run, Ctrl-C, an error): ask the process to stop, then make it."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _death(step: str, log: Path, work: Path, status: int) -> ChildFailed:
    """The error for a process that said none; its log is kept in the work folder."""
    work.mkdir(parents=True, exist_ok=True)
    kept = shutil.copyfile(log, work / LOG)
    how = f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
    lines = kept.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    said = lines[-1].strip()[:300] if lines else "it said nothing"
    hint = " It may have run out of memory: set run.workers=1." if status == -signal.SIGKILL else ""
    return ChildFailed(
        f"{step}: its process ended with {how} ({said}).{hint} The same command goes on from its last checkpoint; if "
        f"it ends like this again, report it with all that it said: {kept}"
    )
