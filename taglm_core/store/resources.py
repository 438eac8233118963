"""Cores, disk space and memory: checked before long work, and reported clearly when they run out."""

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
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_disk(folder: Path) -> int:
    """Return the free bytes on the disk of a folder that need not exist yet."""
    return shutil.disk_usage(nearest(folder)).free


def nearest(path: Path) -> Path:
    """Return the path, or the nearest folder above it that exists."""
    path = path.absolute()
    return next(each for each in (path, *path.parents) if each.exists())


def available_memory() -> int:
    """Return the bytes that new processes can take without swapping, within the limits of a container."""
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
    """Refuse work whose files do not fit on the disk.

    Raises:
        OutOfResources: fewer bytes are free.
    """
    free = free_disk(folder)
    if needed > free:
        raise OutOfResources(
            f"{folder}: {what} needs {size_text(needed)} of disk, and {size_text(free)} are free; {REMEDY}"
        )


REMEDY = "free some (`taglm gc` lists what can be removed) or set run.store to another disk, and run again"


@contextlib.contextmanager
def explain_disk_full(folder: Path) -> Iterator[None]:
    """Turn the error of a full disk inside the block into one with a remedy.

    Raises:
        OutOfResources: the disk, or the user's quota on it, is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OutOfResources(
            f"{folder}: the disk is full ({size_text(free_disk(folder))} free); finished work is kept; {REMEDY}"
        ) from error


def size_text(count: float) -> str:
    """Return a number of bytes for people, such as 1.2 GB."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def _cgroups() -> Iterator[Path]:
    """Yield the folders of control groups that may limit the memory of this process, innermost first."""
    for line in _read(Path("/proc/self/cgroup")).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):
            root = _CGROUPS / controllers
            here = root / path.lstrip("/")
            yield from (folder for folder in (here, *here.parents) if folder.is_relative_to(root))


def _page_cache(folder: Path, names: Sequence[str]) -> int:
    """Return the bytes of page cache that a group's memory use includes and that the system can reclaim."""
    values = dict(line.split(" ", 1) for line in _read(folder / "memory.stat").splitlines())
    return sum(int(values.get(name, 0)) for name in names)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
