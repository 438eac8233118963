"""Configuration of raw text: language and tokenizer."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from taglm_core.config.base import Settings


class TokenizerName(StrEnum):
    """Tokenizers of raw text; `auto` takes treebank for English and spacy for other languages."""

    AUTO = "auto"
    TREEBANK = "treebank"
    SPACY = "spacy"
    WHITESPACE = "whitespace"
    CHARACTERS = "characters"


class SpellingName(StrEnum):
    """Spelling of quotation marks, apostrophes and brackets in corpora that are made of raw text."""

    PLAIN = "plain"
    TREEBANK = "treebank"
    AS_IS = "as-is"


class TextConfig(Settings):
    """How raw text becomes sentences and tokens. Corpora that come tokenised are read as they are."""

    language: str = Field(
        "en", pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]+)*$", description="language of raw text, as an ISO 639 code such as en"
    )
    tokenizer: TokenizerName = Field(
        TokenizerName.AUTO, description="auto: treebank for English, spacy (optional extra) for other languages; "
        "treebank: rules of the Penn Treebank; whitespace: text that is tokenised already, one sentence per line; "
        "characters: each character is a token"
    )  # fmt: skip
    spelling: SpellingName = Field(
        SpellingName.PLAIN, description="quotation marks and brackets in corpora made of raw text: plain (typographic "
        "marks become \" and '), treebank (`` '' -LRB- -RRB-) or as-is; a tagger tags text in the spelling of its "
        "training sentences"
    )  # fmt: skip

    @property
    def chosen(self) -> TokenizerName:
        """Return the tokenizer that `auto` stands for."""
        if self.tokenizer is not TokenizerName.AUTO:
            return self.tokenizer
        return TokenizerName.TREEBANK if self.language.partition("-")[0] == "en" else TokenizerName.SPACY

    def segmenting(self) -> dict[str, str]:
        """Return what changes the tokens of a text, for the config of steps."""
        return {"language": self.language, "tokenizer": str(self.chosen), "spelling": str(self.spelling)}
