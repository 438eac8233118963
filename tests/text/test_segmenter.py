"""Raw text to tokens: places, spelling of the training data, odd characters, other versions."""

from __future__ import annotations

import logging
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taglm_core.config.raw_text import TextConfig
from taglm_core.errors import MissingLibrary
from taglm_core.text.segmenter import Segmenter, Sentence, TokenizerRecord
from taglm_core.text.spelling import Spelling

PLAIN, TREEBANK = Spelling("plain", "plain", "as-is"), Spelling("treebank", "plain", "treebank")


def read(text: str, spelling: Spelling = PLAIN, **config: str) -> list[Sentence]:
    record = TokenizerRecord.of(TextConfig.model_validate(config), spelling)
    return list(Segmenter(record).sentences(text))


def test_sentences_and_tokens_have_their_places() -> None:
    """Abbreviations end no sentence; a paragraph does; contractions are split as in the Penn Treebank."""
    text = "Dr. Smith doesn't live in Rome.  She left (twice)!\n\nNew paragraph"
    found = read(text)
    assert [sentence.tokens for sentence in found] == [
        ("Dr.", "Smith", "does", "n't", "live", "in", "Rome", "."),
        ("She", "left", "(", "twice", ")", "!"),
        ("New", "paragraph"),
    ]
    for sentence in found:
        assert tuple(text[start:end] for start, end in sentence.spans) == sentence.tokens


@pytest.mark.parametrize(("spelling", "expected"), [
    (PLAIN, ('"', "It", "'s", "(", "so", ")", ",", '"', "he", "said", ".")),
    (TREEBANK, ("``", "It", "'s", "-LRB-", "so", "-RRB-", ",", "''", "he", "said", ".")),
], ids=["plain", "treebank"])  # fmt: skip
@pytest.mark.parametrize("text", ['"It\'s (so)," he said.', "“It’s (so),” he said."], ids=["ascii", "typographic"])
def test_marks_are_spelled_as_in_training(text: str, spelling: Spelling, expected: tuple[str, ...]) -> None:
    """Typographic quotation marks and apostrophes read like typed ones; the places are those of the text."""
    (sentence,) = read(text, spelling)
    assert sentence.tokens == expected
    assert text[sentence.spans[0][0] : sentence.spans[0][1]] == text[0]


def test_a_spelling_is_that_of_the_training_words() -> None:
    """Whoever writes typographic marks keeps them; the words of a tagger are in lower case."""
    assert Spelling.of({"``", "''", "-lrb-", "do", "n't"}) == TREEBANK
    assert Spelling.of({'"', "'s", "("}) == PLAIN
    assert Spelling.of({"“", "”", "it’s", '"'}) == Spelling()
    assert read("“It’s”", Spelling())[0].tokens == ("“", "It", "’s", "”")


@settings(max_examples=300)
@given(
    st.text(
        st.one_of(st.sampled_from("ab.,'\"`()[]-–…‘’“”«»!? \n\t\u00a0\u200b\u0301éם東1"), st.characters()), max_size=40
    )
)
def test_no_character_is_lost(text: str) -> None:
    """Spans rise, do not overlap, and cover all but spaces and control characters, whatever the text."""
    last, covered = 0, set()
    for sentence in read(text):
        assert len(sentence.tokens) == len(sentence.spans)
        for token, (start, end) in zip(sentence.tokens, sentence.spans, strict=True):
            assert token
            assert last <= start < end <= len(text)
            covered |= set(range(start, end))
            last = end
    left = {text[place] for place in set(range(len(text))) - covered}
    assert {sign for sign in left if not (sign.isspace() or ord(sign) < 32 or 127 <= ord(sign) < 160)} == set()


@pytest.mark.parametrize(("tokenizer", "text", "expected"), [
    ("whitespace", "Anna 's  dog .\nIt barks", [("Anna", "'s", "dog", "."), ("It", "barks")]),
    ("characters", "東京です。e\u0301x", [("東", "京", "で", "す", "。", "e\u0301", "x")]),
    ("characters", "a \u0301b \u200d ", [("a", "\u0301", "b", "\u200d")]),
    ("characters", "हिन्दी 👩‍👧 กำ", [("हि", "न्दी", "👩‍👧", "กำ")]),
])  # fmt: skip
def test_other_tokenizers(tokenizer: str, text: str, expected: list[tuple[str, ...]]) -> None:
    """Text that is tokenised already keeps its tokens; a combining mark stays with its character."""
    assert [sentence.tokens for sentence in read(text, tokenizer=tokenizer)] == expected


def test_another_version_warns(caplog: pytest.LogCaptureFixture) -> None:
    """The message says which library, and whether the rules for words differ."""
    record = TokenizerRecord.of(TextConfig(), PLAIN)
    with caplog.at_level(logging.WARNING, "taglm"):
        Segmenter(TokenizerRecord.from_json(record.to_json()))
        assert caplog.text == ""
        Segmenter(replace(record, versions={**record.versions, "nltk": "1.0"}))
        assert "(recorded: 1.0); the rules for words are the same" in caplog.text
        Segmenter(replace(record, rules="other"))
    assert "tokens may differ" in caplog.text


def test_another_language_needs_spacy() -> None:
    """Without the extra: a clear error, not a bad tokenisation."""
    with pytest.raises(MissingLibrary, match=r"taglm\[spacy\]"):
        read("Anna wohnt in Rom.", language="de")
    assert read("Anna wohnt in Rom.", language="de", tokenizer="treebank")[0].tokens[-1] == "."


def test_nltk_is_not_loaded_whole() -> None:
    """Its import takes seconds beside scipy and scikit-learn; whoever imports it later gets all of it."""
    code = (
        "import sys; from taglm_core.text.tokenizers import open_tokenizer; "
        "from taglm_core.config.raw_text import TextConfig; open_tokenizer(TextConfig()); "
        "assert not {'sklearn', 'scipy'} & set(sys.modules), 'heavy'; import nltk; print(nltk.__version__)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
