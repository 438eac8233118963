"""Predictions for concurrent requests: one thread tags together what has arrived."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from taglm.entities import Entity
from taglm.serving.models import ServedModel
from taglm.tagger import Tagger

logger = logging.getLogger("taglm")
Input = str | list[str]  # a text, or the tokens of a sentence
COLLECT_SECONDS = 0.005  # how long a batch waits for more requests, if the one before it had several
BATCH_CHARACTERS = 100_000  # a batch of this size waits for no more requests


class QueueFull(Exception):
    """More requests wait than the server keeps."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """Answer to a request.

    Attributes:
        model: the tagger that gave it.
        entities: all entities of each text.
        baseline: what the baseline says, if it was asked for and there is one.
    """

    model: ServedModel
    entities: list[list[Entity]]
    baseline: list[list[Entity]] | None = None


@dataclass(frozen=True, slots=True)
class _Request:
    inputs: Sequence[Input]
    baseline: bool
    answer: Future[Prediction] = field(default_factory=Future)

    @property
    def characters(self) -> int:
        return sum(map(characters_of, self.inputs))


def characters_of(given: Input) -> int:
    """Return the characters of a text, or of tokens joined by spaces."""
    return len(given) if isinstance(given, str) else sum(map(len, given)) + len(given)


class Batcher:
    """Tags the texts of concurrent requests together, in one thread.

    Args:
        model: returns the tagger to use; asked once for each batch.
        waiting: number of requests that may wait.
    """

    def __init__(self, model: Callable[[], ServedModel], waiting: int) -> None:
        self._model = model
        self._queue: queue.Queue[_Request | None] = queue.Queue(waiting)
        self._thread = threading.Thread(target=self._work, name="taglm-predict", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Answer what waits, then end the thread."""
        self._queue.put(None)
        self._thread.join()

    def submit(self, inputs: Sequence[Input], *, baseline: bool = False) -> Future[Prediction]:
        """Return the future answer to a request; a request that is cancelled before its turn costs nothing.

        Args:
            inputs: texts, or tokenised sentences.
            baseline: whether to ask the baseline too.

        Raises:
            QueueFull: too many requests wait.
        """
        request = _Request(inputs, baseline)
        try:
            self._queue.put_nowait(request)
        except queue.Full:
            raise QueueFull from None
        return request.answer

    def _work(self) -> None:
        several = False
        while (first := self._queue.get()) is not None:
            batch, ended = self._collected(first, COLLECT_SECONDS if several else 0.0)
            several = len(batch) > 1
            self._answer([request for request in batch if request.answer.set_running_or_notify_cancel()])
            if ended:
                return

    def _collected(self, first: _Request, seconds: float) -> tuple[list[_Request], bool]:
        """Return the requests to answer together, and whether the queue was closed."""
        batch, size, until = [first], first.characters, time.monotonic() + seconds
        while size < BATCH_CHARACTERS:
            left = until - time.monotonic()
            try:
                found = self._queue.get(timeout=left) if left > 0 else self._queue.get_nowait()
            except queue.Empty:
                break
            if found is None:
                return batch, True
            batch.append(found)
            size += found.characters
        return batch, False

    def _answer(self, batch: Sequence[_Request]) -> None:
        if not batch:
            return
        try:
            model = self._model()
            found = _tagged(model.tagger, batch)
            compared = [request for request in batch if request.baseline]
            other = _tagged(model.baseline, compared) if model.baseline is not None else []
            others = dict(zip(map(id, compared), other, strict=False))
        except Exception as error:
            logger.error("a request failed", exc_info=error)
            for request in batch:
                request.answer.set_exception(error)
            return
        for request, entities in zip(batch, found, strict=True):
            request.answer.set_result(Prediction(model, entities, others.get(id(request))))


def _tagged(tagger: Tagger, batch: Sequence[_Request]) -> list[list[list[Entity]]]:
    """Return the entities of each input of each request."""
    inputs = [given for request in batch for given in request.inputs]
    texts = [given for given in inputs if isinstance(given, str)]
    tokens = [given for given in inputs if not isinstance(given, str)]
    of_texts = iter(tagger.tag(texts))
    of_tokens = iter(tagger.tag_tokens(tokens) if tokens else ())
    return [
        [next(of_texts) if isinstance(given, str) else next(of_tokens) for given in request.inputs] for request in batch
    ]
