"""Shape classes of unknown words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taglm_core.corpus.shapes import SHAPES, shape_class


@pytest.mark.parametrize(
    ("word", "shape"),
    [
        ("1996", "digits"),
        ("1,000.5", "number"),
        ("1996-08-22", "number"),
        ("3rd", "digits-and-letters"),
        ("F-16", "digits-and-letters"),
        ("--", "punctuation"),
        ("U.N.", "initial"),
        ("J", "initial"),
        ("LONDON", "all-capitals"),
        ("LEADING-SCORERS", "capitals-hyphenated"),
        ("Anglo-Dutch", "capitalised-hyphenated"),
        ("well-kept", "lower-hyphenated"),
        ("McDonald", "mixed-case"),
        ("iPhone", "mixed-case"),
        ("Bosnian", "capitalised-ian"),
        ("Brighton", "capitalised-ton"),
        ("Zürich", "capitalised"),
        ("O'Neil", "mixed-case"),
        ("reworking", "lower-ing"),
        ("ing", "lower"),
        ("blorption", "lower-ion"),
        ("quokkas", "lower-s"),
        ("quokka", "lower"),
        ("東京", "other-letters"),
    ],
)
def test_by_hand(word: str, shape: str) -> None:
    """Names, numbers, initials and suffixes fall where a reader would put them."""
    assert SHAPES[shape_class(word)] == shape


@given(st.text(min_size=1))
def test_every_word_has_a_class(word: str) -> None:
    """Any text at all has exactly one class, in range."""
    assert 0 <= shape_class(word) < len(SHAPES)


def test_the_classes_are_distinct_and_few() -> None:
    """No name twice, about thirty in all."""
    assert len(set(SHAPES)) == len(SHAPES)
    assert 20 <= len(SHAPES) <= 32
