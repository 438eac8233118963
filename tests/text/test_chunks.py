"""Tokens by chunks: the same as the library's on whole sentences."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taglm_core.config.raw_text import TextConfig
from taglm_core.text import chunks, tokenizers
from taglm_core.text.segmenter import Segmenter, TokenizerRecord
from taglm_core.text.spelling import Spelling
from taglm_core.text.tokenizers import open_tokenizer

PLAIN = Spelling("plain", "plain", "as-is")
PIECES = [
    *"cannot gimme 'tis 'Twas more'n d'ye I'll don't it's dogs' U.S. 3,000 a.m. -- ... '' `` $5 % @x # &".split(),  # noqa: SIM905
    "–", "…", "Word",
    *"\"'.,:;?!()[]{<>“”’é東1x", *"      \n\t\u00a0",
]  # fmt: skip


def by_the_library(sentence: str, spelling: Spelling) -> list[str]:
    """The library's tokens of a sentence whose white space is spaces, spelled one by one."""
    prepared = re.sub(r"\s", " ", spelling.prepared(sentence)).strip()
    start = len(sentence) - len(sentence.lstrip())
    sentence = sentence[start:]
    spans = open_tokenizer(TextConfig()).tokens(prepared)
    return [spelling.spelled(sentence[a:b], sentence[a - 1 : a]) for a, b in spans if b > a]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
def test_chunks_have_the_tokens_of_their_sentence(sentence: str) -> None:
    """The rules of the Treebank look no further than a chunk, whatever stands beside it."""
    words = chunks.Chunks(open_tokenizer(TextConfig()), PLAIN)
    expected = by_the_library(sentence, PLAIN)
    assert words.tokens([sentence])[0] == expected
    placed = words.placed(sentence)
    assert [token for token, _, _ in placed] == expected
    assert [PLAIN.spelled(sentence[a:b], sentence[a - 1 : a]) for _, a, b in placed] == expected


def test_memory_of_kept_chunks_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Full, they are dropped, and the tokens stay the same; long chunks are never kept."""
    monkeypatch.setattr(chunks, "MOST_KEPT", 50)
    words = chunks.Chunks(open_tokenizer(TextConfig()), PLAIN)
    for number in range(0, 400, 20):
        sentence = " ".join(f"w{n}," for n in range(number, number + 20)) + f" {'y' * 5000}, end{number}."
        tokens = words.tokens([sentence])[0]
        assert tokens == by_the_library(sentence, PLAIN) == [token for token, _, _ in words.placed(sentence)]
        assert all(len(kept) <= 50 for kept in (words._inside, words._ends, *words._placed))
        assert not any(len(chunk) > 64 for kept in (words._inside, words._ends, *words._placed) for chunk in kept)


@given(
    st.lists(st.sampled_from(["One. ", "Two? ", "\n", "\n", "\n\n", "Mr. ", "a b ", '"Yes." ']), max_size=60).map(
        "".join
    )
)
def test_long_texts_are_split_in_pieces(text: str) -> None:
    """Sentences do not depend on the pieces in which a text is given to the splitter."""
    segmenter = Segmenter(TokenizerRecord.of(TextConfig(), PLAIN))
    whole = list(segmenter.sentences(text))
    before, tokenizers.PIECE = tokenizers.PIECE, 7
    try:
        assert list(segmenter.sentences(text)) == whole
        assert list(segmenter.tokens(text)) == [list(sentence.tokens) for sentence in whole]
    finally:
        tokenizers.PIECE = before


def test_a_line_break_in_a_paragraph_is_a_space() -> None:
    """It ends no sentence and hides no clitic; an empty line ends a sentence, with or without white space in it."""
    segmenter = Segmenter(TokenizerRecord.of(TextConfig(), PLAIN))
    text = "The dogs'\nowner says it's\r\nfine, Mr.\nSmith\n \t\nA heading\n\nThe end"
    assert list(segmenter.tokens(text)) == [
        ["The", "dogs", "'", "owner", "says", "it", "'s", "fine", ",", "Mr.", "Smith"],
        ["A", "heading"], ["The", "end"],
    ]  # fmt: skip
    for sentence in segmenter.sentences(text):
        assert tuple(text[start:end] for start, end in sentence.spans) == sentence.tokens
