"""A tracking store with its tables made: creating them takes seconds, copying the file none."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def empty_tracking_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An sqlite file that four threads opened for the first time at once, each asking for the same experiment."""
    from tasks.tracking.address import resolve_uri
    from tasks.tracking.client import Client

    path = tmp_path_factory.mktemp("tracking") / "mlflow.db"
    uri, ids = resolve_uri(f"sqlite:///{path}"), []

    def first_use() -> None:
        ids.append(Client(uri).experiment("taglm/first-use", {"mlflow.note.content": "note {id}"}))

    threads = [threading.Thread(target=first_use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 4, "a thread failed"
    assert len(set(ids)) == 1, "the experiment was made twice"
    return path


@pytest.fixture
def tracking_uri(tmp_path: Path, empty_tracking_store: Path) -> str:
    """Address of a tracking store of the test's own."""
    path = tmp_path / "mlflow.db"
    shutil.copyfile(empty_tracking_store, path)
    return f"sqlite:///{path}"
