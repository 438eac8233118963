"""Spans: hand-worked cases, conlleval's published algorithm, seqeval, and the array version against all three."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities, precision_recall_fscore_support
from seqeval.scheme import IOBES, Tokens

from taglm_core.corpus.schemes import Span, split_tag
from taglm_core.evaluation.spans import (
    CodedTags,
    Counts,
    SpanPair,
    bioes_to_iob2,
    conlleval_spans,
    encode_tags,
)

TYPES = ("PER", "A", "A-B", "B-C")  # hyphens inside, and one type that begins another
BIOES = st.sampled_from(["O", *(f"{prefix}-{type_}" for prefix in "BIES" for type_ in TYPES)])
IOB2 = st.sampled_from(["O", *(f"{prefix}-{type_}" for prefix in "BI" for type_ in TYPES)])


@st.composite
def corpora(draw: st.DrawFn) -> tuple[list[list[str]], list[list[str]]]:
    """Gold and predicted tags, valid or not; half of the predictions are copied, so that many spans agree."""
    tags = draw(st.sampled_from([BIOES, IOB2]))
    gold = draw(st.lists(st.lists(tags, max_size=9), max_size=6))
    predicted = [[tag if draw(st.booleans()) else draw(tags) for tag in sentence] for sentence in gold]
    return gold, predicted


def strict_bioes_spans(tags: list[str]) -> list[Span]:
    """Spans that are well-formed BIOES: S, or B I* E of one type; anything else is no span."""
    spans: list[Span] = []
    open_type, start = "", 0
    for position, tag in enumerate(tags):
        prefix, type_ = split_tag(tag)
        if prefix == "S":
            spans.append(Span(type_, position, position + 1))
        if prefix == "E" and type_ == open_type:
            spans.append(Span(type_, start, position + 1))
        if prefix == "B":
            open_type, start = type_, position
        elif not (prefix == "I" and type_ == open_type):
            open_type = ""
    return spans


def conlleval(gold: list[list[str]], predicted: list[list[str]]) -> dict[str, list[int]]:
    """Counts by the published rules: conlleval's state machine, one line at a time, a blank line being O."""
    counts: dict[str, list[int]] = {}

    def ends(before: tuple[str, str], now: tuple[str, str]) -> bool:
        pairs = {("B", "B"), ("B", "O"), ("I", "B"), ("I", "O")}
        return (before[0], now[0]) in pairs or (before[0] != "O" and before[1] != now[1])

    def starts(before: tuple[str, str], now: tuple[str, str]) -> bool:
        pairs = {("B", "B"), ("I", "B"), ("O", "B"), ("O", "I")}
        return (before[0], now[0]) in pairs or (now[0] != "O" and before[1] != now[1])

    def lines() -> list[tuple[str, str]]:
        found = []
        for one, other in zip(gold, predicted, strict=True):
            found += [*zip(bioes_to_iob2(one), bioes_to_iob2(other), strict=True), ("O", "O")]
        return found

    in_correct = False
    last_gold = last_predicted = ("O", "")
    for gold_tag, predicted_tag in lines():
        now_gold, now_predicted = split_tag(gold_tag), split_tag(predicted_tag)
        if in_correct:
            gold_ends, predicted_ends = ends(last_gold, now_gold), ends(last_predicted, now_predicted)
            if gold_ends and predicted_ends and last_gold[1] == last_predicted[1]:
                in_correct = False
                counts.setdefault(last_gold[1], [0, 0, 0])[2] += 1
            elif gold_ends != predicted_ends or now_gold[1] != now_predicted[1]:
                in_correct = False
        gold_starts, predicted_starts = starts(last_gold, now_gold), starts(last_predicted, now_predicted)
        if gold_starts and predicted_starts and now_gold[1] == now_predicted[1]:
            in_correct = True
        if gold_starts:
            counts.setdefault(now_gold[1], [0, 0, 0])[0] += 1
        if predicted_starts:
            counts.setdefault(now_predicted[1], [0, 0, 0])[1] += 1
        last_gold, last_predicted = now_gold, now_predicted
    return counts


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("B-LOC I-LOC O", [("LOC", 0, 2)]),
        ("O I-PER I-PER", [("PER", 1, 3)]),
        ("I-PER I-LOC", [("PER", 0, 1), ("LOC", 1, 2)]),
        ("B-PER B-PER I-PER", [("PER", 0, 1), ("PER", 1, 3)]),
        ("S-PER E-PER", [("PER", 0, 2)]),  # mapped: B I
        ("E-PER E-PER", [("PER", 0, 2)]),  # mapped: I I
        ("B-LOC E-LOC S-LOC", [("LOC", 0, 2), ("LOC", 2, 3)]),
        ("B-A-B I-A", [("A-B", 0, 1), ("A", 1, 2)]),
        ("", []),
    ],
)
def test_conlleval_spans_of_hand_worked_sequences(tags: str, expected: list[tuple[str, int, int]]) -> None:
    """Spans are those that conlleval's rules give when worked by hand."""
    assert conlleval_spans(tags.split()) == expected


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("B-LOC E-LOC S-PER", [("LOC", 0, 2), ("PER", 2, 3)]),
        ("B-LOC I-LOC I-LOC E-LOC", [("LOC", 0, 4)]),
        ("B-LOC I-LOC O", []),
        ("I-LOC E-LOC", []),
        ("B-LOC E-PER", []),
        ("B-LOC B-LOC E-LOC", [("LOC", 1, 3)]),
        ("B-LOC O E-LOC", []),
    ],
)
def test_strict_spans_of_hand_worked_sequences(tags: str, expected: list[tuple[str, int, int]]) -> None:
    """Only well-formed BIOES is a strict span."""
    assert strict_bioes_spans(tags.split()) == expected


@pytest.mark.parametrize("tag", ["", "B", "B-", "X-LOC", "LOC", "B_LOC", "o", "L-LOC"])
def test_malformed_tag_is_refused(tag: str) -> None:
    """What is neither O nor prefix-hyphen-type is an error that names the tag."""
    with pytest.raises(ValueError, match="is not a tag: expected O"):
        bioes_to_iob2([tag])


@given(st.lists(BIOES, max_size=15))
def test_readable_spans_equal_seqeval(tags: list[str]) -> None:
    """Both readable functions agree with seqeval's default and strict span finders on any sequence."""
    lenient = [(type_, start, end + 1) for type_, start, end in get_entities(bioes_to_iob2(tags))]
    assert conlleval_spans(tags) == lenient
    strict = [(entity.tag, entity.start, entity.end) for entity in Tokens(tags, IOBES).entities]
    assert strict_bioes_spans(tags) == strict


@settings(max_examples=150)
@given(corpora())
def test_array_counts_equal_conlleval_and_seqeval(corpus: tuple[list[list[str]], list[list[str]]]) -> None:
    """The array version equals conlleval's state machine, span sets and seqeval on valid and invalid sequences."""
    gold, predicted = corpus
    counts = SpanPair(encode_tags(gold, predicted)).counts()
    seen = {name: list(found) for name, found in counts.per_type.items() if found.gold or found.predicted}
    assert seen == conlleval(gold, predicted)
    assert list(counts.micro) == [sum(found[i] for found in seen.values()) for i in range(3)]
    if gold:
        mapped = [[bioes_to_iob2(tags) for tags in side] for side in corpus]
        p, r, f, n = precision_recall_fscore_support(*mapped, average="micro", zero_division=0)
        assert counts.micro.gold == n
        assert (counts.micro.precision, counts.micro.recall, counts.micro.f1) == pytest.approx((p, r, f))


@settings(max_examples=100)
@given(corpora())
def test_sentence_strict_and_boundary_counts_equal_sets(corpus: tuple[list[list[str]], list[list[str]]]) -> None:
    """Counts per sentence, strict counts and boundary counts equal those of the readable functions' sets."""
    gold, predicted = corpus
    coded = encode_tags(gold, predicted)
    strict, boundary = [0, 0, 0], [0, 0, 0]
    per_sentence = []
    for one, other in zip(gold, predicted, strict=True):
        a, b = set(conlleval_spans(one)), set(conlleval_spans(other))
        per_sentence.append([len(a), len(b), len(a & b)])
        untyped = {span[1:] for span in a} & {span[1:] for span in b}
        boundary = [x + y for x, y in zip(boundary, (len(a), len(b), len(untyped)), strict=True)]
        a, b = set(strict_bioes_spans(one)), set(strict_bioes_spans(other))
        strict = [x + y for x, y in zip(strict, (len(a), len(b), len(a & b)), strict=True)]
    assert SpanPair(coded).sentence_counts().tolist() == per_sentence
    for kind, counts in SpanPair(coded).counts().per_type.items():
        assert SpanPair(coded).sentence_counts(kind).sum(axis=0).tolist() == list(counts)
    assert list(SpanPair(coded, strict=True).counts().micro) == strict
    assert list(SpanPair(coded).boundary_counts()) == boundary


def coded(gold: list[list[int]], predicted: list[list[int]], names: list[str]) -> CodedTags:
    """Numbers of tags, sentence by sentence."""
    flat = (np.array([code for codes in side for code in codes], np.int64) for side in (gold, predicted))
    return CodedTags(*flat, tuple(names), np.array([len(codes) for codes in gold]))


def test_spans_end_with_their_sentence() -> None:
    """An I tag that opens a sentence never continues the span of the sentence before."""
    names = ["O", "B-A", "I-A"]
    assert SpanPair(coded([[1], [2]], [[1], [2]], names)).counts().micro == Counts(2, 2, 2)
    assert SpanPair(coded([[1, 2]], [[1, 2]], names)).counts().micro == Counts(1, 1, 1)


def test_empty_sentences_open_no_span() -> None:
    """A sentence without tokens changes no count."""
    found = SpanPair(coded([[1, 2, 0], [], [3]], [[1, 2, 2], [], [3]], ["O", "B-A", "I-A", "S-B"])).counts()
    assert found.per_type == {"A": Counts(1, 1, 0), "B": Counts(1, 1, 1)}


def test_padding_and_wrong_lengths_are_refused() -> None:
    """A number without a name, and lengths that do not add up, are errors instead of wrong counts."""
    with pytest.raises(ValueError, match="tag names"):
        SpanPair(coded([[0, -1]], [[0, 0]], ["O"]))
    with pytest.raises(ValueError, match="lengths sum to 3"):
        SpanPair(CodedTags(np.zeros(2, np.int64), np.zeros(2, np.int64), ("O",), np.array([3])))
    with pytest.raises(ValueError, match="2 gold and 3 predicted tags"):
        SpanPair(coded([[0, 0]], [[0, 0, 0]], ["O"]))
    with pytest.raises(ValueError, match="sentence 1 has 1 gold tags but 2"):
        encode_tags([["O"], ["O"]], [["O"], ["O", "O"]])


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "column", "total", "per_type"),
    [
        ("conll2003/eng.testb", 3, 5648, {"LOC": 1668, "MISC": 702, "ORG": 1661, "PER": 1617}),
        ("conll2003/eng.train", 3, 23_499, {"LOC": 7140, "MISC": 3438, "ORG": 6321, "PER": 6600}),
        ("conll2000/test.txt", 2, 23_852, {}),
    ],
)
def test_real_corpora_have_the_published_span_counts(
    shared_data: Path, name: str, column: int, total: int, per_type: dict[str, int]
) -> None:
    """Spans of the real corpora are as many as published, also where the file is IOB1, which conlleval reads alike."""
    sentences: list[list[str]] = [[]]
    for line in (shared_data / name).read_text(encoding="utf-8").splitlines():
        if line.strip():
            sentences[-1].append(line.split()[column])
        else:
            sentences.append([])
    counts = SpanPair(encode_tags(sentences, sentences)).counts()
    assert counts.micro == Counts(total, total, total)
    assert {type_: counts.per_type[type_].gold for type_ in per_type} == per_type
    assert sum(len(conlleval_spans(tags)) for tags in sentences) == total
