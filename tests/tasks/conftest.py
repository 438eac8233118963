"""A tracking store with its tables made: creating them takes seconds, copying the file none."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def tracking_uri(tmp_path: Path, empty_tracking_store: Path) -> str:
    """Address of a tracking store of the test's own."""
    path = tmp_path / "mlflow.db"
    shutil.copyfile(empty_tracking_store, path)
    return f"sqlite:///{path}"
