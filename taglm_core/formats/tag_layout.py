"""Notation and scheme of tags in files that have no columns: JSON tokens, CoNLL-U, Parquet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from taglm_core.corpus.bad_lines import BadLine, error_of
from taglm_core.corpus.conll_faults import Faults
from taglm_core.corpus.layout import FoundLayout, Layout, scheme_doubts
from taglm_core.corpus.notation import EXPECTED, STANDARD, Notation, canonical, choose_notation, style_of
from taglm_core.corpus.scheme_evidence import SchemeEvidence
from taglm_core.corpus.schemes import Scheme
from taglm_core.corpus.sentence import Sentence


def find_tag_layout(read: Callable[[], Iterable[Sentence]], *, scheme: Scheme | None, strict: bool) -> FoundLayout:
    """Find notation and scheme of the tags of all splits together, in two passes.

    Args:
        read: reads all sentences from the beginning.
        scheme: the tag scheme; None finds out.
        strict: as for `SchemeEvidence.decide`.

    Raises:
        InputError: tags without prefixes (unless the scheme is `io`), or tags that the notation does not have.
    """
    counts: Counter[str] = Counter()
    for sentence in read():
        counts.update(sentence.tags or ())
    notation = choose_notation(counts)
    if notation is Notation.PLAIN and scheme is not Scheme.IO:
        notation = Notation.PREFIX  # so that the error names the tags
    evidence, first = SchemeEvidence(), dict[str, str]()
    for sentence in checked_tags(read(), notation):
        tags = sentence.tags or ()
        evidence.add([canonical(tag, notation) or "O" for tag in tags], sentence)
        for position, tag in enumerate(tags):
            if not STANDARD.fullmatch(tag) and tag not in first:
                first[tag] = f"{sentence.path}:{sentence.line_of(position)}"
    remarks = [
        f"the tag {tag!r} ({where}) is read as {canonical(tag, notation)!r}: it has {style_of(tag, notation)}. "
        f"Tags of this kind: {counts[tag]:,}"
        for tag, where in list(first.items())[:5]
    ]
    layout = replace(Layout(scheme or evidence.decide(strict=strict)), notation=notation)
    return FoundLayout(layout, evidence, remarks, [] if strict else list(scheme_doubts(evidence, scheme)))


def checked_tags(sentences: Iterable[Sentence], notation: Notation) -> Iterator[Sentence]:
    """Yield sentences as they are.

    Raises:
        InputError: at the end: tags that the notation does not have; it names the first of them.
    """
    faults = Faults()
    remedy = "correct the tag, or set labelled.columns.tag to where the tags are; types alone need labelled.scheme: io"
    for sentence in sentences:
        for position, tag in enumerate(sentence.tags or ()):
            if canonical(tag, notation) is None:
                line = sentence.line_of(position)
                faults.add(BadLine(sentence.path, line, f"the tag {tag!r}", EXPECTED[notation], remedy))
        yield sentence
    if faults.count:
        raise error_of(faults.first, faults.count)
