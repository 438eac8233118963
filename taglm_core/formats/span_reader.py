"""From texts with spans of characters to sentences with tags.

A span is given in the unit of the tool that wrote it. It becomes a run of whole tokens, and tags in BIOES. Nothing is
lost without a count: `spans` = entities + `spans_repeated` + all `spans_dropped_*`.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from taglm_core.config.data import Misaligned, OffsetUnit
from taglm_core.corpus.bad_lines import MAX_NAMED, BadLine, error_of
from taglm_core.corpus.conll_faults import Faults
from taglm_core.corpus.schemes import Scheme, Span, from_spans
from taglm_core.corpus.sentence import ReadCounts, Sentence
from taglm_core.errors import MisalignedSpans
from taglm_core.formats.offsets import GivenSpan, covered, same_words, to_characters
from taglm_core.text.segmenter import Segmenter

SHOWN = 5
"""Refused spans that an error names."""

_EXPECTED = "spans of whole tokens that do not overlap"
_REMEDY = (
    "correct the spans, or set labelled.misaligned: widen (spans that cut a token get the whole token, the longest of "
    "overlapping spans stays, all others are dropped) or drop (spans that cut a token are dropped, too)"
)
_AROUND = 20  # characters shown before and after a span


@dataclass(frozen=True, slots=True)
class AnnotatedText:
    """A document.

    Attributes:
        text: the text, as the tool counted its characters.
        spans: its spans in any order.
        path: the file, for messages.
        line: line where the document begins, or number of its record.
        tokens: start and end of each token in code points where the file has tokens; None: `Segmenter` makes them.
        starts: positions of tokens in `tokens` that begin a sentence; None: `Segmenter` finds them.
        has_lines: whether each line of the text is a line of the file.
    """

    text: str
    spans: Sequence[GivenSpan]
    path: str
    line: int
    tokens: Sequence[tuple[int, int]] | None = None
    starts: Sequence[int] | None = None
    has_lines: bool = False


@dataclass
class _OwnTexts:
    """The spans of one file that carry their own text, and the units in which all of them fit."""

    spans: int = 0
    fits: Counter[OffsetUnit] = field(default_factory=Counter)
    faults: Faults = field(default_factory=Faults)


@dataclass(frozen=True, slots=True)
class _Placed:
    """A span on the tokens of its document: the first one, the one after the last, and its length in characters."""

    first: int
    end: int
    given: GivenSpan
    length: int
    widened: bool = False


class SpanReader:
    """Turns texts with spans into sentences.

    Args:
        segmenter: finds sentences and tokens.
        unit: unit of offsets.
        misaligned: what becomes of spans that tags cannot express.
        counts: receives counts (`met`) and the first changed spans (`oddities`).
    """

    def __init__(self, segmenter: Segmenter, unit: OffsetUnit, misaligned: Misaligned, counts: ReadCounts) -> None:
        self._segmenter, self._unit, self._policy, self._counts = segmenter, unit, misaligned, counts
        self._refused = Faults()
        self._own: dict[str, _OwnTexts] = {}

    def sentences(self, documents: Iterable[AnnotatedText]) -> Iterator[Sentence]:
        """Yield the sentences of all documents, with tags in BIOES.

        Raises:
            InputError: at the end: spans that do not cover the text that the file gives for them.
            MisalignedSpans: at the end: spans that `misaligned: refuse` refuses.
        """
        for number, document in enumerate(documents):
            yield from self._document(number, document)
        self._judge()

    def _document(self, number: int, document: AnnotatedText) -> Iterator[Sentence]:
        tokens, words, starts = self._tokens(document)
        spans = self._placed(document, tokens)
        edges = [*starts, len(tokens)]
        for span in spans:  # a sentence boundary inside a span is none
            inside = edges[bisect_right(edges, span.first) : bisect_left(edges, span.end)]
            self._count("sentences_joined", len(inside))
            edges = [edge for edge in edges if edge not in inside] if inside else edges
        if not tokens:
            self._count("empty_texts")
        spans.sort(key=lambda span: span.first)
        line, scanned, upcoming = document.line, 0, 0
        for first, end in itertools.pairwise(edges):
            own: list[Span] = []
            while upcoming < len(spans) and spans[upcoming].first < end:
                span = spans[upcoming]
                own.append(Span(span.given.type, span.first - first, span.end - first))
                upcoming += 1
            if document.has_lines:
                line += document.text.count("\n", scanned, tokens[first][0])
                scanned = tokens[first][0]
            tags = from_spans(own, end - first, Scheme.BIOES)
            yield Sentence(tuple(words[first:end]), tags, number, line, document.path, (line,) * (end - first))

    def _tokens(self, document: AnnotatedText) -> tuple[list[tuple[int, int]], list[str], list[int]]:
        """Return places and words of the tokens of a document, and the tokens that begin a sentence."""
        text = document.text
        if document.tokens is None:
            tokens, words, starts = list[tuple[int, int]](), list[str](), list[int]()
            for sentence in self._segmenter.sentences(text):
                starts.append(len(tokens))
                tokens += sentence.spans
                words += sentence.tokens
            return tokens, words, starts
        tokens = [(start, end) for start, end in document.tokens if text[start:end].strip()]
        self._count("white_space_tokens", len(document.tokens) - len(tokens))
        words = [text[start:end] for start, end in tokens]
        if not tokens:
            return tokens, words, []
        if document.starts is not None:
            begun = {document.tokens[start][0] for start in document.starts}
        else:
            begun = {sentence.spans[0][0] for sentence in self._segmenter.sentences(text)}
        ordered, ends = sorted(begun), [end for _, end in tokens]
        return tokens, words, sorted({0, *(bisect_right(ends, start) for start in ordered)} - {len(tokens)})

    def _placed(self, document: AnnotatedText, tokens: list[tuple[int, int]]) -> list[_Placed]:
        """Return the spans of a document that tags can express."""
        convert = to_characters(document.text, self._unit)
        starts, ends = [start for start, _ in tokens], [end for _, end in tokens]
        found: list[_Placed] = []
        seen: set[tuple[int, int, str]] = set()
        for given in document.spans:
            self._count("spans")
            if given.text is not None and not self._has_own_text(document, given, convert):
                continue
            hull = self._hull(document, given, convert)
            if hull is None:
                continue
            start, end, is_hull = hull
            if (start, end, given.type) in seen:
                self._count("spans_repeated")
                continue
            seen.add((start, end, given.type))
            first, last = bisect_right(ends, start), bisect_left(starts, end)
            if first >= last:
                self._drop(document, given, "empty", "holds no token")
                continue
            cuts = starts[first] < start or ends[last - 1] > end
            if cuts and self._policy is not Misaligned.WIDEN:
                whole = document.text[starts[first] : ends[last - 1]]
                self._drop(document, given, "cut", f"cuts a token of {_shown(whole)}")
                continue
            found.append(_Placed(first, last, given, end - start, cuts or is_hull))
        kept = self._without_overlaps(document, found)
        for span in kept:
            if span.widened:
                self._count("spans_widened")
                words = document.text[starts[span.first] : ends[span.end - 1]]
                self._note(document, span.given, f"widened to {_shown(words)}")
        return kept

    def _has_own_text(self, document: AnnotatedText, given: GivenSpan, convert: Callable[[int], int | None]) -> bool:
        """Compare a span with the text that the file gives for it, in all units."""
        own = self._own.setdefault(document.path, _OwnTexts())
        text, expected = document.text, given.text or ""
        own.spans += 1
        here = covered(text, given, convert)
        if same_words(here, expected) and text.isascii():
            own.fits.update(OffsetUnit)
            return True
        for unit in OffsetUnit:
            own.fits[unit] += same_words(covered(text, given, to_characters(text, unit)), expected)
        if same_words(here, expected):
            return True
        what = "lies outside of the text" if here is None else f"covers {_shown(here)}"
        found = f"a span {_name(given)} that {what}"
        own.faults.add(BadLine(document.path, given.line, found, f"{_shown(expected)}, as the file says", ""))
        return False

    def _hull(
        self, document: AnnotatedText, given: GivenSpan, convert: Callable[[int], int | None]
    ) -> tuple[int, int, bool] | None:
        """Return start and end of a span in code points, and whether words between its pieces were taken in."""
        text = document.text
        places = [(convert(start), convert(end)) for start, end in given.pieces]
        pieces = sorted((start, end) for start, end in places if start is not None and end is not None)
        if len(pieces) < len(places) or not pieces or any(end < start for start, end in pieces):
            self._drop(document, given, "outside", f"lies outside of the text of {len(text):,} characters", False)
            return None
        gaps = [text[end:start] for (_, end), (start, _) in itertools.pairwise(pieces)]
        is_hull = any(gap.strip() for gap in gaps)
        if is_hull and self._policy is not Misaligned.WIDEN:
            self._drop(document, given, "discontinuous", "has several pieces")
            return None
        start, end = pieces[0][0], max(end for _, end in pieces)
        whole = text[start:end]
        words = whole.strip()
        if not words:
            self._drop(document, given, "empty", "is empty" if start == end else "covers white space alone")
            return None
        if not given.type:
            self._drop(document, given, "untyped", "has no label")
            return None
        self._count("spans_trimmed", len(words) < len(whole))
        start += len(whole) - len(whole.lstrip())
        return start, start + len(words), is_hull

    def _without_overlaps(self, document: AnnotatedText, spans: list[_Placed]) -> list[_Placed]:
        """Return the spans of which no two share a token; the longest stay, and the first of equals."""
        kept: list[_Placed] = []
        firsts: list[int] = []
        for span in sorted(spans, key=lambda span: (-span.length, span.first)):
            place = bisect_left(firsts, span.end)
            other = kept[place - 1] if place else None
            if other is not None and other.end > span.first:
                nested = other.first <= span.first and span.end <= other.end
                what = f"{'lies inside' if nested else 'overlaps'} the span {_name(other.given)}"
                self._drop(document, span.given, "nested" if nested else "overlapping", what)
                continue
            kept.insert(place, span)
            firsts.insert(place, span.first)
        return kept

    def _drop(self, document: AnnotatedText, given: GivenSpan, kind: str, what: str, with_text: bool = True) -> None:
        """Refuse a span or count it as dropped."""
        around = _context(document.text, given, to_characters(document.text, self._unit)) if with_text else ""
        if self._policy is Misaligned.REFUSE:
            found = f"a span {_name(given)} that {what}{around}"
            self._refused.add(BadLine(document.path, given.line, found, _EXPECTED, _REMEDY))
            return
        self._count(f"spans_dropped_{kind}")
        self._note(document, given, f"dropped: it {what}{around}")

    def _note(self, document: AnnotatedText, given: GivenSpan, what: str) -> None:
        if len(self._counts.oddities) < MAX_NAMED:
            self._counts.oddities.append(f"{document.path}:{given.line}: span {_name(given)} {what}")

    def _count(self, name: str, number: int = 1) -> None:
        if number:
            self._counts.met[name] += number

    def _judge(self) -> None:
        for own in self._own.values():
            if own.faults.count:
                unit = next(
                    (unit for unit in OffsetUnit if unit is not self._unit and own.fits[unit] == own.spans), None
                )
                remedy = (
                    f"all spans of the file fit in another unit: set labelled.offsets: {unit}"
                    if unit is not None
                    else "export the file again, or correct start and end of the span"
                )
                lines = [BadLine(line.path, line.line, line.found, line.expected, remedy) for line in own.faults.first]
                raise error_of(lines[:SHOWN], own.faults.count)
        if self._refused.count:
            raise error_of(self._refused.first[:SHOWN], self._refused.count, MisalignedSpans)


def _name(given: GivenSpan) -> str:
    """Name a span for messages: `PER 5-12`."""
    return f"{given.type or '(no label)'} {';'.join(f'{start}-{end}' for start, end in given.pieces)}"


def _shown(text: str, longest: int = 60) -> str:
    text = " ".join(text.split())
    return repr(text if len(text) <= longest else f"{text[: longest - 3]}...")


def _context(text: str, given: GivenSpan, convert: Callable[[int], int | None]) -> str:
    """Show a span in brackets, with the text around it."""
    start, end = convert(min(start for start, _ in given.pieces)), convert(max(end for _, end in given.pieces))
    if start is None or end is None:
        return ""
    before, after = text[max(start - _AROUND, 0) : start], text[end : end + _AROUND]
    shown = " ".join(f"{before}[{text[start:end][:60]}]{after}".split())
    return f" ({shown!r})"
