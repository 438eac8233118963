"""Tag schemes: round trips, detection over all splits, and what is refused."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taglm_core.corpus.scheme_evidence import SchemeEvidence
from taglm_core.corpus.schemes import (
    Scheme,
    Span,
    allowed_tags,
    from_spans,
    to_bioes,
    to_spans,
    violations,
)
from taglm_core.corpus.sentence import Sentence

WRITTEN = (Scheme.IOB1, Scheme.IOB2, Scheme.BIOES)
"""Schemes that `from_spans` writes; the others are only read."""


@st.composite
def entities(draw: st.DrawFn) -> tuple[list[Span], int]:
    """Entities that don't overlap, some touching, some with hyphens in their type; and a length."""
    spans, position = [], 0
    for gap, length, kind in draw(
        st.lists(
            st.tuples(st.integers(0, 2), st.integers(1, 4), st.sampled_from(["PER", "LOC", "a-b", "a"])), max_size=8
        )
    ):
        spans.append((kind, position + gap, position + gap + length))
        position += gap + length
    return spans, position + draw(st.integers(0, 2))


@given(entities(), st.sampled_from(WRITTEN))
def test_entities_survive_every_scheme(drawn: tuple[list[Span], int], scheme: Scheme) -> None:
    """Spans to tags to spans gives the same spans, touching ones of one type included, and the tags are valid."""
    spans, length = drawn
    tags = from_spans(spans, length, scheme)
    assert not violations(tags, scheme)
    assert len(tags) == length
    assert to_spans(tags) == spans


@given(entities(), st.sampled_from(WRITTEN))
def test_conversion_to_bioes_keeps_the_entities(drawn: tuple[list[Span], int], scheme: Scheme) -> None:
    """Whatever the source scheme, BIOES holds the same entities."""
    spans, length = drawn
    bioes = to_bioes(from_spans(spans, length, scheme))
    assert bioes == from_spans(spans, length, Scheme.BIOES)


@pytest.mark.parametrize("scheme", WRITTEN)
def test_tables_allow_exactly_what_the_scheme_writes(scheme: Scheme) -> None:
    """All sequences of up to four tags over two types: allowed if and only if writing their entities gives them."""
    tags = ["O", *(f"{prefix}-{kind}" for prefix in "BIES" for kind in ("a", "a-b"))]
    allowed = allowed_tags(tags, scheme)
    for length in (1, 2, 3, 4):
        for codes in itertools.product(range(len(tags)), repeat=length):
            steps = all(allowed.follow[one][other] for one, other in itertools.pairwise(codes))
            fits = steps and allowed.start[codes[0]] and allowed.end[codes[-1]]
            sequence = tuple(tags[code] for code in codes)
            assert fits == (from_spans(to_spans(sequence), length, scheme) == sequence), sequence
            if scheme is not Scheme.IOB1:
                assert fits == (not violations(sequence, scheme)), sequence


@given(st.lists(st.sampled_from(["O", "B-a", "I-a", "B-b", "I-b"]), max_size=10))
def test_iob1_accepts_any_b_and_i(tags: list[str]) -> None:
    """Every sequence of B, I and O reads in IOB1, each tag other than O in exactly one entity."""
    bioes = to_bioes(tags)
    assert not violations(tags, Scheme.IOB1)
    assert not violations(bioes, Scheme.BIOES)
    assert [tag == "O" for tag in bioes] == [tag == "O" for tag in tags]
    assert [tag[2:] for tag in bioes] == [tag[2:] for tag in tags]


@pytest.mark.parametrize(
    ("scheme", "tags", "bioes"),
    [
        (Scheme.IOB1, "I-X I-X B-X O I-Y I-X", "B-X E-X S-X O S-Y S-X"),
        (Scheme.IOB1, "O B-X I-X", "O B-X E-X"),
        (Scheme.IOB2, "B-X I-X B-X O B-Y B-X", "B-X E-X S-X O S-Y S-X"),
        (Scheme.BIOES, "U-X B-Y I-Y L-Y S-X", "S-X B-Y I-Y E-Y S-X"),
        (Scheme.BIOS, "B-X I-X S-X B-X I-X O", "B-X E-X S-X B-X E-X O"),
        (Scheme.IOE, "I-X E-X E-X I-Y E-Y", "B-X E-X S-X B-Y E-Y"),
        (Scheme.IO, "I-X I-X I-Y O I-X", "B-X E-X S-Y O S-X"),
    ],
)
def test_conversion_by_hand(scheme: Scheme, tags: str, bioes: str) -> None:
    """Hand-worked sequences, real IOB1's superfluous B and BILOU among them."""
    assert not violations(tags.split(), scheme)
    assert to_bioes(tags.split()) == tuple(bioes.split())


@pytest.mark.parametrize(
    ("scheme", "tags", "position"),
    [
        (Scheme.IOB2, "O I-X", 1),
        (Scheme.IOB2, "B-X I-Y", 1),
        (Scheme.IOB2, "B-X E-X", 1),
        (Scheme.IOB1, "S-X", 0),
        (Scheme.BIOES, "B-X O", 1),
        (Scheme.BIOES, "O E-X", 1),
        (Scheme.BIOES, "S-X I-X E-X", 1),
        (Scheme.BIOES, "B-X E-Y", 1),
        (Scheme.BIOES, "B-X B-X E-X", 1),
        (Scheme.BIOES, "O B-X I-X", 2),
    ],
)
def test_violations_name_the_position(scheme: Scheme, tags: str, position: int) -> None:
    """The tag that breaks the scheme is named, and no other."""
    assert [violation.position for violation in violations(tags.split(), scheme)] == [position]


def _evidence(*sentences: str) -> SchemeEvidence:
    evidence = SchemeEvidence()
    for number, tags in enumerate(sentences):
        evidence.add(tags.split(), Sentence((), None, 0, 10, f"file{number}"))
    return evidence


@pytest.mark.parametrize(
    ("sentences", "scheme"),
    [
        (["I-X O", "B-X I-X", "O B-Y"], Scheme.IOB1),
        (["I-X B-X"], Scheme.IOB1),
        (["B-Y I-X"], Scheme.IOB1),
        (["B-X I-X", "O B-X B-X"], Scheme.IOB2),
        (["B-X", "B-X B-X"], Scheme.IOB2),
        (["O O"], Scheme.IOB2),
        ([], Scheme.IOB2),
        (["B-X E-X", "O"], Scheme.BIOES),
        (["U-X"], Scheme.BIOES),
    ],
)
def test_detection(sentences: list[str], scheme: Scheme) -> None:
    """All splits together decide: E or S says BIOES, an I that begins an entity IOB1, else IOB2."""
    evidence = _evidence(*sentences)
    assert evidence.decide() is scheme
    assert evidence.describe()["scheme"] == scheme.value


@given(entities(), st.sampled_from(WRITTEN))
def test_detection_never_changes_the_entities(drawn: tuple[list[Span], int], scheme: Scheme) -> None:
    """Tags too few to tell the scheme are valid in the one detected."""
    spans, length = drawn
    tags = from_spans(spans, length, scheme)
    evidence = SchemeEvidence()
    evidence.add(tags, Sentence((), None, 0, 1, "file"))
    assert not violations(tags, evidence.decide())


@pytest.mark.parametrize(
    ("sentences", "scheme", "broken"),
    [
        (["B-X E-X", "S-X O", "B-X I-X"], Scheme.BIOES, 1),  # cut at the end of a sentence
        (["S-X", "B-X I-X"], Scheme.BIOES, 1),
        (["B-X I-X O", "B-X", "S-X O", "B-Y I-Y"], Scheme.IOB2, 1),
        (["I-X I-X O", "I-X", "S-X O", "I-Y I-Y"], Scheme.IOB1, 1),
        (["B-X I-X O", "S-X S-X", "B-Y I-Y"], Scheme.BIOS, 0),
        (["I-X E-X", "E-X O", "E-Y E-Y"], Scheme.IOE, 0),
    ],
)
def test_few_faults_leave_the_scheme_what_it_is(sentences: list[str], scheme: Scheme, broken: int) -> None:
    """A corpus in one scheme stays in it when a few tags break it, and they are counted."""
    evidence = _evidence(*sentences)
    assert (evidence.decide(), evidence.broken(scheme)) == (scheme, broken)
    assert evidence.broken(scheme) == sum(len(violations(tags.split(), scheme)) for tags in sentences)


def test_files_in_different_schemes_raise_doubt() -> None:
    """BIOES in one file and IOB2 in another is said, with a place in each."""
    doubt = _evidence("S-X B-X E-X", "O B-X I-X O").doubt()
    assert doubt is not None
    assert "no tag of file1 begins with E or S (see line 13)" in doubt
    assert "file0:10 has S-X" in doubt


def test_strict_takes_the_scheme_of_most_tags() -> None:
    """One I after O among many B is IOB1 by default, and in strict mode IOB2, which refuses it."""
    evidence = _evidence("B-X O B-X", "O I-X")
    assert (evidence.decide(), evidence.decide(strict=True)) == (Scheme.IOB1, Scheme.IOB2)
    assert _evidence("I-X O I-X", "O B-X").decide(strict=True) is Scheme.IOB1


def test_evidence_counts_superfluous_b() -> None:
    """A B after O in an IOB1 corpus is accepted and counted with its first place."""
    described = _evidence("I-X B-X O", "O B-X").describe()
    assert described["counts"]["b_after_o"] == 1
    assert described["counts"]["b_after_same_type"] == 1
    assert described["first"]["b_after_o"] == "file1:11 (B-X)"


def test_an_iob2_corpus_with_a_fault_raises_doubt_and_real_iob1_does_not() -> None:
    """Mostly B after O and one I after O: read as IOB1, and the one tag is named."""
    doubt = _evidence("B-X O B-X", "O I-X").doubt()
    assert doubt is not None
    assert "begin with I (1 in all, the first is I-X in file1:11), though most begin with B (2), as in IOB2" in doubt
    assert _evidence("I-X O I-X", "O B-X").doubt() is None
    assert _evidence("B-X O B-X").doubt() is None
