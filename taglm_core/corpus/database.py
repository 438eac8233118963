"""DuckDB connections with stated limits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from taglm_core.errors import OutOfResources


@dataclass(frozen=True, slots=True)
class DatabaseLimits:
    """Resources of a database.

    Attributes:
        threads: CPU threads.
        memory: for instance "1GB"; beyond it DuckDB spills.
        temp_dir: folder for temporary files; made if absent.
    """

    threads: int
    memory: str
    temp_dir: Path


@contextmanager
def open_database(limits: DatabaseLimits) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an empty in-memory database that spills to disk and fetches no extensions."""
    limits.temp_dir.mkdir(parents=True, exist_ok=True)
    connection = duckdb.connect(
        config={
            "threads": limits.threads,
            "memory_limit": limits.memory,
            "temp_directory": str(limits.temp_dir),
            "autoinstall_known_extensions": False,
            # Every query whose order matters says ORDER BY; keeping file order as well would cost memory.
            "preserve_insertion_order": False,
        }
    )
    try:
        yield connection
    except duckdb.OutOfMemoryException as error:
        raise OutOfResources(
            f"counting needs more than run.memory_limit ({limits.memory}), and cannot spill it to "
            f"{limits.temp_dir}; raise run.memory_limit, and see that this disk has room"
        ) from error
    finally:
        connection.close()
