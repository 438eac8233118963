r"""Standoff annotation of brat: a text `NAME.txt`, and its spans in `NAME.ann`.

    T1	Person 0 5	Alice
    T2	Place 14 19;25 30	North Korea
    R1	Lives_in Arg1:T1 Arg2:T2

Lines that begin with T are spans; relations, events, attributes and notes (R E A M N # *) are counted. Offsets count
code points of the text with its line ends as they are in the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from taglm_core.config.data import OffsetUnit
from taglm_core.corpus.bad_lines import BadLine, error_of
from taglm_core.corpus.conll_faults import Faults
from taglm_core.corpus.content import COMPRESSED_SUFFIXES
from taglm_core.corpus.files import BOM, open_text, read_blocks, whole_text
from taglm_core.corpus.sentence import ReadCounts
from taglm_core.errors import InputError
from taglm_core.formats.offsets import GivenSpan, covered, same_words, to_characters
from taglm_core.formats.span_reader import AnnotatedText

_SPAN = re.compile(r"T\S*\t(?P<type>[^\t]*?) ?(?P<pieces>-?\d+ -?\d+(;-?\d+ -?\d+)*)(\t(?P<text>.*))?", re.DOTALL)
_OTHERS = {"R": "relations", "E": "events", "A": "attributes", "M": "attributes", "N": "normalisations", "#": "notes",
           "*": "equivalences"}  # fmt: skip


def read_brat(paths: Sequence[Path], unit: OffsetUnit, counts: ReadCounts) -> Iterator[AnnotatedText]:
    """Yield the documents of brat files, by name.

    Args:
        paths: `.ann` and `.txt` files; others are counted.
        unit: unit of the offsets.
        counts: receives counts of everything that is no span.

    Raises:
        InputError: a file without its partner; not readable; or at the end, naming the first of the lines that cannot
            be read.
    """
    faults = Faults()
    for text_path, spans_path in _pairs(paths, counts):
        counts.files += 2
        counts.last_path = str(text_path)
        spans = list(_spans(spans_path, counts, faults))
        text = _as_counted(text_path, spans, unit, counts)
        yield AnnotatedText(text, spans, str(spans_path), 1)
    if faults.count:
        raise error_of(faults.first, faults.count)


def kind_of(path: Path) -> str:
    """Return the suffix of a file in lower case, without that of compression."""
    bare = path.with_suffix("") if path.suffix.lower() in COMPRESSED_SUFFIXES else path
    return bare.suffix.lower()


def _pairs(paths: Sequence[Path], counts: ReadCounts) -> Iterator[tuple[Path, Path]]:
    texts, spans = ({_stem(path): path for path in paths if kind_of(path) == kind} for kind in (".txt", ".ann"))
    others = len(paths) - len(texts) - len(spans)
    if others:
        counts.met["other_files"] += others
    for stem in sorted({*texts, *spans}):
        if stem not in texts or stem not in spans:
            there = texts.get(stem) or spans[stem]
            missing = ".txt" if stem in spans else ".ann"
            found, expected = f"no {stem.name}{missing} beside it", "the .txt and the .ann file of a document"
            remedy = "name a folder, or a glob that matches both (an empty .ann: no spans)"
            raise InputError(there, None, found, expected, remedy)
        yield texts[stem], spans[stem]


def _stem(path: Path) -> Path:
    bare = path.with_suffix("") if path.suffix.lower() in COMPRESSED_SUFFIXES else path
    return bare.with_suffix("")


def _spans(path: Path, counts: ReadCounts, faults: Faults) -> Iterator[GivenSpan]:
    for number, line in open_text(path, counts):
        if not line.strip():
            continue
        if line[0] in _OTHERS:
            counts.met[_OTHERS[line[0]]] += 1
            continue
        found = _SPAN.fullmatch(line)
        if found is None:
            expected = "T1, a tab, type, start and end, a tab and the text; or a line that begins with R E A M N # or *"
            shown = line if len(line) <= 60 else f"{line[:57]}..."
            faults.add(BadLine(path, number, f"the line {shown!r}", expected, "correct the line"))
            continue
        pieces = (piece.split(" ") for piece in found["pieces"].split(";"))
        yield GivenSpan(tuple((_int(start), _int(end)) for start, end in pieces), found["type"], number, found["text"])


def _int(digits: str) -> int:
    return int(digits[:18])  # Python refuses to convert thousands of digits; 18 are far outside of any text


def _as_counted(path: Path, spans: Sequence[GivenSpan], unit: OffsetUnit, counts: ReadCounts) -> str:
    """Return the text as the tool counted it: the first form that all spans fit, else the text as it is in the file.

    The forms differ in whether a byte order mark and a carriage return count.
    """
    text = whole_text(path)
    marked = f"\ufeff{text}" if next(read_blocks(path), b"").startswith(BOM) else text
    forms = dict.fromkeys((marked, text, marked.replace("\r\n", "\n"), text.replace("\r\n", "\n")))
    for form in forms:
        convert = to_characters(form, unit)
        if all(span.text is None or same_words(covered(form, span, convert), span.text) for span in spans):
            if form != marked:
                counts.notes.append(f"{path}: offsets do not count its byte order mark or its carriage returns")
            return form
    return marked
