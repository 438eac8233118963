"""Embed: language-model states, and word vectors, of the tokens of each labelled split.

Shards are the units of work. Every process that works on a cache reads the corpus, finds the same shards, and computes
those that are neither finished nor claimed by another one (a lock on a file, free again when its holder dies).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from taglm_core.config.embedding import EmbeddingConfig
from taglm_core.corpus.parquet import load_sentences, read_corpus
from taglm_core.corpus.word_vectors import read_vectors, write_vectors
from taglm_core.errors import Interrupted, NoRoom, TagLMError
from taglm_core.lm.cache import INDEX, part_name, write_index
from taglm_core.lm.cache_parts import CacheKey, Part, Scratch, read_part, write_part
from taglm_core.lm.extraction import POSITIONS, Shard, cache_key, embed_shard, map_tokens
from taglm_core.lm.model import TrainedLm, load_language_model, load_settings, reading_bytes
from taglm_core.lm.shards import Corpus, lay_out, shards
from taglm_core.stages.building import Bench, Built
from taglm_core.stages.launch import POLL_SECONDS, place_of
from taglm_core.stages.steps import KINDS
from taglm_core.store.durable import locked
from taglm_core.store.room import available_memory, require_disk, size_text
from taglm_core.training.devices import exclusive, open_device
from taglm_core.training.stopping import PR_SET_PDEATHSIG

COVERAGE = "coverage.json"
WORTH_SECONDS = 20.0  # of work that is left: a further process takes some to start
PROCESS_BYTES = 400_000_000  # of a process with its libraries, before it has read anything


@dataclass(frozen=True, slots=True)
class ShardWork:
    """What every process that fills a cache knows.

    Attributes:
        language_model: its object.
        corpus: its object.
        parts: folder of the finished shards.
        config: how states are read out and kept.
        key: what they are.
        rows: tokens of each shard.
    """

    language_model: Path
    corpus: Path
    parts: Path
    config: EmbeddingConfig
    key: CacheKey
    rows: tuple[int, ...]

    def finished(self, shard: int) -> Part | None:
        """A shard's states, if it is finished and whole."""
        return read_part(self.parts / part_name(shard), self.rows[shard], self.key)

    def missing(self) -> list[int]:
        """Shards that are not finished."""
        return [number for number in range(len(self.rows)) if self.finished(number) is None]

    def disk_needed(self, processes: int) -> int:
        """Bytes of what is missing, and of what the processes have in the making."""
        missing = [self.rows[number] for number in self.missing()]
        return self.key.row_bytes * (sum(missing) + sum(sorted(missing)[-processes:]))


def build_embeddings(bench: Bench) -> Built:
    """States of every token of a corpus; finished shards outlive a kill."""
    config = EmbeddingConfig.model_validate(bench.config)
    device = open_device(bench.run.device, bench.run.threads)
    folder, corpus = bench.inputs["language-model"], bench.inputs["corpus"]
    with exclusive(device, bench.locks):
        needed = memory_needed(folder.path, config)
        if needed > (free := available_memory()):
            raise NoRoom(
                f"embedding needs {size_text(needed)} of memory, and {size_text(free)} are available; stop other "
                "programs, set run.workers=1 so that less runs side by side, or take a smaller language model"
            )
        lm = load_language_model(folder.path, device.torch, predicts=False)
        key = cache_key(lm, config, language_model=folder.ref.digest, corpus=corpus.ref.digest,
                        version=KINDS["embeddings"].version)  # fmt: skip
        layout = lay_out(sentences_of(corpus.path), shard_tokens=config.shard_tokens, context=config.context)
        work = ShardWork(folder.path, corpus.path, bench.work / "parts", config, key, tuple(layout.rows))
        work.parts.mkdir(exist_ok=True)
        most = 1 if device.name != "cpu" else bench.run.workers or len(os.sched_getaffinity(0))
        require_disk(bench.work, work.disk_needed(most), f"the cache of {sum(layout.rows):,} tokens")
        _fill(work, lm, bench, most - 1)
    largest = 0.0
    for number in range(len(work.rows)):
        part = work.finished(number)
        assert part is not None
        largest = max(largest, part.largest)
        shutil.move(work.parts / part_name(number), bench.out / part_name(number))
    write_index(bench.out / INDEX, layout.places, layout.digests, key)
    counts = {"sentences": len(layout.places), "tokens": layout.tokens, "rows": sum(layout.rows), "size": key.width}
    metrics = {"largest_state": largest, **unknown_rates(lm, corpus.path, config.token_map)}
    return Built(counts, metrics, machine=device.describe())


def sentences_of(corpus: Path) -> Corpus:
    """Tokens and document of each sentence of a stored corpus."""
    return lambda: ((sentence.tokens, sentence.document_id) for sentence in read_corpus(corpus))


def memory_needed(language_model: Path, config: EmbeddingConfig) -> int:
    """Bytes that one process takes at most: libraries, parameters, and a window's numbers."""
    settings = load_settings(language_model)
    wide = 4 * settings.units + 2 * settings.layers * settings.projection + 2 * settings.input.size
    window = 4 * wide * max(POSITIONS, config.batch_sentences)
    encoded = 4 * 2 * settings.input.size * config.shard_tokens
    return PROCESS_BYTES + reading_bytes(language_model) + window + encoded


def make_shard(work: ShardWork, lm: TrainedLm, shard: Shard, between: Callable[[], None]) -> bool:
    """Compute a shard, unless it is finished or somebody else is at it; gives whether it was made here."""
    if work.finished(shard.number) is not None:
        return False
    with locked(work.parts / claim_name(shard.number), wait=False) as mine:
        if not mine or work.finished(shard.number) is not None:
            return False
        scratch = Scratch(work.parts / f".scratch-{shard.number:05d}", shard.rows, work.key)
        try:
            embed_shard(lm, shard, work.key, scratch.put, batch=work.config.batch_sentences, between=between)
            write_part(work.parts / part_name(shard.number), scratch.rows, scratch.largest)
        finally:
            scratch.remove()
    return True


def claim_name(shard: int) -> str:
    """Name of the file whose lock says that somebody works on a shard."""
    return f".claim-{shard:05d}"


def _fill(work: ShardWork, lm: TrainedLm, bench: Bench, spare: int) -> None:
    """Make all shards; further processes help where there are free places and enough is left to do."""
    total, begun = sum(work.rows), time.monotonic()

    def check() -> None:
        if bench.stop.requested:
            done = len(work.rows) - len(work.missing())
            raise Interrupted(f"stopped after {done} shards ({bench.stop.reason}); run again to go on")

    with contextlib.ExitStack() as helping:
        helpers, mine = False, 0
        while missing := work.missing():
            check()
            for shard in shards(sentences_of(work.corpus), shard_tokens=work.config.shard_tokens,
                                context=work.config.context):  # fmt: skip
                if not make_shard(work, lm, shard, check):
                    continue
                mine += 1
                missing = work.missing()
                read = total - sum(work.rows[number] for number in missing)
                bench.journal.progress(shard.number, read, total, f"embedded {read:,} of {total:,} tokens")
                if not helpers and (time.monotonic() - begun) / mine * len(missing) > WORTH_SECONDS:
                    helpers = True
                    count = _processes(work, spare, len(missing) - 1)
                    places = helping.enter_context(_spare_places(bench.locks, spare + 1, count))
                    helping.enter_context(_helpers(work, places, bench.run.threads))
            if missing := work.missing():  # somebody else is at them: wait for the first
                _wait_for(work.parts / claim_name(missing[0]), check)


def _processes(work: ShardWork, places: int, shards_left: int) -> int:
    """How many further processes places, memory and what is left to do allow."""
    room = available_memory() // memory_needed(work.language_model, work.config)
    return max(0, min(places, shards_left, room))


def _wait_for(claim: Path, check: Callable[[], None]) -> None:
    while True:
        with locked(claim, wait=False) as free:
            if free:
                return
        check()
        time.sleep(POLL_SECONDS)


@contextlib.contextmanager
def _spare_places(locks: Path, count: int, wanted: int) -> Iterator[int]:
    """Hold up to `wanted` of the places for training processes that nobody needs now; gives how many."""
    with contextlib.ExitStack() as held:
        found = 0
        for number in range(count):
            if found < wanted and held.enter_context(locked(place_of(locks, number), wait=False)):
                found += 1
        yield found


@contextlib.contextmanager
def _helpers(work: ShardWork, count: int, threads: int) -> Iterator[None]:
    """Processes that work on the same cache; they end with this block, or with this process."""
    context = multiprocessing.get_context("spawn")
    running = [context.Process(target=_help, args=(work, os.getpid(), threads), daemon=True) for _ in range(count)]
    try:
        for process in running:
            process.start()
        yield
    finally:
        for process in running:
            process.kill()  # whatever it was at is made again: a shard has its name only when it is whole
            process.join()


def _help(work: ShardWork, parent: int, threads: int) -> None:
    """A further process: goes once through the shards."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the process that ends this one
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    device = open_device("cpu", threads)
    lm = load_language_model(work.language_model, device.torch, predicts=False)

    def check() -> None:
        if os.getppid() != parent:
            raise SystemExit(1)

    with contextlib.suppress(OSError, TagLMError):  # the process that started this one meets it, too, and says it
        for shard in shards(sentences_of(work.corpus), shard_tokens=work.config.shard_tokens,
                            context=work.config.context):  # fmt: skip
            check()
            make_shard(work, lm, shard, check)


def unknown_rates(lm: TrainedLm, corpus: Path, token_map: Mapping[str, str]) -> dict[str, float]:
    """Share of tokens that the language model's vocabulary lacks, over all and over those of entities."""
    counts: Counter[str] = Counter()
    inside: Counter[str] = Counter()
    for sentence in read_corpus(corpus):
        tokens = map_tokens(sentence.tokens, token_map)
        counts.update(tokens)
        inside.update(token for token, tag in zip(tokens, sentence.tags or (), strict=False) if tag != "O")
    words = list(counts)
    unknown = {word for word, out in zip(words, lm.vocabulary.is_unknown(lm.vocabulary.ids(words)), strict=True) if out}
    shares = {"unknown_rate": counts, "unknown_rate_entities": inside}
    return {name: sum(n for word, n in found.items() if word in unknown) / found.total()
            for name, found in shares.items() if found}  # fmt: skip


def build_word_vectors(bench: Bench) -> Built:
    """The rows of a vector file that the words of one split look up, with a coverage report."""
    counts = Counter(token for tokens, _ in load_sentences(bench.inputs["corpus"].path) for token in tokens)
    (path,) = bench.files["vectors"]
    vectors = read_vectors(path, counts.keys(), counts=counts)
    write_vectors(vectors, bench.out)
    (bench.out / COVERAGE).write_text(json.dumps(vectors.coverage, indent=1, sort_keys=True), encoding="utf-8")
    return Built({"rows": len(vectors.words), "size": vectors.dim}, not_payload=(COVERAGE,))
