"""Apply one mutation at a time to a copy of the repository, and run the tests that must notice it."""

from __future__ import annotations

import multiprocessing
import os
import queue
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mutations.mutation import Mutation

LIMIT = 20  # seconds of processor time for the tests of one mutation
_COPIED = ("taglm_core", "tasks", "flows", "ops", "tests", "experiments", "pyproject.toml")
_HANGING = 200  # seconds of wall-clock time after which pytest ends a test, on a machine that others use too
_WARM = multiprocessing.get_context("forkserver")  # its processes have the libraries, and nothing of this program
_WARM.set_forkserver_preload(["torch", "pyarrow.parquet", "duckdb", "pydantic", "safetensors.torch", "scipy.stats"])


@dataclass(frozen=True)
class Outcome:
    """What the tests said of one mutation; `green` are the tests that should have failed and did not."""

    verdict: str
    seconds: float = 0.0
    green: tuple[str, ...] = ()

    @property
    def caught(self) -> bool:
        """Whether all tests noticed the mutation in time."""
        return self.verdict == "caught"


class Runner:
    """Runs mutations in copies of a repository, one copy for each of those that run side by side.

    Args:
        root: the repository; it is only read.
        jobs: number of mutations that run side by side.
        limit: seconds of processor time for the tests of one mutation.
    """

    def __init__(self, root: Path, jobs: int = 1, limit: int = LIMIT) -> None:
        self._root, self._jobs, self._limit = root, jobs, limit
        self._copies: queue.SimpleQueue[Path] = queue.SimpleQueue()

    @contextmanager
    def copies(self) -> Iterator[None]:
        """Copy the repository, byte code included: the copies keep the times of files, so that it stays valid."""
        with tempfile.TemporaryDirectory(prefix="taglm-mutations-") as folder:
            for number in range(self._jobs):
                copy = Path(folder, str(number))
                for path in (self._root / name for name in _COPIED):
                    if path.is_dir():
                        shutil.copytree(path, copy / path.name)
                    elif path.exists():
                        shutil.copy2(path, copy / path.name)
                self._copies.put(copy)
            yield

    def check_green(self, mutations: Sequence[Mutation]) -> tuple[bool, str]:
        """Run the tests of all mutations on unbroken sources; return whether they pass, and what pytest wrote."""
        copy = self._copies.get()
        status, _, output = _pytest(copy, [test for one in mutations for test in one.tests], limit=3600)
        self._copies.put(copy)
        return status == 0, output

    def run(self, mutations: Sequence[Mutation]) -> Iterator[tuple[Mutation, Outcome]]:
        """Yield each mutation with its outcome, in the given order."""
        with ThreadPoolExecutor(self._jobs) as pool:
            yield from zip(mutations, pool.map(self._outcome, mutations), strict=True)

    def _outcome(self, mutation: Mutation) -> Outcome:
        copy = self._copies.get()
        original, path = self._root / mutation.file, copy / mutation.file
        try:
            broken = mutation.applied(original.read_text(encoding="utf-8"))
            if broken is None:
                return Outcome("text not found")
            path.write_text(broken, encoding="utf-8")
            status, seconds, output = _pytest(copy, mutation.tests, self._limit)
        finally:
            shutil.copy2(original, path)
            self._copies.put(copy)
        if seconds >= self._limit:
            return Outcome("too slow", seconds)
        if status not in (0, 1):  # a module that cannot even be imported proves nothing about its tests
            return Outcome(f"pytest ended with {status}", seconds, tuple(output.splitlines()[-3:]))
        green = tuple(test for test in mutation.tests if not _is_red(test, output))
        return Outcome("SURVIVED" if green else "caught", seconds, green)


def _pytest(root: Path, tests: Sequence[str], limit: int) -> tuple[int, float, str]:
    """Run tests in a process of their own; return exit status, processor time with that of children, and output."""
    with tempfile.TemporaryDirectory() as folder:
        output, seconds = Path(folder, "output"), Path(folder, "seconds")
        process = _WARM.Process(target=_tests, args=(root, list(dict.fromkeys(tests)), limit, output, seconds))
        process.start()
        process.join()
        if process.exitcode == -signal.SIGXCPU:
            return process.exitcode, float(limit), ""
        spent = float(seconds.read_text()) if seconds.exists() else 0.0
        return process.exitcode or 0, spent, output.read_text(encoding="utf-8")


def _tests(root: Path, tests: list[str], limit: int, output: Path, seconds: Path) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (limit + 1, limit + 60))
    with output.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(root)
    sys.path.insert(0, str(root))
    sys.dont_write_bytecode = True
    os.environ |= {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}  # for the children of tests
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]  # the checkout's
    options = ["-q", "-rfE", "--tb=no", "-p", "no:cacheprovider", "--timeout", str(_HANGING)]
    status = pytest.main([*options, *tests])
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    seconds.write_text(str(sum(each.ru_utime + each.ru_stime for each in used)))
    sys.exit(status)


def _is_red(test: str, output: str) -> bool:
    lines = (line.partition(" ")[2] for line in output.splitlines() if line.startswith(("FAILED ", "ERROR ")))
    return any(line.startswith(test) and line[len(test) : len(test) + 1] in ("", " ", "[", ":") for line in lines)
