"""Labels become tokens with tags and spans again, with nothing lost; mutated files are read or refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taglm_core.config.data import Misaligned, OffsetUnit
from taglm_core.config.raw_text import TextConfig, TokenizerName
from taglm_core.corpus.schemes import to_spans
from taglm_core.corpus.sentence import ReadCounts
from taglm_core.formats.offsets import GivenSpan
from taglm_core.formats.span_reader import AnnotatedText, SpanReader
from taglm_core.text.segmenter import Segmenter, TokenizerRecord
from taglm_core.text.spelling import Spelling
from tests.formats import fuzz

SEGMENTERS = {
    name: Segmenter(TokenizerRecord.of(TextConfig(tokenizer=name), Spelling()))
    for name in (TokenizerName.TREEBANK, TokenizerName.CHARACTERS, TokenizerName.WHITESPACE)
}
WORDS = ["Alice", "U.N.", "don't", "Zoë", "e\u0301te\u0301", "😀", "東京", "שלום", "(", ")", '"', "“", "3.5", "Dr.",
         "end.",         "-", "\u200d", "a-b", "?", "\x07"]  # fmt: skip
GAPS = [" ", " ", "  ", "\n", "\n\n", "\r\n", "\u00a0", "\u2028", ". ", ""]


@st.composite
def annotated(draw: st.DrawFn) -> tuple[str, list[tuple[int, int, str]]]:
    """Draw a text, and spans anywhere in it and around it."""
    pieces = draw(st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(GAPS)), max_size=14))
    text = "".join(word + gap for word, gap in pieces)
    place = st.integers(-1, len(text) + 1)
    return text, draw(st.lists(st.tuples(place, place, st.sampled_from(["A", "B", ""])), max_size=5))


def offset(text: str, place: int, unit: OffsetUnit) -> int:
    if unit is OffsetUnit.CHARACTERS or not 0 <= place <= len(text):
        return place if place <= len(text) else 10_000
    return len(text[:place].encode("utf-16-le")) // 2 if unit is OffsetUnit.UTF16 else len(text[:place].encode())


@given(
    annotated(),
    st.sampled_from(list(OffsetUnit)),
    st.sampled_from(list(SEGMENTERS)),
    st.sampled_from([Misaligned.WIDEN, Misaligned.DROP]),
)
@settings(max_examples=300, deadline=None)
def test_every_span_is_an_entity_or_counted(
    drawn: tuple[str, list[tuple[int, int, str]]], unit: OffsetUnit, name: TokenizerName, policy: Misaligned
) -> None:
    """Whatever the text, the unit, the tokenizer and the policy: no token and no span gets lost."""
    text, spans = drawn
    made = [GivenSpan(((offset(text, s, unit), offset(text, e, unit)),), kind, 1) for s, e, kind in spans]
    counts = ReadCounts()
    reader = SpanReader(SEGMENTERS[name], unit, policy, counts)
    sentences = list(reader.sentences([AnnotatedText(text, made, "f", 1)]))
    tokens = [token for sentence in SEGMENTERS[name].sentences(text) for token in sentence.tokens]
    assert [token for sentence in sentences for token in sentence.tokens] == tokens
    kept = sum(len(to_spans(sentence.tags or ())) for sentence in sentences)
    lost = sum(n for what, n in counts.met.items() if what.startswith(("spans_dropped", "spans_repeated")))
    assert counts.met["spans"] == len(spans) == kept + lost


@given(annotated(), st.sampled_from(list(SEGMENTERS)))
@settings(max_examples=200, deadline=None)
def test_round_trip_of_aligned_spans(drawn: tuple[str, list[tuple[int, int, str]]], name: TokenizerName) -> None:
    """Spans of whole tokens that don't overlap come back with the same type, start and end."""
    text, wanted = drawn
    places = [span for sentence in SEGMENTERS[name].sentences(text) for span in sentence.spans]
    given_spans: list[tuple[str, int, int]] = []
    for start, end, kind in wanted:
        first, last = sorted((start % (len(places) + 1), end % (len(places) + 1)))
        if first < last and kind and all(last <= one[1] or one[2] <= first for one in given_spans):
            given_spans.append((kind, first, last))
    made = [GivenSpan(((places[first][0], places[last - 1][1]),), kind, 1, text[places[first][0] : places[last - 1][1]])
            for kind, first, last in given_spans]  # fmt: skip
    reader = SpanReader(SEGMENTERS[name], OffsetUnit.CHARACTERS, Misaligned.REFUSE, ReadCounts())
    found, before = [], 0
    for sentence in reader.sentences([AnnotatedText(text, made, "f", 1)]):
        found += [(kind, before + first, before + last) for kind, first, last in to_spans(sentence.tags or ())]
        before += len(sentence.tokens)
    assert found == sorted(given_spans, key=lambda span: span[1])


@pytest.mark.parametrize("name", fuzz.main_kinds())
def test_mutated_files_are_read_or_refused(tmp_path: Path, name: str) -> None:
    """A hundred files of each kind."""
    accepted, refused = fuzz.run(tmp_path, name, 100, seed=1)
    assert accepted > 0
    assert refused > 0


@pytest.mark.real
@pytest.mark.parametrize("name", fuzz.main_kinds())
def test_ten_thousand_mutated_files(tmp_path: Path, name: str) -> None:
    """Likewise."""
    accepted, refused = fuzz.run(tmp_path, name, 10_000, seed=2)
    assert accepted > 0
    assert refused > 0
