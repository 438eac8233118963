"""The embed stage after a kill: finished shards are trusted only if they can be read, and no number depends on it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from taglm_core.config.experiment import RunConfig
from taglm_core.corpus.parquet import write_corpus
from taglm_core.corpus.sentence import Sentence
from taglm_core.errors import Interrupted
from taglm_core.lm.cache import part_name, read_part, write_part
from taglm_core.stages import embed
from taglm_core.stages.building import Bench, Built
from taglm_core.training.journal import Journal
from taglm_core.training.stopping import StopRequest
from tests.lm.conftest import Small

CORPUS = [("w1", "w2"), ("w3",), ("w1", "w2"), ("w4", "w5"), ("w5", "w6", "w7"), ("w9",), ("w10", "w8"), ("w2",)]
SHARDS = 7


class StopAfter(StopRequest):
    """Asked for once so many shards are made."""

    def __init__(self, shards: int) -> None:
        super().__init__()
        self._left = shards

    @property
    def requested(self) -> bool:
        self._left -= 1
        return self._left < 0


@pytest.fixture
def bench(tmp_path: Path, small: Small, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """All that the builder needs, with a small language model."""
    write_corpus((Sentence(tokens, None, 0, 1, "x") for tokens in CORPUS), tmp_path / "corpus", scheme=None)
    monkeypatch.setattr(embed, "load_language_model", lambda *_: small.lm)
    inputs: Any = {
        role: SimpleNamespace(path=tmp_path / role, ref=SimpleNamespace(digest=role))
        for role in ("corpus", "language-model")
    }
    config = {"shard_sentences": 1, "batch_sentences": 2, "token_map": {}}
    with contextlib.closing(Journal(tmp_path / "work" / "events.jsonl")) as journal:
        yield Bench(config, inputs, {}, tmp_path / "out", tmp_path / "work", RunConfig(device="cpu"), journal,
                    StopRequest(), tmp_path / "locks")  # fmt: skip


def build(bench: Bench, shards: int = SHARDS) -> tuple[Built, dict[str, bytes]]:
    """What the builder says, and the bytes of the object; ends early after some shards."""
    shutil.rmtree(bench.out, ignore_errors=True)
    bench.out.mkdir()
    built = embed.build_embeddings(dataclasses.replace(bench, stop=StopAfter(shards)))
    return built, {path.name: path.read_bytes() for path in bench.out.iterdir()}


@pytest.mark.parametrize("done", [1, 3, 6])
def test_stopped_and_resumed_gives_the_same_bytes_and_metrics(bench: Bench, done: int) -> None:
    """Also when the largest state is in a shard that was finished before the stop."""
    built, files = build(bench)
    with pytest.raises(Interrupted, match=f"after {done} shards"):
        build(bench, done)
    resumed, found = build(bench)
    assert found == files
    assert (resumed.counts, resumed.metrics) == (built.counts, built.metrics)


@pytest.mark.parametrize("damage", ["empty", "zeros", "half", "other rows"])
def test_a_finished_shard_that_cannot_be_read_is_made_again(bench: Bench, damage: str) -> None:
    """As a power cut leaves it: the object has the bytes of an undisturbed run."""
    _, files = build(bench)
    with pytest.raises(Interrupted):
        build(bench, 2)
    path = bench.work / "parts" / part_name(1)
    size = path.stat().st_size
    if damage == "other rows":
        write_part(path, np.zeros((5, 10), np.float16))
    else:
        path.write_bytes({"empty": b"", "zeros": bytes(size), "half": path.read_bytes()[: size // 2]}[damage])
    assert build(bench)[1] == files


def test_a_shard_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file under its final name is one that was flushed."""
    path, named = tmp_path / part_name(0), []
    flush = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (named.append(path.exists()), flush(handle)))
    write_part(path, np.ones((2, 3), np.float16))
    assert named == [False, True]  # the file, then the folder's new entry
    states = read_part(path, 2, 3)
    assert states is not None
    assert states.tolist() == [[1, 1, 1], [1, 1, 1]]
