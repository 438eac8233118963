"""Spelling of quotation marks and brackets as the training data of a tagger writes them.

Treebank corpora write quotation marks as `` and '' and brackets as -LRB- and -RRB-; others write them as they are.
Typed text has typographic marks, which few labelled corpora have.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from taglm_core.config.raw_text import SpellingName

_DOUBLE, _OPENING_DOUBLE, _CLOSING_DOUBLE = '"', "“„«", "”»"
_BRACKETS = {"(": "-LRB-", ")": "-RRB-", "[": "-LSB-", "]": "-RSB-", "{": "-LCB-", "}": "-RCB-"}
_OPENERS = "([{<"
_ASCII_APOSTROPHES = str.maketrans(dict.fromkeys("’‘ʼ", "'"))
_ASCII_QUOTES = str.maketrans(dict.fromkeys(_OPENING_DOUBLE + _CLOSING_DOUBLE, _DOUBLE))
_ASCII = {**_ASCII_APOSTROPHES, **_ASCII_QUOTES}


@dataclass(frozen=True, slots=True)
class Spelling:
    """How a corpus writes quotation marks, apostrophes and brackets.

    Attributes:
        quotes: `treebank` for `` and '', `plain` for ", or `as-is`.
        apostrophes: `plain` where typographic apostrophes become ', or `as-is`.
        brackets: `treebank` for -LRB- and -RRB-, or `as-is`.
    """

    quotes: str = "as-is"
    apostrophes: str = "as-is"
    brackets: str = "as-is"

    @classmethod
    def of(cls, words: Collection[str]) -> Spelling:
        """Return the spelling of a corpus by its distinct words, in any case."""
        quotes = "as-is"
        if not any(mark in words for mark in _OPENING_DOUBLE + _CLOSING_DOUBLE):
            quotes = "treebank" if "``" in words else "plain" if _DOUBLE in words else "as-is"
        typographic = any("’" in word for word in words)
        plain = not typographic and any("'" in word for word in words)
        brackets = "treebank" if "-lrb-" in words or "-LRB-" in words else "as-is"
        return cls(quotes, "plain" if plain else "as-is", brackets)

    @classmethod
    def named(cls, name: SpellingName) -> Spelling:
        """Return the spelling of a setting `text.spelling`."""
        match name:
            case SpellingName.PLAIN:
                return cls("plain", "plain", "as-is")
            case SpellingName.TREEBANK:
                return cls("treebank", "plain", "treebank")
        return cls()

    @staticmethod
    def prepared(text: str) -> str:
        """Return a text for the tokenizer, character for character, whose rules know ASCII apostrophes and quotes."""
        if not text.isascii():
            for mark, plain in _ASCII.items():  # faster than `translate`
                text = text.replace(chr(mark), chr(plain) if isinstance(plain, int) else plain)
        return text

    def spelled(self, token: str, before: str) -> str:
        """Return a token of a text as the corpus writes it.

        Args:
            token: the token.
            before: the character before it; empty at the beginning of a sentence.
        """
        if self.apostrophes == "plain":
            token = token.translate(_ASCII_APOSTROPHES)
        if self.quotes != "as-is":
            token = token.translate(_ASCII_QUOTES)
            if token in (_DOUBLE, "``", "''"):
                opening = token == "``" or (token == _DOUBLE and (not before or before.isspace() or before in _OPENERS))
                return _DOUBLE if self.quotes == "plain" else "``" if opening else "''"
        return _BRACKETS.get(token, token) if self.brackets == "treebank" else token
