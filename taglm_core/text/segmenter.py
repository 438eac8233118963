"""From raw text to the sentences of tokens that a model reads, with the place of each token in the text."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from taglm_core.config.raw_text import TextConfig
from taglm_core.text.chunks import Chunks
from taglm_core.text.spelling import Spelling
from taglm_core.text.tokenizers import open_tokenizer

logger = logging.getLogger("taglm")

# Control characters and lone surrogates are in no token that a model has seen; each is replaced by one character, so
# that places stay. Line breaks stay: splitters use them.
_CONTROL = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_WHITE_LINE = re.compile(
    r"\n[^\S\n]++(?=\n)"
)  # a line of nothing but white space ends a paragraph as an empty one does


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of a text.

    Attributes:
        tokens: its tokens, as the model reads them.
        spans: start and end of each token in the text, in code points; the end is exclusive.
    """

    tokens: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class TokenizerRecord:
    """How raw text was or is to be tokenised; part of an exported tagger.

    Attributes:
        language: ISO 639 code.
        tokenizer: name of the tokenizer, never `auto`.
        versions: version of each library.
        rules: hash of the tokenizer's rules.
        spelling: spelling of quotation marks and brackets in the training data.
    """

    language: str
    tokenizer: str
    versions: Mapping[str, str] = field(default_factory=dict)
    rules: str = ""
    spelling: Spelling = field(default_factory=Spelling)

    @classmethod
    def of(cls, config: TextConfig, spelling: Spelling) -> TokenizerRecord:
        """Return the record of a configuration with the libraries that are installed.

        Raises:
            MissingLibrary: the tokenizer's library is not installed.
        """
        found = open_tokenizer(config)
        return cls(config.language, str(config.chosen), dict(found.versions), found.rules, spelling)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TokenizerRecord:
        """Return the record that `to_json` wrote."""
        return cls(**{**data, "spelling": Spelling(**data["spelling"])})

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain data."""
        return asdict(self)


class Segmenter:
    """Reads raw text as a record says.

    Args:
        record: the record; other versions of the libraries are used with a warning.

    Raises:
        MissingLibrary: the tokenizer's library is not installed.
    """

    def __init__(self, record: TokenizerRecord) -> None:
        config = TextConfig.model_validate({"language": record.language, "tokenizer": record.tokenizer})
        self.record, self._tokenizer = record, open_tokenizer(config)
        self._words = Chunks(self._tokenizer, record.spelling)
        here = {name: version for name, version in self._tokenizer.versions.items()
                if record.versions and record.versions.get(name) != version}  # fmt: skip
        if here or (record.rules and record.rules != self._tokenizer.rules):
            names = ", ".join(f"{name} {version} (recorded: {record.versions.get(name, 'none')})"
                              for name, version in here.items())  # fmt: skip
            same = record.rules == self._tokenizer.rules
            logger.warning(
                "text is tokenised by another version than the tagger's record: %s; %s",
                names or "other rules",
                "the rules for words are the same" if same else "tokens may differ, and scores with them",
            )

    def sentences(self, text: str) -> Iterator[Sentence]:
        """Yield the sentences of a text that have tokens.

        Control characters count as spaces, and so does a line break inside a paragraph. An empty line, or one of
        nothing but white space, ends a paragraph and a sentence.
        """
        for part, start in self._parts(text):
            placed = self._words.placed(part)
            if placed:
                tokens = tuple(token for token, _, _ in placed)
                yield Sentence(tokens, tuple((start + first, start + last) for _, first, last in placed))

    def tokens(self, text: str) -> Iterator[list[str]]:
        """Yield the tokens of the sentences of a text; the same as `sentences`, in half of its time."""
        for tokens in self._words.tokens(part for part, _ in self._parts(text)):
            if tokens:
                yield tokens

    def _parts(self, text: str) -> Iterator[tuple[str, int]]:
        """Yield each sentence as a piece of the text, with its place."""
        clean = _CONTROL.sub(" ", text)
        if not clean.isascii():
            clean = _SURROGATE.sub("\ufffd", clean)
        prepared = _WHITE_LINE.sub(lambda found: "\n" * len(found[0]), self.record.spelling.prepared(clean))
        for start, end in self._tokenizer.sentences(prepared):
            yield clean[start:end], start
