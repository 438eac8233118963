"""Layout of a cache: the rows of each sentence of a corpus, decided before anything is computed.

It depends on the corpus and the configuration alone, so every process that reads the corpus finds the same layout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from taglm_core.config.embedding import Context
from taglm_core.lm.cache import RowRange, token_digest
from taglm_core.lm.extraction import Passage, Shard, Tokens, passages_of

Corpus = Callable[[], Iterable[tuple[Tokens, int]]]
"""Returns the sentences of a corpus with their document numbers, from the first one at each call."""


@dataclass(slots=True)
class Layout:
    """The rows of a corpus's sentences.

    Attributes:
        ranges: rows of each sentence; identical sentences share one unless the context is the document.
        digests: token digest of each sentence.
        rows: number of tokens of each shard.
        tokens: number of tokens of the corpus.
    """

    ranges: list[RowRange] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    tokens: int = 0


def lay_out(corpus: Corpus, *, shard_tokens: int, context: Context) -> Layout:
    """Assign rows to every sentence; reads the corpus once."""
    layout = Layout()
    for _ in _walk(corpus(), shard_tokens, context, layout):
        pass
    return layout


def shards(corpus: Corpus, *, shard_tokens: int, context: Context) -> Iterator[Shard]:
    """Yield the shards one after the other; memory holds one, and the digests of distinct sentences."""
    return _walk(corpus(), shard_tokens, context, None)


def _walk(sentences: Iterable[tuple[Tokens, int]], shard_tokens: int, context: Context,
          layout: Layout | None) -> Iterator[Shard]:  # fmt: skip
    known: dict[bytes, RowRange] = {}
    number = row = 0
    current: list[Passage] = []
    for passage in passages_of(sentences, context):
        digests = [token_digest(tokens) for tokens in passage]
        found = known.get(digests[0]) if context is Context.SENTENCE else None
        if found is None:
            if row >= shard_tokens:
                yield _close(number, current, row, layout)
                number, row, current = number + 1, 0, []
            current.append(passage)
        for tokens, digest in zip(passage, digests, strict=True):
            rows = found or RowRange(number, row, len(tokens))
            if found is None:
                row += len(tokens)
            if context is Context.SENTENCE:
                known[digest] = rows
            if layout is not None:
                layout.ranges.append(rows)
                layout.digests.append(digest)
                layout.tokens += len(tokens)
    if current:
        yield _close(number, current, row, layout)


def _close(number: int, passages: list[Passage], rows: int, layout: Layout | None) -> Shard:
    if layout is not None:
        layout.rows.append(rows)
    return Shard(number, tuple(passages))
