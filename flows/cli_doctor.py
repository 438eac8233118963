"""`taglm doctor`: checks whether this machine can run an experiment, with a remedy for each problem.

Torch and MLflow are imported. Of Prefect only the settings are, because wrong versions break the import of its server.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import tempfile
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from flows.cli_check import INSTALL, Check
from flows.cli_services import check_services
from taglm_core.config.experiment import Experiment
from taglm_core.errors import InputError, TagLMError
from taglm_core.pipeline.bases import from_random_weights
from taglm_core.pipeline.context import PipelineContext
from taglm_core.pipeline.steps import Graph
from taglm_core.store.resources import available_memory, cores, free_disk, nearest

DISTRIBUTION = "taglm"
LOCK = Path(__file__).resolve().parents[1] / "requirements.lock"
# Without these pins the newest versions install cleanly, `pip check` passes, and nothing works.
VITAL = {"fastapi": "newer versions: no flow runs", "sqlalchemy": "2.1: schedules silently create no runs"}
LEAST_DISK, LEAST_MEMORY = 2 * 10**9, 2 * 10**9  # bytes


def check(experiment: Experiment, graph: Graph) -> list[Check]:
    """Check everything on this machine that an experiment, with its graph, depends on."""
    return [
        _python(),
        *_vital_pins(),
        _requirements(),
        _lock(),
        *_torch(experiment),
        _cores(experiment),
        _memory(),
        _disk(experiment),
        _writable(experiment),
        *_inputs(graph),
        *check_services(experiment),
    ]


def _python() -> Check:
    wanted = importlib.metadata.metadata(DISTRIBUTION)["Requires-Python"]
    bad = platform.python_version() not in SpecifierSet(wanted)
    return Check("Python", platform.python_version(), bad, f"needs {wanted}: `make PYTHON=... run`" if bad else "")


def _vital_pins() -> Iterator[Check]:
    wanted = _wanted()
    for name, consequence in VITAL.items():
        version = _installed(name)
        bad = version is None or not wanted[name].contains(version, prereleases=True)
        remedy = f"needs {name}{wanted[name]} ({consequence}); {INSTALL}" if bad else ""
        yield Check(f"pin {name}{wanted[name]}", version or "not installed", bad, remedy)


def _requirements() -> Check:
    wrong = []
    for name, specifier in _wanted().items():
        version = _installed(name)
        if version is None or not specifier.contains(version, prereleases=True):
            wrong.append(f"{name} {version or 'missing'} (needs {specifier})")
    found = "; ".join(wrong) or f"all {len(_wanted())} as required"
    return Check("requirements", found, bool(wrong), INSTALL if wrong else "")


def _lock() -> Check:
    """Report versions that differ from the tested ones; they are allowed, but may explain different numbers."""
    if not LOCK.exists():
        return Check("requirements.lock", "missing: not run from a checkout")
    lines = (line.partition("#")[0].strip() for line in LOCK.read_text(encoding="utf-8").splitlines())
    pins = [Requirement(line) for line in lines if "==" in line]
    other = [
        f"{pin.name} {version} (tested: {str(pin.specifier).removeprefix('==')})"
        for pin in pins
        if (version := _installed(pin.name)) is not None and not pin.specifier.contains(version, prereleases=True)
    ]
    more = f" and {len(other) - 4} more" if len(other) > 4 else ""
    found = "; ".join(other[:4]) + more if other else f"all {len(pins)} versions as tested"
    return Check("requirements.lock", found, remedy=INSTALL if other else "")


def _torch(experiment: Experiment) -> Iterator[Check]:
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Check("torch", f"cannot be imported: {error}", True, INSTALL)
        return
    accelerators = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    bad = experiment.run.device == "cuda" and not accelerators
    remedy = "run.device is cuda: set run.device=auto, or install torch with CUDA (UV_TORCH_BACKEND)" if bad else ""
    yield Check("torch", f"{torch.__version__}, devices: {', '.join(['cpu', *accelerators])}", bad, remedy)
    yield from _devices(experiment, torch.backends.cpu.get_cpu_capability(), len(accelerators))


def _devices(experiment: Experiment, instructions: str, accelerators: int) -> Iterator[Check]:
    """Check devices and precision for the training of language models."""
    from taglm_core.training.devices import native_bfloat16

    native, run = native_bfloat16(), experiment.run
    bad = run.precision == "bfloat16" and not native and (run.device == "cpu" or not accelerators)
    remedy = "run.precision is bfloat16: some 300 times slower here; set run.precision=auto" if bad else ""
    yield Check("instruction set", f"{instructions}, {'native' if native else 'no native'} bfloat16", bad, remedy)
    bad = run.device != "cpu" and 0 < accelerators < (run.ranks or 1)
    remedy = f"run.ranks is {run.ranks}, and each rank takes a device; set run.ranks={accelerators}" if bad else ""
    yield Check("CUDA devices", str(accelerators), bad, remedy)


def _cores(experiment: Experiment) -> Check:
    count, run = cores(), experiment.run
    wanted = run.threads * (run.workers or count)
    remedy = f"run.workers x run.threads is {wanted}: slower, but correct" if wanted > count else ""
    return Check("cores", str(count), remedy=remedy)


def _memory() -> Check:
    free, total = available_memory(), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    bad = free < LEAST_MEMORY
    found = f"{free / 1e9:.1f} GB free of {total / 1e9:.1f} GB"
    return Check("memory", found, bad, f"at least {LEAST_MEMORY / 1e9:.0f} GB should be free" if bad else "")


def _disk(experiment: Experiment) -> Check:
    folder = nearest(experiment.run.store)
    free = free_disk(folder)
    bad = free < LEAST_DISK
    remedy = f"at least {LEAST_DISK / 1e9:.0f} GB should be free; set run.store to another path" if bad else ""
    return Check("disk", f"{free / 1e9:.1f} GB free at {folder}", bad, remedy)


def _writable(experiment: Experiment) -> Check:
    store = experiment.run.store.absolute()
    folder = nearest(store)
    try:
        with tempfile.TemporaryFile(dir=folder):
            return Check("store", f"{store} ({'writable' if folder == store else 'created by the first run'})")
    except OSError as error:
        return Check("store", f"{folder}: {error.strerror}", True, "set run.store to another path")


def _inputs(graph: Graph) -> Iterator[Check]:
    readers = {pattern: (step, role) for step in graph.values() for role, pattern in step.files.items()}
    if not readers:
        yield Check("input files", "none: the corpora are generated")
    for pattern, (step, role) in readers.items():
        try:
            files = step.raw_files_of(role)
        except InputError as error:
            yield Check("input files", f"{error.path}: {error.found}", True, error.remedy)
        else:
            size = sum(path.stat().st_size for path in files)
            count = "1 file" if len(files) == 1 else f"{len(files)} files"
            yield Check("input files", f"{pattern}: {count}, {size / 1e6:,.1f} MB")


def resolved(experiment: Experiment) -> PipelineContext:
    """Return the context of an experiment; without its bases if these are missing.

    With its bases the inputs of the bases need not exist. Without them, a run reports what is wrong with them.
    """
    try:
        return PipelineContext.resolve(experiment)
    except TagLMError:
        return PipelineContext.resolve(from_random_weights(experiment))


def _wanted() -> dict[str, SpecifierSet]:
    lines = importlib.metadata.requires(DISTRIBUTION) or []
    wanted = (Requirement(line) for line in lines)
    return {
        one.name: one.specifier
        for one in wanted
        if one.name != DISTRIBUTION  # an extra that includes another one
        and (one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in ("", "serve", "pipeline")))
    }


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
