"""CoNLL-U and CoNLL-U Plus (`# global.columns = ID FORM ... NER`), read by the package `conllu`.

Tokens are those of the surface: a multiword token `1-2` is one token, and its words `1` and `2` are none. Empty nodes
(`8.1`) are skipped and counted.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from taglm_core.corpus.bad_lines import BadLine, error_of
from taglm_core.corpus.conll_faults import Faults
from taglm_core.corpus.files import open_text
from taglm_core.corpus.notation import STANDARD, Notation, canonical, is_outside
from taglm_core.corpus.sentence import ReadCounts, Sentence
from taglm_core.errors import InputError, MissingLibrary

FIELDS = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")
_COLUMNS = re.compile(r"#\s*global\.columns\s*=\s*(.+)")
_NEW_DOCUMENT = re.compile(r"#\s*newdoc\b")
_LOOKED_AT = 20_000  # lines of each file in which the tags are looked for
_MISC = "MISC."


@dataclass
class _Open:
    """The sentence being read."""

    tokens: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    words: range = range(0)  # words of the multiword token before
    parts: list[str] = field(default_factory=list)  # tags of its words


class ConlluReader:
    """Sentences of CoNLL-U files, in order.

    Args:
        paths: the files.
        word: column of the token by name or number; 0 stands for FORM.
        tag: column of the tag by name or number, or `MISC.KEY`; -1 finds the one place with tags.
        counts: receives counts of everything else.

    Raises:
        MissingLibrary: the package `conllu` is not installed.
        InputError: the tags are nowhere, or in several places.
    """

    def __init__(self, paths: Sequence[Path], word: int | str, tag: int | str, counts: ReadCounts) -> None:
        try:
            import conllu.exceptions
            import conllu.parser
        except ImportError:
            raise MissingLibrary(
                f"{paths[0]}: CoNLL-U files are read by the package conllu, which is not installed; install it with "
                "`pip install conllu`"
            ) from None
        self._parse_line, self._error = conllu.parser.parse_line, conllu.exceptions.ParseException
        self._id = conllu.parser.parse_id_value
        self._paths, self._counts, self._faults = list(paths), counts, Faults()
        self.word: int | str = "FORM" if word == 0 else word
        self.tag: int | str = find_tag_column(self._paths) if tag == -1 else tag

    def sentences(self) -> Iterator[Sentence]:
        """Yield the sentences, with tags as they stand in the file.

        Raises:
            InputError: at the end, naming the first of the lines that cannot be read.
        """
        document = -1
        for path in self._paths:
            self._counts.files += 1
            self._counts.last_path = str(path)
            fields, sentence, has_sentences = FIELDS, _Open(), False
            document += 1
            for number, line in itertools.chain(open_text(path, self._counts), [(0, "")]):
                if line.strip() and line[0] != "#":
                    self._add(path, number, line, fields, sentence)
                    continue
                if sentence.tokens:
                    yield self._finish(sentence, document, path)
                    sentence, has_sentences = _Open(), True
                self._counts.empty_lines += number > 0 and not line.strip()
                self._counts.comment_lines += bool(line.strip())
                if columns := _COLUMNS.match(line):
                    fields = tuple(columns[1].split())
                if _NEW_DOCUMENT.match(line):
                    document += has_sentences
                    has_sentences = False
        if self._faults.count:
            raise error_of(self._faults.first, self._faults.count)

    def _add(self, path: Path, number: int, line: str, fields: Sequence[str], sentence: _Open) -> None:
        """Take one token line."""
        width = line.count("\t") + 1
        if width != len(fields):
            return self._bad(path, number, f"{width} columns ({_shown(line)})", f"{len(fields)} separated by tabs")
        try:
            token = self._parse_line(re.sub(" {2,}", " ", line), fields, {fields[0]: lambda row, i: self._id(row[i])})
        except self._error as error:
            return self._bad(path, number, f"{_shown(line)} ({error})", "a line of CoNLL-U")
        place, word = token[fields[0]], self._value(path, token, self.word, fields)
        tag = self._value(path, token, self.tag, fields) or "O"
        if place is None or not word or not word.strip():
            what = "no ID" if place is None else "an empty word"
            return self._bad(path, number, f"{what} ({_shown(line)})", "a number and a word in each line")
        if isinstance(place, tuple) and place[1] == ".":
            self._counts.met["empty_nodes"] += 1
            self._counts.met["empty_nodes_with_entity"] += not is_outside(tag)
            return None
        if isinstance(place, int) and place in sentence.words:
            self._counts.met["words_of_multiword_tokens"] += 1
            sentence.parts.append(tag)
            return None
        self._close(sentence)
        if isinstance(place, tuple):
            self._counts.met["multiword_tokens"] += 1
            sentence.words = range(place[0], place[2] + 1)
        else:
            sentence.words = range(0)
        sentence.tokens.append(word)
        sentence.tags.append(tag)
        sentence.lines.append(number)
        return None

    def _close(self, sentence: _Open) -> None:
        """Give a multiword token without a tag of its own the tag of its words."""
        if sentence.parts and is_outside(sentence.tags[-1]):
            sentence.tags[-1], lost = _joined(sentence.parts)
            if lost:
                self._counts.met["entities_lost_in_multiword_tokens"] += lost
        sentence.parts = []

    def _finish(self, sentence: _Open, document: int, path: Path) -> Sentence:
        self._close(sentence)
        lines = tuple(sentence.lines)
        return Sentence(tuple(sentence.tokens), tuple(sentence.tags), document, lines[0], str(path), lines)

    def _value(self, path: Path, token: Any, column: int | str, fields: Sequence[str]) -> str | None:
        """Return the value of a column or of a key of MISC.

        Raises:
            InputError: there is no such column.
        """
        name, _, key = column.partition(".") if isinstance(column, str) else (column, "", "")
        names = {known.upper(): known for known in fields}
        if isinstance(name, int):
            known = fields[name] if -len(fields) <= name < len(fields) else None
        else:
            known = names.get(name.upper())
        if known is None:
            found = f"no column {column} (there are {', '.join(fields)})"
            remedy = "set labelled.columns to names of columns, or MISC.KEY for a key of MISC"
            raise InputError(path, None, found, "the configured columns", remedy)
        return _misc(token[known]).get(key) if key else str(token[known])

    def _bad(self, path: Path, number: int, found: str, expected: str) -> None:
        self._faults.add(BadLine(path, number, found, expected, "correct the line"))


def find_tag_column(paths: Sequence[Path]) -> str:
    """Return the one column or key of MISC that holds tags such as B-PER.

    Raises:
        InputError: there is none, or there are several (the error lists them).
    """
    tags, others, keys = Counter[str](), Counter[str](), dict[str, None]()
    for path in paths:
        fields: Sequence[str] = FIELDS
        for _, line in itertools.islice(open_text(path), _LOOKED_AT):
            if line.startswith("#"):
                fields = tuple(found[1].split()) if (found := _COLUMNS.match(line)) else fields
                continue
            for name, value in zip(fields, line.split("\t"), strict=False):
                values = {f"{_MISC}{key}": part for key, part in _misc(value).items()} if name.upper() == "MISC" else {}
                for place, one in {name: value, **values}.items():
                    keys[place] = None
                    tags[place] += STANDARD.fullmatch(one) is not None and one != "O"
                    others[place] += STANDARD.fullmatch(one) is None and not is_outside(one)
    found_in = [place for place in keys if tags[place] and 20 * others[place] <= tags[place]]
    if len(found_in) == 1:
        return found_in[0]
    if found_in:
        raise InputError(paths[0], None, f"tags in several places: {', '.join(found_in)}", "one place with tags",
                         f"set labelled.columns.tag to one of them, such as {found_in[0]}")  # fmt: skip
    places = ", ".join([place for place in keys if place not in ("ID", "FORM")][:30])
    raise InputError(paths[0], None, f"no tags such as B-PER (columns and keys of MISC: {places or 'none'})",
                     "a column or a key of MISC with tags",
                     "set labelled.columns.tag to its name, such as NER or MISC.NER")  # fmt: skip


def _misc(value: str) -> dict[str, str]:
    """Return the keys of MISC."""
    parts = (part.partition("=") for part in value.split("|"))
    return {key.strip(): one for key, equals, one in parts if equals}


def _joined(tags: Sequence[str]) -> tuple[str, int]:
    """Return the tag of a multiword token by those of its words, and how many entities it cannot hold."""
    parts = [(tag, canonical(tag, Notation.PREFIX) or "O") for tag in tags if not is_outside(tag)]
    if not parts:
        return "O", 0
    first, last = parts[0][1], parts[-1][1]
    begun = sum(standard[0] in "BSU" for _, standard in parts[1:])
    if begun:
        return parts[0][0], begun
    if len(parts) > 1 and last[0] in "EL" and first[0] == "B":
        return f"{'U' if last[0] == 'L' else 'S'}{parts[0][0][1:]}", 0
    return parts[-1][0] if last[0] in "EL" else parts[0][0], 0


def _shown(line: str) -> str:
    return repr(line if len(line) <= 60 else f"{line[:57]}...")
