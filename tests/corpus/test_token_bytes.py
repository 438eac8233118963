"""Words as bytes: exact, cut in the middle, the boundary unlike any word."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taglm_core.corpus.token_bytes import BEGIN, BOUNDARY, END, N_SYMBOLS, PADDING, count_cut, encode_words

WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


def _slowly(word: str, max_bytes: int) -> list[int]:
    if word == BOUNDARY:
        return [END, BEGIN]
    data = list(word.encode())
    if len(data) > max_bytes:
        last = max_bytes // 2
        data = data[: max_bytes - last] + (data[-last:] if last else [])
    return [BEGIN, *(byte + 1 for byte in data), END]


@given(st.lists(st.one_of(WORDS, st.just(BOUNDARY)), min_size=1, max_size=8), st.integers(1, 20))
def test_against_one_word_at_a_time(words: list[str], max_bytes: int) -> None:
    """Rows equal the slow definition, padded to the longest."""
    symbols = encode_words(words, max_bytes=max_bytes)
    rows = [_slowly(word, max_bytes) for word in words]
    width = max(map(len, rows))
    assert symbols.dtype == np.int16
    assert symbols.tolist() == [row + [PADDING] * (width - len(row)) for row in rows]
    assert symbols.max() < N_SYMBOLS


@given(st.lists(WORDS, min_size=1, max_size=8, unique=True))
def test_uncut_words_stay_distinct(words: list[str]) -> None:
    """No two words look alike, and none looks like the boundary."""
    rows = {tuple(row) for row in encode_words([*words, BOUNDARY], max_bytes=100).tolist()}
    assert len(rows) == len({*words, BOUNDARY})


def test_by_hand() -> None:
    """Golden symbols of a short word, a two-byte letter and a cut word."""
    assert encode_words(["ab", "é", "abcdefg", "<S>"], max_bytes=5).tolist() == [
        [257, 98, 99, 258, 0, 0, 0],
        [257, 196, 170, 258, 0, 0, 0],
        [257, 98, 99, 100, 103, 104, 258],
        [257, 61, 84, 63, 258, 0, 0],
    ]
    assert count_cut(["ab", "abcdef", BOUNDARY], max_bytes=4) == 1


def test_no_words_and_empty_words() -> None:
    """No words give no rows; an empty word is refused."""
    assert encode_words([], max_bytes=5).shape == (0, 2)
    with pytest.raises(ValueError, match="empty word"):
        encode_words(["a", ""], max_bytes=5)
