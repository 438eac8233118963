"""Cores, and room on the disk and in memory: asked for before long work begins, and said clearly when it runs out."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from taglm_core.errors import OutOfResources

_CGROUPS = Path("/sys/fs/cgroup")
_V2 = ("memory.max", "memory.current", ("inactive_file", "active_file"))  # limit, use, page cache that the use counts
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file"))


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_disk(folder: Path) -> int:
    """Bytes free on the disk of a folder that may not be there yet."""
    return shutil.disk_usage(nearest(folder)).free


def nearest(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    path = path.absolute()
    return next(place for place in (path, *path.parents) if place.exists())


def available_memory() -> int:
    """Bytes that new processes may take without swapping, within the limits of a container."""
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for line in _read(Path("/proc/meminfo")).splitlines():
        if line.startswith("MemAvailable:"):
            available = 1024 * int(line.split()[1])
    for folder in _cgroups():
        for limit, used, cached in (_V2, _V1):
            most, now = _read(folder / limit).strip(), _read(folder / used).strip()
            if most.isdigit() and now.isdigit():
                available = min(available, int(most) - int(now) + _page_cache(folder, cached))
    return max(0, available)


def require_disk(folder: Path, needed: int, what: str) -> None:
    """Refuse work whose files will not fit.

    Raises:
        OutOfResources: fewer bytes are free.
    """
    free = free_disk(folder)
    if needed > free:
        raise OutOfResources(
            f"{folder}: {what} needs {size_text(needed)} of disk, and {size_text(free)} are free; {REMEDY}"
        )


REMEDY = "make room (`taglm gc` shows what nothing needs any more) or set run.store to another disk, and run again"


@contextlib.contextmanager
def explain_disk_full(folder: Path) -> Iterator[None]:
    """A disk that runs full in here is said as such.

    Raises:
        OutOfResources: the system says that the disk, or the user's share of it, is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OutOfResources(
            f"{folder}: the disk is full ({size_text(free_disk(folder))} free); what is finished is kept: {REMEDY}"
        ) from error


def size_text(count: float) -> str:
    """Bytes for people: 1.2 GB."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def _cgroups() -> Iterator[Path]:
    """The control groups this process is in that may limit its memory, with those above them."""
    for line in _read(Path("/proc/self/cgroup")).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):
            root = _CGROUPS / controllers
            here = root / path.lstrip("/")
            yield from (folder for folder in (here, *here.parents) if folder.is_relative_to(root))


def _page_cache(folder: Path, names: Sequence[str]) -> int:
    """Bytes of files in memory that a group's use counts, and that the system takes back when it needs them."""
    values = dict(line.split(" ", 1) for line in _read(folder / "memory.stat").splitlines())
    return sum(int(values.get(name, 0)) for name in names)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
