"""Sentences that a tagger is least sure of, for people to label next."""

from __future__ import annotations

import heapq
import itertools
import json
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from taglm import Analysis, Tagger
from tasks.predicting.rows import Limits, Row, in_blocks

RESERVE = 5
"""Candidates that are kept for each sentence that is asked for: some are near-duplicates of others."""

ALIKE = 0.8
"""Share of common words (Jaccard) from which on two sentences are near-duplicates."""

_LEAST = -745.0  # logarithm of a probability that float64 rounds to 0
_BLOCK = Limits(rows=1_000, characters=500_000)


class Tool(StrEnum):
    """Annotation tools whose import is written."""

    DOCCANO = "doccano"
    LABEL_STUDIO = "label-studio"
    PRODIGY = "prodigy"


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A sentence to label, with the entities that the tagger finds in it.

    Attributes:
        text: the sentence as it stands in the source.
        tokens: its n tokens.
        spans: start and end of each token in `text`, in code points.
        entities: start, end and label of each entity in `text`.
        certainty: log P(best tags | sentence) / n; 0 where the tagger is certain.
        path: the file.
        row: row of the file, from 1.
    """

    text: str
    tokens: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]
    entities: tuple[tuple[int, int, str], ...]
    certainty: float
    path: str
    row: int


@dataclass(order=True)
class _Kept:
    """A candidate in the heap, whose first element is the one to give up."""

    rank: tuple[float, int]
    suggestion: Suggestion = field(compare=False)


def suggest(
    tagger: Tagger,
    rows: Iterable[Row],
    count: int,
    *,
    shortest: int = 3,
    longest: int = 100,
    known: Collection[tuple[str, ...]] = (),
    bad_row: Callable[[Row], None] = lambda _: None,
) -> list[Suggestion]:
    """Return the sentences of which a tagger is least sure, the least certain first; of equal ones the first counts.

    A sentence's certainty is the posterior of its best tags by its length: without the division long sentences would
    always come first. Memory holds `RESERVE` candidates for each sentence asked for.

    Args:
        tagger: the tagger.
        rows: texts or tokens.
        count: number of sentences; fewer where there are no more that differ.
        shortest: fewest tokens of a sentence.
        longest: most tokens of a sentence.
        known: tokens of sentences that are not suggested, in any case.
        bad_row: is told of each row without a text.
    """
    taken = {_key(tokens) for tokens in known}
    heap: list[_Kept] = []
    in_heap: set[tuple[str, ...]] = set()
    for number, one in enumerate(_candidates(tagger, rows, bad_row)):
        key = _key(one.tokens)
        if not shortest <= len(one.tokens) <= longest or key in taken or key in in_heap:
            continue
        kept = _Kept((-one.certainty, -number), one)
        if len(heap) < RESERVE * count:
            heapq.heappush(heap, kept)
        elif kept > heap[0]:
            in_heap.remove(_key(heapq.heapreplace(heap, kept).suggestion.tokens))
        else:
            continue
        in_heap.add(key)
    return list(itertools.islice(_different(sorted(heap, reverse=True)), count))


def _candidates(tagger: Tagger, rows: Iterable[Row], bad_row: Callable[[Row], None]) -> Iterator[Suggestion]:
    for block in in_blocks(rows, _BLOCK):
        found = tagger.analyse_all((row.content for row in block if row.content is not None), n_best=1)
        for row in block:
            if row.content is None:
                bad_row(row)
                continue
            whole = row.content if isinstance(row.content, str) else " ".join(row.content)
            for sentence in next(found):
                if sentence.tokens:
                    yield _suggestion(whole, sentence, row)


def _suggestion(whole: str, found: Analysis, row: Row) -> Suggestion:
    first, last = found.spans[0][0], found.spans[-1][1]
    chance = found.paths[0][1] if found.paths else 0.0
    certainty = (math.log(chance) if chance > 0 else _LEAST) / len(found.tokens)
    return Suggestion(
        whole[first:last], found.tokens, tuple((start - first, end - first) for start, end in found.spans),
        tuple((entity.start - first, entity.end - first, entity.label) for entity in found.entities),
        min(0.0, certainty), row.path, row.number,
    )  # fmt: skip


def _key(tokens: Sequence[str]) -> tuple[str, ...]:
    return tuple(token.casefold() for token in tokens)


def _different(candidates: Iterable[_Kept]) -> Iterator[Suggestion]:
    """Yield candidates that share fewer than `ALIKE` of their words with each one before."""
    chosen: list[frozenset[str]] = []
    for candidate in candidates:
        words = frozenset(_key(candidate.suggestion.tokens))
        if all(len(words & other) < ALIKE * len(words | other) for other in chosen):
            chosen.append(words)
            yield candidate.suggestion


def written(suggestions: Sequence[Suggestion], tool: Tool, model: str) -> str:
    """Return suggestions as an annotation tool imports them: JSON lines, for Label Studio one JSON array.

    Args:
        suggestions: the sentences.
        tool: the tool. Label Studio counts offsets in UTF-16 units, the others in code points.
        model: name of the tagger.
    """
    if tool is Tool.LABEL_STUDIO:
        return json.dumps([_task(one, model) for one in suggestions], ensure_ascii=False, indent=1) + "\n"
    record = _doccano if tool is Tool.DOCCANO else _prodigy
    return "".join(f"{json.dumps(record(one, model), ensure_ascii=False)}\n" for one in suggestions)


def _meta(one: Suggestion, model: str) -> dict[str, Any]:
    return {"source": one.path, "row": one.row, "certainty": round(one.certainty, 6), "model": model}


def _doccano(one: Suggestion, model: str) -> dict[str, Any]:
    return {"text": one.text, "label": [list(entity) for entity in one.entities], **_meta(one, model)}


def _prodigy(one: Suggestion, model: str) -> dict[str, Any]:
    starts, ends = [start for start, _ in one.spans], [end for _, end in one.spans]
    return {
        "text": one.text,
        "tokens": [{"text": one.text[start:end], "start": start, "end": end, "id": number,
                    "ws": one.text[end : end + 1].isspace()} for number, (start, end) in enumerate(one.spans)],
        "spans": [{"start": start, "end": end, "label": label, "token_start": starts.index(start),
                   "token_end": ends.index(end)} for start, end, label in one.entities],
        "meta": _meta(one, model),
    }  # fmt: skip


def _task(one: Suggestion, model: str) -> dict[str, Any]:
    def place(offset: int) -> int:
        return len(one.text[:offset].encode("utf-16-le")) // 2

    return {
        "data": {"text": one.text, **_meta(one, model)},
        "predictions": [{
            "model_version": model, "score": round(math.exp(one.certainty), 6),
            "result": [{"id": f"{start}-{end}", "from_name": "label", "to_name": "text", "type": "labels",
                        "value": {"start": place(start), "end": place(end), "text": one.text[start:end],
                                  "labels": [label]}} for start, end, label in one.entities],
        }],
    }  # fmt: skip
