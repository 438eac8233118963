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
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import pytest

from tests.mutations.mutation import Mutation

LIMIT = 20  # seconds of processor time for the tests of one mutation
_COPIED = ("taglm_core", "taglm", "tasks", "flows", "ops", "tests", "experiments", "pyproject.toml")
_HANGING = 200  # seconds of wall-clock time after which pytest ends a test, on a machine that others use too
_T = TypeVar("_T")
_WARM = multiprocessing.get_context("forkserver")  # its processes have the libraries, and nothing of this program
_WARM.set_forkserver_preload(["torch", "pyarrow.parquet", "duckdb", "pydantic", "safetensors.torch", "scipy.stats"])


class RedTests(Exception):
    """Tests fail without any mutation; the text is pytest's."""


class Outcome(NamedTuple):
    """What the tests say of a mutation; `green` are the tests that should have failed and did not."""

    verdict: str
    seconds: float = 0.0
    green: tuple[str, ...] = ()


def run(root: Path, mutations: Sequence[Mutation], jobs: int = 1) -> Iterator[tuple[Mutation, Outcome]]:
    """Yield each mutation with its outcome; `jobs` run side by side, in copies of the repository.

    Raises:
        RedTests: tests fail already without a mutation.
    """
    copies: queue.SimpleQueue[Path] = queue.SimpleQueue()

    def in_copy(work: Callable[[Path], _T]) -> _T:
        copy = copies.get()
        try:
            return work(copy)
        finally:
            copies.put(copy)

    with tempfile.TemporaryDirectory(prefix="taglm-mutations-") as folder, ThreadPoolExecutor(jobs) as pool:
        for number in range(jobs):
            copies.put(_copy(root, Path(folder, str(number))))
        tests = sorted({test for one in mutations for test in one.tests})
        files = list(dict.fromkeys(test.partition("::")[0] for test in tests))
        parts = [[test for test in tests if files.index(test.partition("::")[0]) % jobs == job] for job in range(jobs)]
        checks = [pool.submit(in_copy, lambda copy, part=part: _pytest(copy, part, 3600)) for part in parts if part]
        red = [output for status, _, output in (check.result() for check in checks) if status]
        if red:
            raise RedTests("\n".join(red))
        found = [pool.submit(in_copy, lambda copy, one=one: _outcome(root, copy, one)) for one in mutations]
        for mutation, outcome in zip(mutations, found, strict=True):
            yield mutation, outcome.result()


def _copy(root: Path, target: Path) -> Path:
    """Copy the sources with their times, so that their byte code stays valid."""
    for path in (root / name for name in _COPIED):
        if path.is_dir():
            shutil.copytree(path, target / path.name)
        elif path.exists():
            shutil.copy2(path, target / path.name)
    return target


def _outcome(root: Path, copy: Path, mutation: Mutation) -> Outcome:
    broken = mutation.applied((root / mutation.file).read_text(encoding="utf-8"))
    if broken is None:
        return Outcome("text not found")
    (copy / mutation.file).write_text(broken, encoding="utf-8")
    status, seconds, output = _pytest(copy, mutation.tests, LIMIT)
    shutil.copy2(root / mutation.file, copy / mutation.file)
    if seconds >= LIMIT:
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
