"""Fill an embedding cache, shard by shard, with any number of processes.

Each process reads the corpus, finds the same shards, and computes those that are neither finished nor claimed by
another process. A claim is a lock on a file, which the system frees when its holder dies. A shard gets its name when it
is whole and on the disk.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from taglm_core.config.embedding import EmbeddingConfig
from taglm_core.corpus.parquet import read_corpus
from taglm_core.errors import Interrupted, TagLMError
from taglm_core.lm.cache import part_name
from taglm_core.lm.cache_parts import CacheKey, Part, Scratch, read_part, write_part
from taglm_core.lm.extraction import ENCODED, POSITIONS, Shard, embed_shard
from taglm_core.lm.model import TrainedLm, load_language_model, load_settings, reading_bytes
from taglm_core.lm.shards import Corpus, shards
from taglm_core.pipeline.build import BuildContext
from taglm_core.process.slots import slot_lock
from taglm_core.store.durable import locked
from taglm_core.store.resources import available_memory, cores
from taglm_core.training.devices import open_device
from taglm_core.training.stopping import PR_SET_PDEATHSIG

POLL_SECONDS = 0.3
WORTH_SECONDS = 20.0  # least remaining work that is worth starting a further process
PROCESS_BYTES = 400_000_000  # memory of a process with its libraries, before it reads anything


@dataclass(frozen=True, slots=True)
class ShardWork:
    """Description of a cache for the processes that fill it.

    Attributes:
        language_model: folder of the language model.
        corpus: folder of the corpus.
        parts: folder of the finished shards.
        config: settings of the embeddings.
        key: key of the cache.
        rows: number of tokens of each shard.
    """

    language_model: Path
    corpus: Path
    parts: Path
    config: EmbeddingConfig
    key: CacheKey
    rows: tuple[int, ...]

    def shards(self) -> Iterator[Shard]:
        """Yield all shards, finished or not, read from the corpus."""
        return shards(sentences_of(self.corpus), shard_tokens=self.config.shard_tokens, context=self.config.context)

    def part(self, shard: int) -> Path:
        """Return the path of a shard; the file exists once the shard is finished."""
        return self.parts / part_name(shard)

    def finished(self, shard: int) -> Part | None:
        """Return a shard's states; None unless it is finished and whole."""
        return read_part(self.part(shard), self.rows[shard], self.key)

    def claim(self, shard: int) -> Path:
        """Return the file whose lock says that a process works on a shard."""
        return self.parts / f".claim-{shard:05d}"

    def tidy(self) -> list[int]:
        """Remove leftovers of killed processes and unreadable shards; return the numbers of missing shards.

        Call it only while no process works on the cache.
        """
        for left in (*self.parts.glob(".scratch-*"), *self.parts.glob(".part-*")):
            left.unlink()
        missing = [number for number in range(len(self.rows)) if self.finished(number) is None]
        for number in missing:
            self.part(number).unlink(missing_ok=True)
        return missing

    def disk_needed(self, missing: list[int], processes: int) -> int:
        """Return the bytes of missing shards, and of the shards that `processes` processes have in the making."""
        rows = sorted(self.rows[number] for number in missing)
        return self.key.row_bytes * (sum(rows) + sum(rows[-processes:]))

    def memory_needed(self) -> int:
        """Return the bytes of memory that one process takes at most."""
        return memory_needed(self.language_model, max(self.rows, default=0), self.config.batch_sentences)


def sentences_of(corpus: Path) -> Corpus:
    """Return the corpus whose sentences a stored corpus has: their tokens and documents."""
    return lambda: ((sentence.tokens, sentence.document_id) for sentence in read_corpus(corpus))


def memory_needed(language_model: Path, words: int, batch: int) -> int:
    """Return the bytes that a reading process takes: libraries, parameters, distinct words, a window, characters.

    Args:
        language_model: folder of the language model.
        words: most distinct words of a shard, at most its tokens.
        batch: number of passages in a batch.
    """
    settings = load_settings(language_model)
    wide = 4 * settings.units + 2 * settings.layers * settings.projection + 2 * settings.input.size
    window = 4 * wide * max(POSITIONS, batch)
    vectors = words * (4 * settings.input.size + 300)  # and the words as Python strings
    characters = 0
    if settings.input.kind == "char-cnn":
        widest = max(count for _, count in settings.input.filters) + settings.input.dim
        characters = 2 * 4 * min(words, ENCODED) * settings.input.max_bytes * widest
    return PROCESS_BYTES + reading_bytes(language_model) + window + vectors + characters


def make_shard(work: ShardWork, lm: TrainedLm, shard: Shard, check_stop: Callable[[], None]) -> bool:
    """Compute a shard, unless it is finished or somebody else is at it; gives whether it was made here."""
    if work.part(shard.number).exists():
        return False
    with locked(work.claim(shard.number), wait=False) as mine:
        if not mine or work.part(shard.number).exists():
            return False
        scratch = Scratch(work.parts / f".scratch-{shard.number:05d}", shard.rows, work.key)
        try:
            embed_shard(lm, shard, work.key, scratch.put, batch=work.config.batch_sentences, check_stop=check_stop)
            write_part(work.part(shard.number), scratch.rows, scratch.largest)
        finally:
            scratch.remove()
    return True


def fill(work: ShardWork, lm: TrainedLm, context: BuildContext, missing: list[int], spare: int) -> None:
    """Make all missing shards, with further processes if slots are free and enough work is left.

    Args:
        work: the cache.
        lm: its language model.
        context: run settings and journal.
        missing: numbers of the missing shards.
        spare: most further processes.

    Raises:
        Interrupted: a stop was requested; finished shards stay.
    """
    total, begun = len(missing), time.monotonic()

    def open_shards() -> list[int]:
        return [number for number in missing if not work.part(number).exists()]

    def check() -> None:
        if context.stop.requested:
            done = len(work.rows) - len(open_shards())
            raise Interrupted(f"stopped after {done} shards ({context.stop.reason}); run again to go on")

    with contextlib.ExitStack() as helping:
        helpers = 0
        while missing := open_shards():
            wanted = set(missing)
            for shard in work.shards():
                if shard.number not in wanted or not make_shard(work, lm, shard, check):
                    continue
                left = open_shards()
                read = sum(work.rows) - sum(work.rows[number] for number in left)
                text = f"embedded {read:,} of {sum(work.rows):,} tokens"
                context.journal.progress(shard.number, read, sum(work.rows), text)
                pace = (time.monotonic() - begun) / max(1, total - len(left))
                if not helpers and pace * len(left) > WORTH_SECONDS:
                    with contextlib.ExitStack() as asked:
                        helpers = asked.enter_context(_helpers(work, context, min(spare, len(left) - 1)))
                        if helpers:  # otherwise no slot was free: hold nothing, and try again after the next shard
                            helping.push(asked.pop_all())
            while missing := open_shards():  # other processes work on them: wait until one is free
                check()
                if _free(work.claim(missing[0])):
                    break
                time.sleep(POLL_SECONDS)


def _free(claim: Path) -> bool:
    with locked(claim, wait=False) as free:
        return free


@contextlib.contextmanager
def _helpers(work: ShardWork, context: BuildContext, wanted: int) -> Iterator[int]:
    """Run as many processes on the same cache as slots and memory allow, until the block ends.

    Yield their number.
    """
    wanted = max(0, min(wanted, available_memory() // work.memory_needed()))
    slots = context.run.workers or cores()
    spawn = multiprocessing.get_context("spawn")
    with _spare_slots(context.locks, slots, wanted) as count:
        running = [
            spawn.Process(target=_help, args=(work, os.getpid(), context.run.threads), daemon=True)
            for _ in range(count)
        ]
        try:
            for process in running:
                process.start()
            yield count
        finally:
            for process in running:
                if process.exitcode:  # its unfinished shard is made again here
                    context.journal.message(0, f"a process that helped ended with status {process.exitcode}")
                process.kill()
                process.join()


@contextlib.contextmanager
def _spare_slots(locks: Path, count: int, wanted: int) -> Iterator[int]:
    """Hold up to `wanted` free ones of the `count` slots for training processes; yield their number."""
    with contextlib.ExitStack() as held:
        found = 0
        for number in range(count):
            if found < wanted and held.enter_context(locked(slot_lock(locks, number), wait=False)):
                found += 1
        yield found


def _help(work: ShardWork, parent: int, threads: int) -> None:
    """Go through the shards once, as a further process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends this process
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    device = open_device("cpu", threads)
    lm = load_language_model(work.language_model, device.torch, predicts=False)

    def check() -> None:
        if os.getppid() != parent:
            raise SystemExit(1)

    with contextlib.suppress(OSError, TagLMError):  # the parent meets the same error and reports it
        for shard in work.shards():
            check()
            make_shard(work, lm, shard, check)
