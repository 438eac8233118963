"""Build of one object in this process or in a child process."""

from __future__ import annotations

import contextlib
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
"""Callback with new events of a journal and the offset (bytes) after them."""


def make(store: Store, request: BuildRequest, on_events: OnEvents, offset: int | None = None) -> Ref:
    """Build an object unless it is in the store, in a child process if its kind asks for one.

    Args:
        store: store of the object.
        request: the build request.
        on_events: callback for new events of the builder.
        offset: bytes of the journal that were forwarded before; None for its present size.

    Raises:
        TagLMError: the error of the builder; a stop is `Interrupted`.
        ChildFailed: the process died without an error; the message has the last line of its log.
    """
    work = store.work(request.recipe)
    journal = work / JOURNAL
    if offset is None:
        offset = journal.stat().st_size if journal.exists() else 0
    if not request.step.made_as.child:
        try:
            return build(store, request, stop=CHILDREN.stop_request)
        finally:
            forward_events(journal, offset, on_events)
    with _TURNS.of(request.recipe.key), slot(store.root / "locks", request.run.workers or cores()):
        if not request.refresh and (made := store.find(request.recipe)) is not None:  # by another cell of a sweep
            return made
        if request.step.made_as.shares_child:
            SHARED.run(request, work, on_events, offset)
        else:
            ranks = ranks_of(request)
            # own folder: two runs of one key share `work`; their files of requests and errors must differ
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
        raise ChildFailed(f"{request.step.name}: its process succeeded, but its object is not in the store; run again")
    return ref


class _Turns:
    """A lock for each key, so that of two threads that need one object only the first takes a slot."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}

    @contextlib.contextmanager
    def of(self, key: str) -> Iterator[None]:
        """Wait for the turn of a key, or for a request to stop.

        Raises:
            Interrupted: it is stopped.
        """
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        while not lock.acquire(timeout=POLL_SECONDS):
            CHILDREN.stop_request.check()
        try:
            yield
        finally:
            lock.release()


_TURNS = _Turns()


class SharedChild:
    """Pool of child processes for kinds with `shares_child`. Each builds one object at a time.

    Sharing saves the seconds of importing torch. Only one thread uses a process at a time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[_ReusableChild] = []

    def run(self, request: BuildRequest, work: Path, on_events: OnEvents, offset: int = 0) -> None:
        """Build in an idle process or in a new one. Errors as for `make`.

        Args:
            request: the build request.
            work: work folder of the step, with the journal and the log of a process that died.
            on_events: callback for new events.
            offset: bytes of the journal that were forwarded before.
        """
        child = self._take(request)
        with tempfile.TemporaryDirectory(prefix="taglm-") as own:
            path = Path(own, "request.json")
            request.save(path)
            process, done = child.process, Path(own, STATUS_FILE)
            try:
                child.begin(path)
                _follow(process, lambda: done.exists() or process.poll() is not None, work / JOURNAL, on_events, offset)
            except BaseException:
                child.end()
                raise
            status = read_json(done)
            if status is None:  # the process died
                child.end(keep_log=True)
                error = _error(request, path, child.log, work, process.returncode, 1)
                child.forget()
                raise error
            self._give_back(child)
            if status != 0:
                raise _error(request, path, child.log, work, status, 1)

    def close(self) -> None:
        """End the idle processes of the current group."""
        with self._lock:
            idle = [child for child in self._idle if child.group is CHILDREN.group]
            self._idle = [child for child in self._idle if child not in idle]
        for child in idle:
            child.end()

    def _take(self, request: BuildRequest) -> _ReusableChild:
        with self._lock:
            dead = [child for child in self._idle if child.process.poll() is not None]
            self._idle = [child for child in self._idle if child not in dead]
            mine = (CHILDREN.group, request.run.threads)
            found = next((child for child in self._idle if (child.group, child.threads) == mine), None)
            if found is not None:
                self._idle.remove(found)
        for child in dead:
            child.end()
        return found or _ReusableChild(request)

    def _give_back(self, child: _ReusableChild) -> None:
        with self._lock:
            if not CHILDREN.stop_request.requested:
                self._idle.append(child)
                return
        child.end()


class _ReusableChild:
    """A child process that builds one request after the other."""

    def __init__(self, request: BuildRequest) -> None:
        self.threads, self.group = request.run.threads, CHILDREN.group
        self._folder = tempfile.mkdtemp(prefix="taglm-")
        self.log = Path(self._folder, LOG)
        try:
            self.process = CHILDREN.start(_command(1), self.log, _environment(request, 1))
        except BaseException:
            self.forget()
            raise

    def begin(self, request: Path) -> None:
        """Send it a request."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(f"{request}\n".encode())
            self.process.stdin.flush()
        except BrokenPipeError:  # the process died; `_follow` notices
            pass

    def end(self, *, keep_log: bool = False) -> None:
        """End it: close its input and stop its build."""
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
    """Return the number of ranks of a build, which is 1 for all kinds but language models.

    Raises:
        ConfigError: `run.ranks` does not divide the streams.
    """
    if request.step.kind != "language-model":
        return 1
    streams, wanted = int(request.step.config["streams"]), request.run.ranks
    if wanted is None:
        devices = 1 if request.run.device == "cpu" else _cuda_devices()
        return max(count for count in range(1, max(1, devices) + 1) if streams % count == 0)
    if streams % wanted:
        raise ConfigError(
            f"run.ranks is {wanted}, and {request.step.name} has {streams} streams, which it does not "
            "divide; set run.ranks to a divisor of streams, or change streams (which gives another model)"
        )
    return wanted


def torchrun(ranks: int) -> list[str]:
    """Return the arguments of Python that start several ranks, before the module and its arguments."""
    if ranks == 1:
        return []
    return ["-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", str(ranks),
            "--shutdown-timeout", str(int(STOP_SECONDS))]  # fmt: skip


def forward_events(journal: Path, offset: int, on_events: OnEvents) -> int:
    """Forward the new events of a journal and return the offset after them.

    Args:
        journal: file of the journal.
        offset: bytes that were forwarded before.
        on_events: callback for the events and the offset after them.
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
    """Forward events until the build has ended."""
    while True:
        over = ended()  # checked before reading, so that no event is missed
        offset = forward_events(journal, offset, on_events)
        if over:
            return
        if CHILDREN.past_deadline:
            process.kill()
        time.sleep(POLL_SECONDS)


def _command(ranks: int, *arguments: str) -> list[str]:
    return [sys.executable, *torchrun(ranks), "-m", "taglm_core.process.child", *arguments]


def _environment(request: BuildRequest, ranks: int) -> dict[str, str]:
    """Return the environment with the number of threads, which libraries read when they load."""
    threads = str(request.run.threads)
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    return {"GLOO_SOCKET_IFNAME": "lo", **environment} if ranks > 1 and sys.platform == "linux" else environment


def _cuda_devices() -> int:
    """Return the number of CUDA devices, from a separate process; 0 without a driver."""
    if not any(any(Path("/dev").glob(pattern)) for pattern in ("nvidia[0-9]*", "kfd", "dxg")):
        return 0
    command = [sys.executable, "-c", "import torch; print(torch.cuda.device_count())"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return int(answer.stdout) if answer.returncode == 0 else 0


def _error(request: BuildRequest, path: Path, log: Path, work: Path, status: int, ranks: int) -> TagLMError:
    """Return the error of the main rank, or of another rank, or an error on how the process died."""
    found = (load_error(error_file(path, rank)) for rank in range(ranks))
    reported = next((error for error in found if error is not None), None)
    if reported is None and CHILDREN.stop_request.requested:  # before it handled signals, or while it did not react
        reported = Interrupted("stopped before it could report; the next run goes on from its last checkpoint")
    return reported or _death(request.step.name, log, work, status)


def _death(step: str, log: Path, work: Path, status: int) -> ChildFailed:
    """Return the error for a process that reported none; keep its log in the work folder."""
    work.mkdir(parents=True, exist_ok=True)
    kept = shutil.copyfile(log, work / LOG)
    how = f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
    lines = kept.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    last = lines[-1].strip()[:300] if lines else "no output"
    hint = " It may have run out of memory: set run.workers=1." if status == -signal.SIGKILL else ""
    return ChildFailed(
        f"{step}: its process ended with {how} ({last}).{hint} The same command goes on from its last checkpoint; if "
        f"it ends like this again, report it with its log: {kept}"
    )
