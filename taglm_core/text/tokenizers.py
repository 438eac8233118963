"""Sentence splitters and tokenizers behind one interface: spans of characters.

A splitter yields the sentences of a text, a tokenizer the tokens of a sentence, both as pairs of positions (code
points, the end exclusive). They never change the text: spelling is `taglm_core.text.spelling`.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import re
import sys
import threading
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from taglm_core.config.raw_text import TextConfig, TokenizerName
from taglm_core.errors import ConfigError, MissingLibrary

Span = tuple[int, int]
Split = Callable[[str], Iterator[Span]]
_LOADING = threading.Lock()
PIECE = 2**20
"""Characters of a long text that are split into sentences at a time, or more up to the end of a paragraph."""


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """A splitter and a tokenizer, with what tells two versions of them apart.

    Attributes:
        sentences: yields the spans of the sentences of a text.
        tokens: yields the spans of the tokens of a sentence, relative to it.
        versions: version of each library.
        rules: hash of the rules of the tokenizer.
        local: whether the tokens of a chunk between spaces depend only on the chunk, and on whether it is the first or
            the last of its sentence.
    """

    sentences: Split
    tokens: Split
    versions: Mapping[str, str] = field(default_factory=dict)
    rules: str = ""
    local: bool = True


def open_tokenizer(config: TextConfig) -> Tokenizer:
    """Return the tokenizer of a configuration.

    Raises:
        MissingLibrary: it needs spaCy, which is not installed.
        ConfigError: spaCy does not know the language.
    """
    match config.chosen:
        case TokenizerName.WHITESPACE:
            return Tokenizer(_lines, _words, {}, "whitespace-1")
        case TokenizerName.CHARACTERS:
            return Tokenizer(_sentencex(config.language), _characters, _versions("sentencex", "regex"), "characters-2")
        case TokenizerName.SPACY:
            return _spacy(config.language)
    words = _treebank()
    return Tokenizer(_sentencex(config.language), words.span_tokenize, _versions("sentencex", "nltk"), _rules_of(words))


def _lines(text: str) -> Iterator[Span]:
    start = 0
    for line in text.splitlines(keepends=True):
        yield start, start + len(line)
        start += len(line)


def _words(sentence: str) -> Iterator[Span]:
    return (found.span() for found in re.finditer(r"\S+", sentence))


def _characters(sentence: str) -> Iterator[Span]:
    """Yield each extended grapheme cluster (UAX #29): a character with all marks that combine with it, no space."""
    import regex

    return (
        found.span()
        for start, end in _words(sentence)
        for found in regex.finditer(r"\X", sentence, pos=start, endpos=end)
    )


def _sentencex(language: str) -> Split:
    """Return a splitter by sentencex, which takes about 300 languages and never refuses one.

    A line break inside a paragraph is a space to it. Each paragraph is split by itself, so a long text is given to it
    in pieces of whole paragraphs: it returns all sentences of a piece at once.
    """
    import sentencex

    def split(text: str) -> Iterator[Span]:
        for start, end in _pieces(text):
            for found in sentencex.get_sentence_boundaries(language, text[start:end]):
                if not found["is_paragraph_break"]:
                    yield start + found["start_index"], start + found["end_index"]

    return split


def _pieces(text: str) -> Iterator[Span]:
    """Yield consecutive pieces of a text, each with all of its paragraphs and about `PIECE` characters."""
    start = 0
    while start < len(text):
        found = text.find("\n\n", start + PIECE)
        end = len(text) if found < 0 else found + 2
        yield start, end
        start = end


@functools.cache
def _treebank() -> Any:
    """Return nltk's Treebank tokenizer without the rest of nltk.

    `import nltk` takes seconds where scipy and scikit-learn are installed, which the tokenizer does not use.
    """
    with _LOADING:
        known = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "nltk"}
        spec = None if known else importlib.util.find_spec("nltk")
        if spec is not None:
            folders = list(spec.submodule_search_locations or ())
            for name in ("nltk", "nltk.tokenize"):
                package = types.ModuleType(name)
                package.__path__ = [f"{folder}{name[4:].replace('.', '/')}" for folder in folders]
                sys.modules[name] = package
        try:
            return importlib.import_module("nltk.tokenize.treebank").TreebankWordTokenizer()
        finally:
            if not known:  # whoever imports nltk after this gets all of it
                for name in [name for name in sys.modules if name.partition(".")[0] == "nltk"]:
                    del sys.modules[name]


def _rules_of(tokenizer: Any) -> str:
    """Return a hash of the regular expressions of nltk's tokenizer."""
    names = ("STARTING_QUOTES", "PUNCTUATION", "PARENS_BRACKETS", "DOUBLE_DASHES", "ENDING_QUOTES", "CONTRACTIONS2",
             "CONTRACTIONS3")  # fmt: skip
    found = (getattr(tokenizer, name, ()) for name in names)
    rules = [rule for rules in found for rule in (rules if isinstance(rules, list) else [rules])]
    parts = [str(part if isinstance(part, str) else getattr(part, "pattern", part))
             for rule in rules for part in (rule if isinstance(rule, tuple) else (rule,))]  # fmt: skip
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _spacy(language: str) -> Tokenizer:
    """Return spaCy's blank pipeline of a language: its tokenizer and its rules for sentences."""
    try:
        import spacy
    except ImportError:
        raise MissingLibrary(
            f"text.language={language} is tokenised by spaCy, which is not installed; install the extra with "
            '`pip install "taglm[spacy]"`, or set text.tokenizer=treebank or text.tokenizer=whitespace'
        ) from None
    try:
        pipeline = spacy.blank(language)
    except ImportError as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"text.language: spaCy cannot tokenise {language!r} ({reason}); set text.tokenizer=treebank, whitespace or "
            "characters"
        ) from error

    def tokens(sentence: str) -> Iterator[Span]:
        return ((token.idx, token.idx + len(token)) for token in pipeline.make_doc(sentence) if not token.is_space)

    rules = hashlib.sha256(pipeline.tokenizer.to_bytes()).hexdigest()[:16]
    return Tokenizer(_sentencex(language), tokens, _versions("sentencex", "spacy"), rules, local=False)


def _versions(*names: str) -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in names}
