"""DuckDB connections with stated limits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from taglm_core.errors import OutOfResources


@contextmanager
def open_database(*, threads: int, memory_limit: str, temp_dir: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an empty in-memory database that spills to disk and fetches no extensions.

    Args:
        threads: CPU threads.
        memory_limit: for instance "1GB"; beyond it DuckDB spills.
        temp_dir: folder for temporary files; made if absent.
    """
    temp_dir.mkdir(parents=True, exist_ok=True)
    connection = duckdb.connect(
        config={
            "threads": threads,
            "memory_limit": memory_limit,
            "temp_directory": str(temp_dir),
            "autoinstall_known_extensions": False,
            # Every query whose order matters says ORDER BY; keeping file order as well would cost memory.
            "preserve_insertion_order": False,
        }
    )
    try:
        yield connection
    except duckdb.OutOfMemoryException as error:
        raise OutOfResources(
            f"counting needs more than run.memory_limit ({memory_limit}), and cannot spill it to {temp_dir}; raise "
            "run.memory_limit, and see that this disk has room"
        ) from error
    finally:
        connection.close()
