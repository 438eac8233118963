"""Digests of files and payloads, and the JSON text that digests are taken of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_digest(files: Iterable[tuple[str, str]]) -> str:
    """Return the digest over the sorted (name, sha256) pairs of payload files."""
    return hashlib.sha256(canonical_json(sorted(files)).encode()).hexdigest()


def canonical_json(value: Any) -> str:
    """Return JSON with sorted keys and without white space, so that equal values give equal text.

    Raises:
        ValueError: the value holds inf or nan.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
