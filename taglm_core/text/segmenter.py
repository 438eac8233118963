"""From raw text to the sentences of tokens that a model reads, with the place of each token in the text."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from taglm_core.config.raw_text import TextConfig
from taglm_core.text.spelling import Spelling
from taglm_core.text.tokenizers import open_tokenizer

logger = logging.getLogger("taglm")

# Control characters and lone surrogates are in no token that a model has seen; each is replaced by one character, so
# that places stay. Line breaks stay: splitters use them.
_CONTROLS = {code: " " for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\r\t\f\v\x1c\x1d\x1e\x1f\x85"}
_REPLACED = {**_CONTROLS, **dict.fromkeys(range(0xD800, 0xE000), "\ufffd")}


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
        """Yield the sentences of a text that have tokens. Control characters count as spaces."""
        spelling, clean = self.record.spelling, text.translate(_REPLACED)
        prepared = spelling.prepared(clean)
        for start, end in self._tokenizer.sentences(prepared):
            part = clean[start:end]
            spans = [span for span in self._tokenizer.tokens(prepared[start:end]) if span[1] > span[0]]
            if spans:
                tokens = tuple(spelling.spelled(part[first:last], part[first - 1 : first]) for first, last in spans)
                yield Sentence(tokens, tuple((start + first, start + last) for first, last in spans))
