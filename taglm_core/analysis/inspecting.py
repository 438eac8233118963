"""What files hold, before an experiment names them: format, counts, findings, first sentences."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from taglm_core.config.data import LabelledFormat, Misaligned, TextFormat
from taglm_core.corpus.files import open_text
from taglm_core.corpus.findings import judge
from taglm_core.corpus.schemes import Span, to_spans
from taglm_core.corpus.sentence import ReadCounts, StoredSentence
from taglm_core.corpus.split_facts import TEXT, TRAIN, Finding, SplitFacts
from taglm_core.corpus.text import read_text
from taglm_core.errors import InputError
from taglm_core.formats.detect import detect_labelled, detect_text
from taglm_core.formats.documents import read_documents
from taglm_core.formats.labelled import LabelledReading, read_labelled
from taglm_core.text.segmenter import Segmenter, TokenizerRecord
from taglm_core.text.spelling import Spelling

MOST_OF_TEXT = 20_000
"""Sentences of a text that are looked at."""

_LINES = 200
_SAMPLE = 10


@dataclass(frozen=True, slots=True)
class Inspected:
    """What some files hold.

    Attributes:
        name: the files, as the user gave them.
        format: format, as a value of `labelled.format` or `unlabelled.format`.
        scheme: tag scheme; empty for text.
        facts: counts.
        documents: number of documents.
        lengths: tokens of a sentence: median, 95th percentile, longest.
        sample: the first sentences with their spans.
        notes: what was met besides sentences, and spans that were changed.
        findings: what is suspicious.
        whole: whether all was read.
        refused: whether spans need a choice of `labelled.misaligned`.
    """

    name: str
    format: str
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


def inspect_files(name: str, paths: Sequence[Path], reading: LabelledReading, *, text: bool | None = None) -> Inspected:
    """Look at files as ingest reads them.

    Args:
        name: the files, as the user gave them.
        paths: the files.
        reading: how labelled files are read; its `text` holds for unlabelled text, too.
        text: whether they are unlabelled text; None finds out.

    Raises:
        InputError: the files cannot be read.
        MissingLibrary: the format needs a library that is not installed.
    """
    if text is None:
        text = reading.format is LabelledFormat.AUTO and not _has_labels(paths, reading)
    return _text(name, paths, reading) if text else _labelled(name, paths, reading)


def _has_labels(paths: Sequence[Path], reading: LabelledReading) -> bool:
    kind = detect_labelled(paths)
    if kind is LabelledFormat.CONLL:
        return _has_columns(paths[0])
    if kind in (LabelledFormat.JSONL, LabelledFormat.PARQUET, LabelledFormat.CONLLU):
        try:
            found = read_labelled(paths[:1], replace(reading, format=kind, misaligned=Misaligned.DROP))
        except InputError:
            return detect_text(paths) is TextFormat.TOKENISED  # no text either: say what is wrong with the labels
        return any(tag != "O" for tags in found.tags for tag in tags)
    return True


def _has_columns(path: Path) -> bool:
    """Return whether most lines have the same number of columns, at least two."""
    widths = Counter(len(line.split()) for _, line in islice(open_text(path), _LINES) if line.strip())
    if not widths:
        return False
    width, lines = widths.most_common(1)[0]
    return width > 1 and 10 * lines >= 9 * widths.total()


def _labelled(name: str, paths: Sequence[Path], reading: LabelledReading) -> Inspected:
    refused = ""
    try:
        found = read_labelled(paths, reading)
    except InputError as error:
        if reading.misaligned is not Misaligned.REFUSE or "misaligned" not in str(error):
            raise
        refused = str(error)
        found = read_labelled(paths, replace(reading, misaligned=Misaligned.DROP))
    kind = detect_labelled(paths) if reading.format is LabelledFormat.AUTO else reading.format
    spans = [to_spans(tags) for tags in found.tags]
    entities = Counter(span.type for own in spans for span in own)
    sentences = [StoredSentence(number, document, tokens, tags, tags) for number, (document, tokens, tags)
                 in enumerate(zip(found.documents, found.tokens, found.tags, strict=True))]  # fmt: skip
    facts = _facts(TRAIN, sentences, dict(entities.most_common()), found.counts.repaired_tags)
    sample = tuple((tokens, tuple(own)) for tokens, own in zip(found.tokens[:_SAMPLE], spans, strict=False))
    return Inspected(
        name, str(kind), str(found.layout.scheme), facts, found.counts.documents, _lengths(sentences), sample,
        found.notes, tuple(judge({TRAIN: facts})), refused=refused,
    )  # fmt: skip


def _text(name: str, paths: Sequence[Path], reading: LabelledReading) -> Inspected:
    kind, counts = detect_text(paths), ReadCounts()
    sentences: list[StoredSentence] = []
    if kind is TextFormat.TOKENISED:
        for one in islice(read_text(paths, counts=counts), MOST_OF_TEXT + 1):
            sentences.append(StoredSentence(len(sentences), one.document, one.tokens, None, None))
    else:
        segmenter = Segmenter(TokenizerRecord.of(reading.text, Spelling.named(reading.text.spelling)))
        column = reading.word if isinstance(reading.word, str) else None
        for document in read_documents(paths, kind, column, counts=counts):
            whole = isinstance(document.text, list)
            for tokens in [document.text] if whole else segmenter.tokens(str(document.text)):
                sentences.append(StoredSentence(len(sentences), document.number, tuple(tokens), None, None))
            if len(sentences) > MOST_OF_TEXT:
                break
    whole_text = len(sentences) <= MOST_OF_TEXT
    sentences = sentences[:MOST_OF_TEXT]
    if not sentences:
        raise InputError(paths[0], None, "no sentence", "at least one sentence", "give files that hold text")
    facts = _facts(TEXT, sentences, None, 0)
    return Inspected(
        name, str(kind), "", facts, len({sentence.document_id for sentence in sentences}), _lengths(sentences),
        tuple((sentence.tokens, ()) for sentence in sentences[:_SAMPLE]), tuple(counts.notes),
        tuple(judge({TEXT: facts})), whole_text,
    )  # fmt: skip


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
    return round(statistics.median(lengths)), lengths[int(0.95 * (len(lengths) - 1))], lengths[-1]
