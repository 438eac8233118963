"""Documents to sentences of tokens, in several processes.

The processes are spawned, never forked, so that threads of the caller do no harm. Blocks of documents depend on the
documents alone, and their results are taken in order, so that the number of processes changes nothing.
"""

from __future__ import annotations

import contextlib
import functools
import json
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from typing import Any

import pyarrow as pa

from taglm_core.config.raw_text import TextConfig
from taglm_core.errors import ChildFailed
from taglm_core.formats.documents import Document
from taglm_core.text.segmenter import Segmenter, TokenizerRecord
from taglm_core.text.spelling import Spelling

BLOCK = 2**20
"""Characters of a block of documents; the last document of a block may exceed it."""

SMALL = 2
"""Blocks that are not worth the start of processes."""

_MOST_WAITING = 64 * 2**20  # characters of blocks in flight, if more than one is
Block = tuple[list[int], list[str | list[str]]]
"""Numbers and texts of some documents; a list of tokens is a sentence as it is."""


def record_of(config: Mapping[str, Any]) -> TokenizerRecord | None:
    """Return the tokenizer of a step; None if its text comes tokenised.

    Raises:
        MissingLibrary: the tokenizer's library is not installed.
    """
    if "tokenizer" not in config:
        return None
    text = TextConfig.model_validate({name: config[name] for name in ("language", "tokenizer", "spelling")})
    return TokenizerRecord.of(text, Spelling.named(text.spelling))


def segment(
    documents: Iterable[Document],
    record: TokenizerRecord | None,
    *,
    processes: int,
    check_stop: Callable[[], None] = lambda: None,
) -> Iterator[pa.RecordBatch]:
    """Yield the sentences of documents as batches of `document_id` (int64) and `tokens` (list of strings), in order.

    Args:
        documents: the documents; all tokenised if there is no record.
        record: the tokenizer.
        processes: most processes; small texts are segmented in this one.
        check_stop: called between blocks; raises to stop.

    Raises:
        ChildFailed: a process died.
    """
    given = "" if record is None else json.dumps(record.to_json())
    blocks = _blocks(documents)
    first = list(islice(blocks, SMALL + 1))
    if processes == 1 or not given or len(first) <= SMALL:
        for block in chain(first, blocks):
            check_stop()
            yield _segmented(given, block)
        return
    spawn = multiprocessing.get_context("spawn")
    with _ended(ProcessPoolExecutor(processes, spawn, _prepare)) as pool:
        waiting: deque[tuple[int, Future[pa.RecordBatch]]] = deque()
        try:
            for block in chain(first, blocks):
                size = sum(map(len, block[1]))
                while len(waiting) > processes or (waiting and sum(n for n, _ in waiting) + size > _MOST_WAITING):
                    check_stop()
                    yield waiting.popleft()[1].result()
                waiting.append((size, pool.submit(_segmented, given, block)))
            while waiting:
                check_stop()
                yield waiting.popleft()[1].result()
        except BrokenProcessPool as error:
            raise ChildFailed(
                "a process that splits text into tokens ended without a result; it may have run out of memory: set "
                "run.workers=1"
            ) from error


@contextlib.contextmanager
def _ended(pool: ProcessPoolExecutor) -> Iterator[ProcessPoolExecutor]:
    """End a pool with the block of code, without the work that has not begun."""
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _blocks(documents: Iterable[Document]) -> Iterator[Block]:
    numbers: list[int] = []
    texts: list[str | list[str]] = []
    size = 0
    for document in documents:
        numbers.append(document.number)
        texts.append(document.text)
        size += len(document.text) if isinstance(document.text, str) else sum(map(len, document.text))
        if size >= BLOCK:
            yield numbers, texts
            numbers, texts, size = [], [], 0
    if numbers:
        yield numbers, texts


def _segmented(record: str, block: Block) -> pa.RecordBatch:
    """Return the sentences of a block."""
    ids: list[int] = []
    offsets, tokens = [0], list[str]()
    segmenter = _segmenter(record) if record else None
    for number, text in zip(*block, strict=True):
        if isinstance(text, str):
            assert segmenter is not None
            sentences = segmenter.tokens(text)
        else:
            sentences = iter([text])
        for sentence in sentences:
            ids.append(number)
            tokens += sentence
            offsets.append(len(tokens))
    lists = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(tokens, pa.string()))
    return pa.record_batch({"document_id": pa.array(ids, pa.int64()), "tokens": lists})


@functools.lru_cache(maxsize=1)
def _segmenter(record: str) -> Segmenter:
    """Return the segmenter of a record; its processes keep it, with the tokens of the chunks that they met."""
    return Segmenter(TokenizerRecord.from_json(json.loads(record)))


def _prepare() -> None:
    """Leave Ctrl-C to the process that started this one, and end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
