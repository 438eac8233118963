"""What files hold, before an experiment names them: format, counts, findings, first sentences."""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from taglm_core.config.data import (
    Columns,
    FindingName,
    LabelledConfig,
    LabelledFormat,
    Misaligned,
    TagScheme,
    TextFormat,
    UnlabelledConfig,
)
from taglm_core.config.raw_text import TextConfig
from taglm_core.corpus.content import compression
from taglm_core.corpus.files import open_text
from taglm_core.corpus.findings import judge
from taglm_core.corpus.schemes import Span, to_spans
from taglm_core.corpus.sentence import ReadCounts, StoredSentence
from taglm_core.corpus.split_facts import TEXT, TRAIN, Finding, SplitFacts
from taglm_core.corpus.text import read_text
from taglm_core.errors import InputError, MisalignedSpans
from taglm_core.formats.detect import detect_labelled, detect_text
from taglm_core.formats.documents import read_documents
from taglm_core.formats.labelled import LabelledReading, read_labelled
from taglm_core.text.segmenter import Segmenter, TokenizerRecord
from taglm_core.text.spelling import Spelling

MOST_OF_TEXT = 20_000
"""Sentences of a text that are looked at."""

_LINES = 200
_SAMPLE = 10
_TAG = re.compile(r"O|_|[BIESLUMW][-_].+|.+[-_][BIESLUMW]")
_MOST_TAGS = 60  # different values in a column of tags without prefixes


@dataclass(frozen=True, slots=True)
class Sources:
    """How files are read: sections of an experiment. Their paths do not count.

    Attributes:
        labelled: settings of labelled files.
        unlabelled: settings of unlabelled text.
        text: how raw text becomes tokens.
    """

    labelled: LabelledConfig
    unlabelled: UnlabelledConfig
    text: TextConfig

    def reading(self) -> LabelledReading:
        """Return how labelled files are read."""
        labelled = self.labelled
        config = {"format": labelled.format, "columns": labelled.columns.model_dump(), **labelled.reading(),
                  **labelled.spans(), **self.text.segmenting()}  # fmt: skip
        scheme = {} if labelled.scheme is TagScheme.AUTO else {"scheme": labelled.scheme}
        return LabelledReading.of({**config, **scheme})


@dataclass(frozen=True, slots=True)
class Inspected:
    """What some files hold.

    Attributes:
        name: the files, as the user gave them.
        format: format, as a value of `labelled.format` or `unlabelled.format`.
        why: how the format was told.
        files: number of files, and their compression.
        columns: columns of word and tag, where the format has columns.
        scheme: tag scheme; empty for text.
        facts: counts.
        documents: number of documents.
        lengths: tokens of a sentence: median, 95th percentile, longest.
        sample: the first sentences with their spans.
        notes: what was met besides sentences, and spans that were changed.
        findings: what is suspicious.
        whole: whether all was read.
        refused: spans that need a choice of `labelled.misaligned`.
    """

    name: str
    format: str
    why: str
    files: str
    columns: str
    scheme: str
    facts: SplitFacts
    documents: int
    lengths: tuple[int, int, int]
    sample: tuple[tuple[tuple[str, ...], tuple[Span, ...]], ...]
    notes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    whole: bool = True
    refused: str = ""

    @property
    def labelled(self) -> bool:
        """Whether the files have labels."""
        return self.facts.entities is not None


def inspect_files(name: str, paths: Sequence[Path], sources: Sources, *, text: bool | None = None) -> Inspected:
    """Look at files as ingest reads them.

    Args:
        name: the files, as the user gave them.
        paths: the files.
        sources: how they are read.
        text: whether they are unlabelled text; None finds out.

    Raises:
        InputError: the files cannot be read.
        MissingLibrary: the format needs a library that is not installed.
    """
    if text is None:
        text = not _has_labels(paths, sources)
    return _text(name, paths, sources) if text else _labelled(name, paths, sources)


def _has_labels(paths: Sequence[Path], sources: Sources) -> bool:
    labelled = sources.labelled
    if labelled.format is not LabelledFormat.AUTO or labelled.columns != Columns():
        return True
    kind = detect_labelled(paths)
    if kind is LabelledFormat.CONLL:
        return _has_columns(paths[0])
    if kind in (LabelledFormat.JSONL, LabelledFormat.PARQUET, LabelledFormat.CONLLU):
        reading = replace(sources.reading(), format=kind, misaligned=Misaligned.DROP)
        try:
            found = read_labelled(paths[:1], reading)
        except InputError:
            return detect_text(paths) is TextFormat.TOKENISED  # no text either: say what is wrong with the labels
        return any(tag != "O" for tags in found.tags for tag in tags)
    return True


def _has_columns(path: Path) -> bool:
    """Return whether most lines have the same number of columns, at least two, and one column holds tags."""
    rows = [line.split() for _, line in islice(open_text(path), _LINES) if line.strip()]
    width, lines = Counter(map(len, rows)).most_common(1)[0] if rows else (0, 0)
    if width < 2 or 10 * lines < 9 * len(rows):
        return False
    columns = list(zip(*(row for row in rows if len(row) == width), strict=True))
    return any(_are_tags(column) for column in columns[1:]) or _are_tags(columns[0])


def _are_tags(column: Sequence[str]) -> bool:
    """Return whether a column holds tags with prefixes, or few names with O among them."""
    like = sum(_TAG.fullmatch(value) is not None for value in column)
    return 10 * like >= 9 * len(column) or ("O" in column and len(set(column)) <= min(_MOST_TAGS, len(column) // 2))


def _labelled(name: str, paths: Sequence[Path], sources: Sources) -> Inspected:
    reading, refused = sources.reading(), ""
    why = "as configured"
    if reading.format is LabelledFormat.AUTO:
        reading = replace(reading, format=detect_labelled(paths, reading.word, reading.tag))
        why = "by its content" if reading.format is not LabelledFormat.CONLL else "columns, and no other format"
    try:
        found = read_labelled(paths, reading)
    except MisalignedSpans as error:
        refused = str(error)
        found = read_labelled(paths, replace(reading, misaligned=Misaligned.DROP))
    spans = [to_spans(tags) for tags in found.tags]
    entities = Counter(span.type for own in spans for span in own)
    sentences = [StoredSentence(number, document, tokens, tags, tags) for number, (document, tokens, tags)
                 in enumerate(zip(found.documents, found.tokens, found.tags, strict=True))]  # fmt: skip
    facts = _facts(TRAIN, sentences, dict(entities.most_common()), found.counts.repaired_tags)
    sample = tuple((tokens, tuple(own)) for tokens, own in zip(found.tokens[:_SAMPLE], spans, strict=False))
    return Inspected(
        name, str(reading.format), why, _files(paths), _columns(reading, found.layout.tag), str(found.layout.scheme),
        facts, found.counts.documents, _lengths(sentences), sample, found.notes, tuple(judge({TRAIN: facts})),
        refused=refused,
    )  # fmt: skip


def _columns(reading: LabelledReading, found: str) -> str:
    if reading.format in (LabelledFormat.BRAT, LabelledFormat.DOCBIN, LabelledFormat.JSONL):
        return ""
    word, tag = ("" if column in (0, -1) else str(column) for column in (reading.word, reading.tag))
    usual = ("first", "last") if reading.format is LabelledFormat.CONLL else ("the usual one", "the usual one")
    return f"word: {word or usual[0]}, tag: {tag or found or usual[1]}"


def _files(paths: Sequence[Path]) -> str:
    """Return how many files there are, and how they are compressed."""
    kinds = Counter(filter(None, map(_compression, paths)))
    packed = "".join(f", {number:,} of them {kind}" for kind, number in kinds.items())
    return f"{len(paths):,}{packed}" if len(paths) > 1 else ", ".join(kinds)


def _compression(path: Path) -> str:
    with path.open("rb") as file:
        return compression(file.read(16)) or ""


def _text(name: str, paths: Sequence[Path], sources: Sources) -> Inspected:
    kind, why = sources.unlabelled.format, "as configured"
    if kind is TextFormat.AUTO:
        kind = detect_text(paths)
        why = "by its content" if kind is not TextFormat.TOKENISED else "plain text with spaces around marks"
    seen = _text_as(kind, why, name, paths, sources)
    raw = any(finding.name is FindingName.TEXT_NOT_TOKENISED for finding in seen.findings)
    if raw and sources.unlabelled.format is TextFormat.AUTO:
        why = "plain text whose words end in commas and question marks: not tokenised"
        return _text_as(TextFormat.DOCUMENTS, why, name, paths, sources)
    return seen


def _text_as(kind: TextFormat, why: str, name: str, paths: Sequence[Path], sources: Sources) -> Inspected:
    counts = ReadCounts()
    found = list(islice(_sentences(kind, paths, sources, counts), MOST_OF_TEXT + 1))
    sentences = [StoredSentence(number, *one, None, None) for number, one in enumerate(found[:MOST_OF_TEXT])]
    if not sentences:
        raise InputError(paths[0], None, "no sentence", "at least one sentence", "give files that hold text")
    facts = _facts(TEXT, sentences, None, 0)
    return Inspected(
        name, str(kind), why, _files(paths), sources.unlabelled.column or "", "", facts,
        len({sentence.document_id for sentence in sentences}), _lengths(sentences),
        tuple((sentence.tokens, ()) for sentence in sentences[:_SAMPLE]), tuple(counts.notes),
        tuple(judge({TEXT: facts})), len(found) <= MOST_OF_TEXT,
    )  # fmt: skip


def _sentences(
    kind: TextFormat, paths: Sequence[Path], sources: Sources, counts: ReadCounts
) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield the document and the tokens of each sentence."""
    if kind is TextFormat.TOKENISED:
        for one in read_text(paths, counts=counts):
            yield one.document, one.tokens
        return
    segmenter = Segmenter(TokenizerRecord.of(sources.text, Spelling.named(sources.text.spelling)))
    for document in read_documents(paths, kind, sources.unlabelled.column, counts=counts):
        whole = isinstance(document.text, list)
        for tokens in [document.text] if whole else segmenter.tokens(str(document.text)):
            yield document.number, tuple(tokens)


def _facts(
    split: str, sentences: Sequence[StoredSentence], entities: dict[str, int] | None, repaired: int
) -> SplitFacts:
    words = {word for sentence in sentences for word in sentence.tokens}
    different = {sentence.tokens for sentence in sentences}
    return SplitFacts(
        split, len(sentences), sum(len(sentence.tokens) for sentence in sentences), len(words),
        max((len(sentence.tokens) for sentence in sentences), default=0), len(sentences) - len(different), entities,
        {}, sentences, repaired,
    )  # fmt: skip


def _lengths(sentences: Sequence[StoredSentence]) -> tuple[int, int, int]:
    lengths = sorted(len(sentence.tokens) for sentence in sentences)
    return round(statistics.median(lengths)), lengths[math.ceil(0.95 * len(lengths)) - 1], lengths[-1]
