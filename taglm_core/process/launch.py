"""Making one object: in this process, or in one that is started for it and followed until it ends."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from taglm_core.errors import ChildFailed, ConfigError, Interrupted, TagLMError
from taglm_core.pipeline.build import BuildRequest, build
from taglm_core.process.child import STATUS_FILE, error_file, load_error
from taglm_core.process.children import CHILDREN, STOP_SECONDS
from taglm_core.process.slots import slot
from taglm_core.store.durable import read_json
from taglm_core.store.records import Ref
from taglm_core.store.resources import cores
from taglm_core.store.store import Store
from taglm_core.training.journal import JOURNAL, Event, read_events

POLL_SECONDS = 0.1
LOG = "child.log"

OnEvents = Callable[[list[Event], int], None]
"""Gets new events of a builder's journal, and the offset (bytes) after them."""


def make(store: Store, request: BuildRequest, on_events: OnEvents, offset: int | None = None) -> Ref:
    """Make an object, where its kind asks for it in a process of its own; nothing happens if it is there already.

    Args:
        store: where it goes.
        request: what to make.
        on_events: gets new events of the builder, every moment or so.
        offset: bytes of the journal that were handed on before; None for all that it has now.

    Raises:
        TagLMError: the error the builder met; a stop comes as `Interrupted`.
        ChildFailed: its process died without saying why; its last words are in the message.
    """
    work = store.work(request.recipe)
    journal = work / JOURNAL
    if offset is None:
        offset = journal.stat().st_size if journal.exists() else 0
    if not request.step.made_as.child:
        try:
            return build(store, request, stop=CHILDREN.stop_request)
        finally:
            hand_on(journal, offset, on_events)
    with slot(store.root / "locks", request.run.workers or cores()):
        if request.step.made_as.shares_child:
            SHARED.run(request, work, on_events, offset)
        else:
            ranks = ranks_of(request)
            # a folder of its own: two runs of a key share the work folder, but neither requests nor errors
            with tempfile.TemporaryDirectory(prefix="taglm-") as own:
                path, log = Path(own, "request.json"), Path(own, LOG)
                request.save(path)
                process = CHILDREN.start(_command(ranks, str(path)), log, _environment(request, ranks))
                with CHILDREN.ended(process):
                    _follow(process, lambda: process.poll() is not None, journal, on_events, offset)
                if process.returncode != 0:
                    raise _error(request, path, log, work, process.returncode, ranks)
    ref = store.find(request.recipe)
    if ref is None:
        raise ChildFailed(f"{request.step.name}: its process ended well, but its object is not in the store; run again")
    return ref


class SharedChild:
    """A process that builds objects of kinds with `shares_child`, one after the other, for as long as some come.

    It saves the seconds in which a process imports torch. Only one thread uses a process at a time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[_Waiting] = []

    def run(self, request: BuildRequest, work: Path, on_events: OnEvents, offset: int = 0) -> None:
        """Build in a process that waits for more, or in a new one. Errors as those of `make`.

        Args:
            request: what to build.
            work: the step's work folder: the journal lies there, and the log of a process that died.
            on_events: gets new events.
            offset: bytes of the journal that were handed on before.
        """
        waiting = self._take(request)
        with tempfile.TemporaryDirectory(prefix="taglm-") as own:
            path = Path(own, "request.json")
            request.save(path)
            process, done = waiting.process, Path(own, STATUS_FILE)
            try:
                waiting.begin(path)
                _follow(process, lambda: done.exists() or process.poll() is not None, work / JOURNAL, on_events, offset)
            except BaseException:
                waiting.end()
                raise
            status = read_json(done)
            if status is None:  # it died
                waiting.end(keep_log=True)
                error = _error(request, path, waiting.log, work, process.returncode, 1)
                waiting.forget()
                raise error
            self._give_back(waiting)
            if status != 0:
                raise _error(request, path, waiting.log, work, status, 1)

    def close(self) -> None:
        """End the processes that wait."""
        with self._lock:
            idle, self._idle = self._idle, []
        for waiting in idle:
            waiting.end()

    def _take(self, request: BuildRequest) -> _Waiting:
        with self._lock:
            dead = [waiting for waiting in self._idle if waiting.process.poll() is not None]
            self._idle = [waiting for waiting in self._idle if waiting not in dead]
            found = next((waiting for waiting in self._idle if waiting.threads == request.run.threads), None)
            if found is not None:
                self._idle.remove(found)
        for waiting in dead:
            waiting.end()
        return found or _Waiting(request)

    def _give_back(self, waiting: _Waiting) -> None:
        with self._lock:
            if not CHILDREN.stop_request.requested:
                self._idle.append(waiting)
                return
        waiting.end()


class _Waiting:
    """A process that builds what it is given."""

    def __init__(self, request: BuildRequest) -> None:
        self.threads = request.run.threads
        self._folder = tempfile.mkdtemp(prefix="taglm-")
        self.log = Path(self._folder, LOG)
        try:
            self.process = CHILDREN.start(_command(1), self.log, _environment(request, 1))
        except BaseException:
            self.forget()
            raise

    def begin(self, request: Path) -> None:
        """Give it a request."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(f"{request}\n".encode())
            self.process.stdin.flush()
        except BrokenPipeError:  # it died: whoever follows it finds out
            pass

    def end(self, *, keep_log: bool = False) -> None:
        """Let it end: its input is closed, and whatever it is at is stopped."""
        with CHILDREN.ended(self.process):
            assert self.process.stdin is not None
            self.process.stdin.close()
        if not keep_log:
            self.forget()

    def forget(self) -> None:
        """Remove its log."""
        shutil.rmtree(self._folder, ignore_errors=True)


SHARED = SharedChild()


def ranks_of(request: BuildRequest) -> int:
    """Return how many processes build an object together: more than one only for language models.

    Raises:
        ConfigError: `run.ranks` does not share the streams out equally.
    """
    if request.step.kind != "language-model":
        return 1
    streams, wanted = int(request.step.config["streams"]), request.run.ranks
    if wanted is None:
        devices = 1 if request.run.device == "cpu" else _cuda_devices()
        return max(count for count in range(1, max(1, devices) + 1) if streams % count == 0)
    if streams % wanted:
        raise ConfigError(
            f"run.ranks is {wanted}, and {request.step.name} has {streams} streams, which cannot be shared out "
            "equally; set run.ranks to a divisor of streams, or change streams (which makes another model)"
        )
    return wanted


def torchrun(ranks: int) -> list[str]:
    """Return what starts so many ranks on this machine, before the module and its arguments."""
    if ranks == 1:
        return []
    return ["-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", str(ranks),
            "--shutdown-timeout", str(int(STOP_SECONDS))]  # fmt: skip


def hand_on(journal: Path, offset: int, on_events: OnEvents) -> int:
    """Give the new events of a journal to whoever follows it; return the offset after them.

    Args:
        journal: its file.
        offset: bytes that were handed on before.
        on_events: gets the events and the offset after them.
    """
    found = list(read_events(journal, offset))
    if not found:
        return offset
    offset = found[-1][1]
    on_events([event for event, _ in found], offset)
    return offset


def _follow(
    process: subprocess.Popen[bytes], ended: Callable[[], bool], journal: Path, on_events: OnEvents, offset: int
) -> None:
    """Hand on events until the work has ended."""
    while True:
        over = ended()  # asked before reading, so that nothing is missed
        offset = hand_on(journal, offset, on_events)
        if over:
            return
        if CHILDREN.past_deadline:
            process.kill()
        time.sleep(POLL_SECONDS)


def _command(ranks: int, *arguments: str) -> list[str]:
    return [sys.executable, *torchrun(ranks), "-m", "taglm_core.process.child", *arguments]


def _environment(request: BuildRequest, ranks: int) -> dict[str, str]:
    """Set the threads of one operation before the process starts, as libraries read them when loaded."""
    threads = str(request.run.threads)
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    return {"GLOO_SOCKET_IFNAME": "lo", **environment} if ranks > 1 and sys.platform == "linux" else environment


def _cuda_devices() -> int:
    """Return how many devices torch sees, asked in a process of its own; not asked where no driver is."""
    if not any(any(Path("/dev").glob(pattern)) for pattern in ("nvidia[0-9]*", "kfd", "dxg")):
        return 0
    command = [sys.executable, "-c", "import torch; print(torch.cuda.device_count())"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return int(answer.stdout) if answer.returncode == 0 else 0


def _error(request: BuildRequest, path: Path, log: Path, work: Path, status: int, ranks: int) -> TagLMError:
    """Return what the first rank met, or another one where the first one said nothing; else how the process died."""
    found = (load_error(error_file(path, rank)) for rank in range(ranks))
    said = next((error for error in found if error is not None), None)
    if said is None and CHILDREN.stop_request.requested:  # before it could listen, or it would not
        said = Interrupted("stopped without a word; the next run goes on from its last checkpoint")
    return said or _death(request.step.name, log, work, status)


def _death(step: str, log: Path, work: Path, status: int) -> ChildFailed:
    """Return the error for a process that said none; its log is kept in the work folder."""
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
