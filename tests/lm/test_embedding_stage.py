"""The embed stage: the same bytes after a kill, in any order, by any number of processes; clear without room."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from taglm_core.config.embedding import EmbeddingConfig
from taglm_core.config.experiment import RunConfig
from taglm_core.corpus.parquet import write_corpus
from taglm_core.corpus.sentence import Sentence
from taglm_core.errors import Interrupted, OutOfResources
from taglm_core.lm.cache import INDEX, EmbeddingCache, part_name
from taglm_core.lm.cache_parts import CacheKey, Rows, read_part, write_part
from taglm_core.lm.extraction import cache_key, read_passages
from taglm_core.lm.model import load_language_model, reading_bytes, save_language_model
from taglm_core.lm.shards import lay_out
from taglm_core.pipeline.build import BuildContext, BuildResult
from taglm_core.process.slots import slot_lock
from taglm_core.stages import embed, embed_shards
from taglm_core.stages.embed import build_embeddings, build_word_vectors
from taglm_core.stages.embed_shards import ShardWork, sentences_of
from taglm_core.store.durable import locked
from taglm_core.store.resources import available_memory, explain_disk_full, free_disk
from taglm_core.training.devices import open_device
from taglm_core.training.journal import Journal, read_events
from taglm_core.training.stopping import StopRequest
from tests.lm.conftest import Small

CORPUS = [("w1", "w2"), ("w3",), ("w1", "w2"), ("w4", "w5"), ("w5", "w6", "w7"), ("w9",), ("w10", "w8"), ("w2",)]
SHARDS = 7
CONFIG = {"shard_tokens": 1, "batch_sentences": 2}
PLAIN = CacheKey("lm", "c", (1,), 3, "float16", "sentence", {}, 2)


class StopAfter(StopRequest):
    """Asked for once it was looked at so often."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self._left = looks

    @property
    def requested(self) -> bool:
        self._left -= 1
        return self._left < 0


@pytest.fixture
def bench(tmp_path: Path, small: Small) -> Iterator[BuildContext]:
    """All that the builder needs, with a small language model."""
    write_corpus((Sentence(tokens, None, n // 3, 1, "x") for n, tokens in enumerate(CORPUS)), tmp_path / "corpus",
                 scheme=None)  # fmt: skip
    (tmp_path / "language-model").mkdir()
    save_language_model(small.lm, tmp_path / "language-model")
    inputs: Any = {
        role: SimpleNamespace(path=tmp_path / role, ref=SimpleNamespace(digest=role))
        for role in ("corpus", "language-model")
    }
    run = RunConfig(device="cpu", workers=1)
    with contextlib.closing(Journal(tmp_path / "work" / "events.jsonl")) as journal:
        yield BuildContext(CONFIG, inputs, {}, tmp_path / "out", tmp_path / "work", run, journal, StopRequest(),
                    tmp_path / "locks")  # fmt: skip


def build(bench: BuildContext, stop: StopRequest | None = None) -> tuple[BuildResult, dict[str, bytes]]:
    """What the builder says, and the bytes of the object."""
    shutil.rmtree(bench.out, ignore_errors=True)
    bench.out.mkdir()
    built = build_embeddings(dataclasses.replace(bench, stop=stop or StopRequest()))
    shutil.rmtree(bench.work / "parts")  # as whoever publishes the object does
    return built, {path.name: path.read_bytes() for path in bench.out.iterdir()}


def work_of(bench: BuildContext) -> ShardWork:
    """What the processes that fill the cache know."""
    config = EmbeddingConfig.model_validate(bench.config)
    folder, corpus = (bench.inputs[role].path for role in ("language-model", "corpus"))
    lm = load_language_model(folder, torch.device("cpu"), predicts=False)
    key = cache_key(lm, config, language_model="language-model", corpus="corpus", version=2)
    layout = lay_out(sentences_of(corpus), shard_tokens=config.shard_tokens, context=config.context)
    embed._keep_parts_of(open_device("cpu", 1).describe(), bench.work / "parts")
    return ShardWork(folder, corpus, bench.work / "parts", config, key, tuple(layout.rows))


def missing(work: ShardWork) -> list[int]:
    """Shards that have no file."""
    return [number for number in range(len(work.rows)) if not work.part(number).exists()]


@pytest.mark.parametrize("looks", [2, 4, 6])
def test_stopped_and_resumed_gives_the_same_bytes_and_metrics(bench: BuildContext, looks: int) -> None:
    """Also when the largest state is in a shard that was finished before the stop."""
    built, files = build(bench)
    with pytest.raises(Interrupted, match=r"stopped after \d shards"):
        build(bench, StopAfter(looks))
    done = len(list((bench.work / "parts").glob("part-*")))
    assert 0 < done < SHARDS
    resumed, found = build(bench)
    assert found == files
    assert (resumed.counts, resumed.metrics) == (built.counts, built.metrics)


@pytest.mark.parametrize("damage", ["empty", "zeros", "half", "other rows"])
def test_a_finished_shard_that_cannot_be_read_is_made_again(bench: BuildContext, damage: str) -> None:
    """As a power cut leaves it: the object has the bytes of an undisturbed run."""
    _, files = build(bench)
    with pytest.raises(Interrupted):
        build(bench, StopAfter(6))
    path = bench.work / "parts" / part_name(1)
    size = path.stat().st_size
    if damage == "other rows":
        write_part(path, Rows(np.zeros((5, 10), np.float16), np.zeros((5, 0), np.float32)), 0.0)
    else:
        path.write_bytes({"empty": b"", "zeros": bytes(size), "half": path.read_bytes()[: size // 2]}[damage])
    assert build(bench)[1] == files


def test_a_shard_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file under its final name is one that was flushed."""
    path, named = tmp_path / part_name(0), []
    flush = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (named.append(path.exists()), flush(handle)))
    write_part(path, Rows(np.ones((2, 3), np.float16), np.zeros((2, 0), np.float32)), 1.0)
    assert named == [False, True]  # the file, then the folder's new entry
    assert read_part(path, 2, PLAIN) is not None


@pytest.mark.slow
@pytest.mark.parametrize(
    "small", ["word with vectors"], indirect=True
)  # each process imports torch: one kind of model is enough
def test_a_killed_process_costs_one_shard(bench: BuildContext) -> None:
    """Of two real processes one is killed with -9 at a shard; the other makes all the rest, and later runs that one.

    Each process imports torch for seconds, and none of this depends on what the model reads: one kind is enough.
    """
    _, files = build(bench)
    work, context = work_of(bench), multiprocessing.get_context("spawn")
    with locked(work.claim(3)):  # nobody gets this one for now
        first = context.Process(target=embed_shards._help, args=(work, os.getpid(), 1))
        first.start()
        while len(missing(work)) == SHARDS:
            time.sleep(0.002)
        os.kill(first.pid or 0, signal.SIGKILL)
        first.join()
        second = context.Process(target=embed_shards._help, args=(work, os.getpid(), 1))
        second.start()
        second.join()
        assert (first.exitcode in (0, -signal.SIGKILL), second.exitcode) == (True, 0)
        assert missing(work) == [3]
    assert build(bench)[1] == files


@pytest.mark.slow
@pytest.mark.parametrize(
    "small", ["char-cnn"], indirect=True
)  # each process imports torch: one kind of model is enough
def test_further_processes_help(bench: BuildContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is slow gets real help; the bytes are those of a process alone, and nobody is left over.

    One kind of model, as above.
    """
    _, files = build(bench)
    made, make, deadline = [], embed_shards.make_shard, time.monotonic() + 60

    def slow(work: ShardWork, lm: Any, shard: Any, check_stop: Any) -> bool:
        if made:  # after the first shard, which says that help is worth it
            while len(missing(work)) > 2 and time.monotonic() < deadline:
                time.sleep(0.01)
        made.append(make(work, lm, shard, check_stop))
        return made[-1]

    monkeypatch.setattr(embed_shards, "make_shard", slow)
    monkeypatch.setattr(embed_shards, "WORTH_SECONDS", -1.0)
    assert build(dataclasses.replace(bench, run=RunConfig(device="cpu", workers=2)))[1] == files
    assert sum(made) <= 3
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("stage", ["write_index", "unknown_rates"])
def test_an_end_after_the_last_shard_loses_none(
    bench: BuildContext, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """Until the object is published, finished shards stay where the next run looks for them."""
    _, files = build(bench)
    with monkeypatch.context() as broken:
        broken.setattr(embed, stage, lambda *_: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            build(bench)
    monkeypatch.setattr(embed_shards, "embed_shard", lambda *_, **__: pytest.fail("a shard was computed again"))
    assert build(bench)[1] == files


def test_shards_of_another_machine_are_made_anew(bench: BuildContext) -> None:
    """Another device or number of threads gives other bits in the last places: they are not mixed."""
    _, files = build(bench)
    with pytest.raises(Interrupted):
        build(bench, StopAfter(5))
    described = bench.work / "parts" / embed.MACHINE
    described.write_text(described.read_text().replace('"threads": 1', '"threads": 7'))
    said = (bench.work / "events.jsonl").stat().st_size
    assert build(bench)[1] == files
    again = (bench.work / "events.jsonl").read_text()[said:].count('"embedded ')
    assert again == SHARDS


def test_a_corpus_without_marks_of_documents_is_said(bench: BuildContext, tmp_path: Path) -> None:
    """One document for all sentences is one unit of work, and may not be meant."""
    shutil.rmtree(tmp_path / "corpus")
    write_corpus((Sentence(tokens, None, 0, 1, "x") for tokens in CORPUS), tmp_path / "corpus", scheme=None)
    build(dataclasses.replace(bench, config={**CONFIG, "context": "document"}))
    assert "no marks of documents" in (bench.work / "events.jsonl").read_text()


def test_a_shard_that_somebody_else_is_at_is_waited_for(bench: BuildContext) -> None:
    """The others are made meanwhile; when its holder is gone without having made it, it is made here."""
    _, files = build(bench)
    work = work_of(bench)
    held, others = threading.Event(), threading.Event()

    def hold() -> None:
        with locked(work.claim(2)):
            held.set()
            deadline = time.monotonic() + 60
            while missing(work) != [2] and time.monotonic() < deadline:
                time.sleep(0.01)
            if missing(work) == [2]:
                others.set()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    assert build(bench)[1] == files
    assert others.is_set()
    holder.join()


def test_asking_for_places_in_vain_holds_nothing(bench: BuildContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all places are taken each shard asks again, and no file stays open for it."""
    monkeypatch.setattr(embed_shards, "WORTH_SECONDS", -1.0)
    opened: list[int] = []
    say = Journal.progress

    def counted(journal: Journal, *words: Any) -> None:
        opened.append(len(list(Path("/proc/self/fd").iterdir())))
        say(journal, *words)

    monkeypatch.setattr(Journal, "progress", counted)
    with locked(slot_lock(bench.locks, 0)), locked(slot_lock(bench.locks, 1)):
        build(dataclasses.replace(bench, run=RunConfig(device="cpu", workers=2)))
    assert len(opened) == SHARDS
    assert max(opened) == opened[0]  # fewer once the corpus is read to its end


def test_places_that_others_hold_are_left_to_them(tmp_path: Path) -> None:
    """Further processes take free places only, and no more than asked for."""
    with locked(slot_lock(tmp_path, 1)):
        with embed_shards._spare_slots(tmp_path, 4, 2) as found:
            assert found == 2
            with embed_shards._spare_slots(tmp_path, 4, 5) as more:
                assert more == 1
        with embed_shards._spare_slots(tmp_path, 4, 5) as found:
            assert found == 3


@pytest.mark.parametrize(("context", "precision", "layers"), [("document", "float16", "top"),
                                                              ("sentence", "int8", "all")])  # fmt: skip
def test_every_way_of_reading_goes_through_the_stage(
    bench: BuildContext, context: str, precision: str, layers: str
) -> None:
    """The object says what it holds, and counts what is stored."""
    config = {**CONFIG, "context": context, "precision": precision, "layers": layers}
    built, _ = build(dataclasses.replace(bench, config=config))
    cache = EmbeddingCache(bench.out, context=context, precision=precision)
    cache.check(CORPUS)
    assert built.counts["tokens"] == sum(map(len, CORPUS))
    assert built.counts["rows"] == built.counts["tokens"] - (2 if context == "sentence" else 0)
    assert built.counts["size"] == cache.size == len(cache.key.layers) * 10
    assert all(np.isfinite(cache.sentence(number)).all() for number in range(len(CORPUS)))


def test_a_document_is_read_with_carried_state(small: Small) -> None:
    """States of a document are those of its sentences in one stretch, a mark before each."""
    marked: list[Any] = []
    network, words = small.lm.network, small.lm.vocabulary
    document = (("w1", "w2"), ("w3",), ("w4", "w1", "w9"))
    tokens = [token for sentence in document for token in (None, *sentence)]
    found = np.zeros((6, 10), np.float32)
    read_passages(small.lm, [document], [small.lm.config.layers], lambda rows, s: found.__setitem__(rows, s), batch=3)
    state = small.lm.break_state
    table = small.table
    for token in tokens:  # one word after the other
        number = np.array([[0 if token is None else 1 + words.words.index(token)]])
        states, state = network(table.distinct(number.ravel()), torch.zeros(1, 1, dtype=torch.int64), state)
        if token is not None:
            marked.append(states[0, 0].detach().numpy())
    assert np.allclose(found, np.stack(marked), atol=1e-5)


def test_long_passages_pass_in_windows(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    """The window changes no state beyond the last places, for passages that end early and late in it."""
    generator = np.random.default_rng(8)
    passages = [(tuple(f"w{n}" for n in generator.integers(0, 40, size=length)),) for length in (700, 3, 64, 65, 1)]
    rows = sum(len(passage[0]) for passage in passages)

    def read() -> np.ndarray:
        states = np.full((rows, 10), np.nan, np.float32)
        read_passages(small.lm, passages, [small.lm.config.layers], lambda at, s: states.__setitem__(at, s), batch=4)
        return states

    whole = read()
    monkeypatch.setattr("taglm_core.lm.extraction.POSITIONS", 32)
    assert np.abs(read() - whole).max() <= 1e-5 * np.abs(whole).max()


def test_a_model_is_read_without_its_softmax(bench: BuildContext) -> None:
    """It stays on the disk: the memory asked for leaves it out, and predicting says what to do."""
    folder = bench.inputs["language-model"].path
    lm = load_language_model(folder, torch.device("cpu"), predicts=False)
    parameters = sum(parameter.numel() for parameter in lm.network.parameters())
    vectors = 0 if lm.vectors is None else 2 * (folder / "vectors.arrow").stat().st_size
    assert reading_bytes(folder) == 4 * parameters + vectors
    with pytest.raises(RuntimeError, match="predicts=True"):
        lm.network.softmax(torch.zeros(1, 10), torch.zeros(1, dtype=torch.int64))


def test_too_little_memory_is_said_before_anything_is_read(
    bench: BuildContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what it needs, what there is, and what to do."""
    assert available_memory() > 1e8
    monkeypatch.setattr(embed, "available_memory", lambda: 1_000)
    with pytest.raises(OutOfResources, match=r"needs .* MB of memory, and 1.0 kB are available; stop other programs"):
        build(bench)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Makes a disk of so many kilobytes."""
    mounted: list[Path] = []

    def mount(kilobytes: int) -> Path:
        folder = tmp_path / f"disk-{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("a small disk can be mounted only by root, and not in every container")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_too_little_disk_is_said_before_anything_is_computed(
    bench: BuildContext, small_disk: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what the cache needs, what is free, and what to do."""
    work = small_disk(40)
    monkeypatch.setattr(embed, "fill", lambda *_: pytest.fail("something was computed"))
    (work / "fill").write_bytes(bytes(free_disk(work) - 8_192))
    monkeypatch.setattr(ShardWork, "disk_needed", lambda *_: 10_000)
    with pytest.raises(
        OutOfResources, match=r"the cache of 12 tokens needs 10.0 kB of disk, and .* free; free some .*gc"
    ):
        build(dataclasses.replace(bench, work=work))


def test_a_disk_that_runs_full_stops_clearly_and_is_resumed(
    bench: BuildContext, small_disk: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finished shards are kept; once there is room again the run goes on to the bytes of an undisturbed one."""
    _, files = build(bench)
    work = small_disk(24)
    full = dataclasses.replace(bench, work=work)
    monkeypatch.setattr(embed, "require_disk", lambda *_: None)  # something else fills it meanwhile
    with pytest.raises(OutOfResources, match=r"disk is full .*run again"), explain_disk_full(work):
        build(full)
    done = [path.name for path in (work / "parts").glob("part-*")]
    assert 0 < len(done) < SHARDS
    assert not [*(work / "parts").glob(".part-*"), *(work / "parts").glob(".scratch-*")]  # what is half leaves room
    assert all((work / "parts" / name).read_bytes() == files[name] for name in done)
    subprocess.run(["mount", "-o", "remount,size=400k", str(work)], check=True)
    assert build(full)[1] == files


def test_the_index_names_all_it_depends_on(bench: BuildContext) -> None:
    """So that opening can refuse what does not belong."""
    build(bench)
    key = EmbeddingCache(bench.out).key
    assert (key.language_model, key.corpus) == ("language-model", "corpus")
    assert json.loads(json.dumps(dataclasses.asdict(key)))["version"] == 2
    assert (bench.out / INDEX).exists()


def test_what_the_word_vectors_lack_is_said(bench: BuildContext, tmp_path: Path) -> None:
    """Of the corpus' ten different words, fourteen tokens; in the log and as metrics."""
    path = tmp_path / "vectors.txt"
    path.write_text("w1 1 2\nw2 3 4\nother 5 6\n")
    bench.out.mkdir(exist_ok=True)
    built = build_word_vectors(dataclasses.replace(bench, files={"vectors": [path]}))
    assert built.counts == {"rows": 2, "size": 2}
    assert built.metrics == {"missing_rate": pytest.approx(9 / 14), "missing_rate_types": 0.8}
    texts = [event.text for event, _ in read_events(tmp_path / "work" / "events.jsonl")]
    assert texts[0].startswith("vectors.txt has no vectors for 8 of 10 different words (64.3% of all tokens)")
