"""Sentences that a tagger is least sure of, for people to label next."""

from __future__ import annotations

import heapq
import json
import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from taglm import Analysis, Tagger
from taglm_core.formats.annotations import TOKEN_SPANS
from tasks.predicting.rows import Limits, Row, in_blocks

RESERVE = 5
"""Candidates that are kept for each sentence that is asked for: one may replace several that are like it."""

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
        tokenised: whether the row held tokens and no text.
    """

    text: str
    tokens: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]
    entities: tuple[tuple[int, int, str], ...]
    certainty: float
    path: str
    row: int
    tokenised: bool


def suggest(
    tagger: Tagger,
    rows: Iterable[Row],
    count: int,
    *,
    shortest: int = 3,
    longest: int = 100,
    known: Collection[tuple[str, ...]] = (),
    bad_row: Callable[[Row], None] = lambda _: None,
    seen: Callable[[int], None] = lambda _: None,
) -> list[Suggestion]:
    """Return the sentences of which a tagger is least sure, the least certain first; of equal ones the first counts.

    A sentence's certainty is the posterior of its best tags by its length: without the division long sentences would
    always come first. Two sentences are alike if they share `ALIKE` of their words or more, in any case. No two
    results are alike, and none is like a known sentence. Sentences are compared as they are read: one replaces those
    that are like it if it is less certain than each of them, and is left out otherwise. Memory holds `RESERVE`
    candidates for each sentence asked for.

    Args:
        tagger: the tagger.
        rows: texts or tokens.
        count: number of sentences; fewer where no more are left.
        shortest: fewest tokens of a sentence.
        longest: most tokens of a sentence.
        known: tokens of sentences that are not suggested.
        bad_row: is told of each row without a text.
        seen: is told how many sentences were tagged.
    """
    taken = _WordSets()
    for number, tokens in enumerate(known):
        taken.add(number, _words(tokens))
    kept, sets = dict[int, Suggestion](), _WordSets()
    heap: list[tuple[float, int]] = []  # the one to give up first; also of candidates that others have replaced
    for number, one in enumerate(_candidates(tagger, rows, bad_row)):
        seen(number + 1)
        rank, words = (-one.certainty, -number), _words(one.tokens)
        full = len(kept) == RESERVE * count
        if not shortest <= len(one.tokens) <= longest or (full and rank < heap[0]) or taken.alike(words):
            continue
        alike = sets.alike(words)
        if any((-kept[other].certainty, -other) > rank for other in alike):
            continue
        for other in alike:
            del kept[other]
            sets.remove(other)
        kept[number] = one
        sets.add(number, words)
        heapq.heappush(heap, rank)
        if len(kept) > RESERVE * count:
            sets.remove(-heap[0][1])
            del kept[-heap[0][1]]
        while heap and -heap[0][1] not in kept:
            heapq.heappop(heap)
    return sorted(kept.values(), key=lambda one: one.certainty)[:count]


class _WordSets:
    """Sets of words, in which those like another one are found through its rarest words."""

    def __init__(self) -> None:
        self._sets: dict[int, frozenset[str]] = {}
        self._with: defaultdict[str, set[int]] = defaultdict(set)

    def add(self, number: int, words: frozenset[str]) -> None:
        """Add a set under a number that is not in use."""
        self._sets[number] = words
        for word in words:
            self._with[word].add(number)

    def remove(self, number: int) -> None:
        """Remove the set of a number."""
        for word in self._sets.pop(number):
            self._with[word].remove(number)
            if not self._with[word]:
                del self._with[word]

    def alike(self, words: frozenset[str]) -> list[int]:
        """Return the numbers of sets that share `ALIKE` of all words with this one, in their order.

        Such a set shares `ALIKE` of the words of this one. So it has one of any (1 - ALIKE) * n + 1 of its n words.
        """
        enough = math.ceil(len(words) * ALIKE - 1e-9)
        rare = sorted(words, key=lambda word: (len(self._with.get(word, ())), word))[: len(words) - enough + 1]
        near = {number for word in rare for number in self._with.get(word, ())}
        return sorted(n for n in near if len(words & self._sets[n]) >= ALIKE * len(words | self._sets[n]) - 1e-9)


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
        min(0.0, certainty), row.path, row.number, not isinstance(row.content, str),
    )  # fmt: skip


def _words(tokens: Iterable[str]) -> frozenset[str]:
    return frozenset(token.casefold() for token in tokens)


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


def _given_tokens(one: Suggestion) -> dict[str, Any]:
    """Return the places of the tokens where the row held tokens, so that reading keeps them."""
    return {TOKEN_SPANS: [list(span) for span in one.spans]} if one.tokenised else {}


def _doccano(one: Suggestion, model: str) -> dict[str, Any]:
    return {"text": one.text, "label": [list(entity) for entity in one.entities], **_meta(one, model),
            **_given_tokens(one)}  # fmt: skip


def _prodigy(one: Suggestion, model: str) -> dict[str, Any]:
    starts, ends = [start for start, _ in one.spans], [end for _, end in one.spans]
    return {
        "text": one.text,
        "tokens": [{"text": one.text[start:end], "start": start, "end": end, "id": number,
                    "ws": one.text[end : end + 1].isspace()} for number, (start, end) in enumerate(one.spans)],
        "spans": [{"start": start, "end": end, "label": label, "token_start": starts.index(start),
                   "token_end": ends.index(end)} for start, end, label in one.entities],
        "meta": _meta(one, model), **_given_tokens(one),
    }  # fmt: skip


def _task(one: Suggestion, model: str) -> dict[str, Any]:
    def place(offset: int) -> int:
        return len(one.text[:offset].encode("utf-16-le")) // 2

    return {
        "data": {"text": one.text, **_meta(one, model), **_given_tokens(one)},
        "predictions": [{
            "model_version": model, "score": round(math.exp(one.certainty), 6),
            "result": [{"id": f"{start}-{end}", "from_name": "label", "to_name": "text", "type": "labels",
                        "value": {"start": place(start), "end": place(end), "text": one.text[start:end],
                                  "labels": [label]}} for start, end, label in one.entities],
        }],
    }  # fmt: skip
