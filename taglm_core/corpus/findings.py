"""Suspicious properties of the corpora of an experiment, judged from the stored corpora.

Findings never change a number. One that makes results meaningless stops the run, unless the experiment accepts it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby

from taglm_core.config.data import FindingName
from taglm_core.corpus.findings_of_text import about_sentences, about_spelling, about_text, about_words
from taglm_core.corpus.sentence import StoredSentence
from taglm_core.corpus.split_facts import TEXT, TRAIN, Finding, SplitFacts, TagColumns, words_of

_MANY, _SOME = 0.9, 0.1  # shares of sentences that two splits have in common
_RICHER = 20  # times the entities of the tag column
_NESTED = 3  # times the entities of the tag column, where both columns have the same types
_FEW_WORDS, _LARGE = 100, 5_000  # distinct words of so many tokens
_FEW_ENTITIES = 30

_IN_SENTENCE = re.compile(r"^\d+-(?=\d+$)")
_NO_WORDS = {FindingName.SAME_COLUMN, FindingName.NUMBERED_WORDS}
_OF_WORDS = {
    FindingName.SAME_SENTENCES,
    FindingName.SHARED_SENTENCES,
    FindingName.REPEATED_SENTENCES,
    FindingName.TEXT_HAS_SENTENCES,
    FindingName.OTHER_WORDS,
    FindingName.OTHER_CASE,
}
"""Findings that say nothing where the words are none."""


def judge(facts: Mapping[str, SplitFacts], columns: TagColumns | None = None) -> list[Finding]:
    """Return everything suspicious, most harmful first.

    Args:
        facts: by split; splits that an experiment lacks are left out.
        columns: of the training file; None where it has no columns to choose from.
    """
    labelled = [split for split in facts.values() if split.entities is not None]
    found = [finding for split in labelled for finding in _labelled(split)]
    if TRAIN in facts:
        train = facts[TRAIN]
        found += [finding for split in labelled if split is not train for finding in _against_train(split, train)]
        found += _copied(facts["test"], "dev") if "test" in facts else ()
        if columns is not None:
            found += _other_columns(columns)
    if TEXT in facts:
        found += about_text(facts[TEXT], labelled)
    if any(finding.name in _NO_WORDS for finding in found):
        found = [finding for finding in found if finding.name not in _OF_WORDS]
    order = list(FindingName)
    return _each_once(sorted(found, key=lambda finding: order.index(finding.name)))


def _each_once(found: Sequence[Finding]) -> list[Finding]:
    """Report once, for train, what is true of train and of other splits."""
    kept: list[Finding] = []
    for name, group in groupby(found, key=lambda finding: finding.name):
        first, *others = group
        if first.split == TRAIN and others and name is not FindingName.REPAIRED_TAGS:  # each has its count
            also = " and ".join(other.split for other in others if other.split != TEXT)
            others = [other for other in others if other.split == TEXT]
            first = replace(first, what=f"{first.what} ({also}, too)") if also else first
        kept += [first, *others]
    return kept


def _labelled(split: SplitFacts) -> Iterator[Finding]:
    name, entities = split.split, split.entities or {}
    total = sum(entities.values())
    same = all(sentence.tokens == sentence.source_tags for sentence in split.sample)
    if same:
        yield Finding(
            FindingName.SAME_COLUMN,
            name,
            f"in {name} every word is its own tag: word and tag are the same column",
            "set labelled.columns.word and labelled.columns.tag",
            0,
        )
    elif _numbered(split.sample):
        yield Finding(
            FindingName.NUMBERED_WORDS,
            name,
            f"the words of {name} are the numbers 1, 2, 3: an index, not words",
            "set labelled.columns.word to the column of the words",
            0,
        )
    elif split.types < _FEW_WORDS and split.tokens > _LARGE:
        shown = ", ".join(repr(word) for word, _ in words_of(split.sample).most_common(4))
        yield Finding(
            FindingName.FEW_WORDS,
            name,
            f"{name} has only {split.types} different words in {split.tokens:,} tokens ({shown}, ...)",
            "set labelled.columns.word if this is not the column of the words",
            0,
        )
    if not total:
        effect = {"train": "nothing can be learnt", "dev": "no epoch can be chosen", "test": "F1 means nothing"}[name]
        yield Finding(
            FindingName.NO_ENTITIES,
            name,
            f"{name} has no entity in {split.tokens:,} tokens, so {effect}",
            "set labelled.columns.tag to the column of the tags, or give a file with entities",
            0,
        )
    elif name != TRAIN and total < _FEW_ENTITIES:
        chance = "which epoch is best" if name == "dev" else "the difference between two variants"
        yield Finding(
            FindingName.FEW_ENTITIES,
            name,
            f"{name} has {total} entit{'y' if total == 1 else 'ies'}, so {chance} is mostly chance",
            f"give more {name} sentences",
        )
    yield from about_sentences(split, "labelled")
    yield from about_spelling(split)
    if split.repaired:
        yield Finding(
            FindingName.REPAIRED_TAGS,
            name,
            f"{split.repaired:,} tags of {name} break the rules of their scheme and were read as conlleval reads them",
            "correct them, or set labelled.strict=true to list them",
        )


def _against_train(split: SplitFacts, train: SplitFacts) -> Iterator[Finding]:
    name, mine, known = split.split, split.entities or {}, train.entities or {}
    lacking = {kind: number for kind, number in mine.items() if kind not in known}
    if lacking and known:
        shown = ", ".join(
            f"{kind} ({number:,})" for kind, number in sorted(lacking.items(), key=lambda kind: -kind[1])[:8]
        )
        more = f" and {len(lacking) - 8} more types" if len(lacking) > 8 else ""
        none = len(lacking) == len(mine)
        yield Finding(
            FindingName.NO_COMMON_TYPE if none else FindingName.UNKNOWN_TYPES,
            name,
            f"{name} has entities of types that train lacks, so they can only be missed: {shown}{more}",
            "give training sentences with them, or write the types the same way in all splits",
            _first_entity(split.sample, lacking),
        )
    yield from _copied(split, TRAIN)
    yield from about_words(split, train)


def _copied(split: SplitFacts, other: str) -> Iterator[Finding]:
    name, shared = split.split, split.shared.get(other, 0.0)
    if shared < _SOME or split.sentences == 1:
        return
    copied = shared >= _MANY
    yield Finding(
        FindingName.SAME_SENTENCES if copied else FindingName.SHARED_SENTENCES,
        name,
        f"{100 * shared:.0f} % of the sentences of {name} are in {other}, too: F1 on {name} says "
        f"{'nothing' if copied else 'too much'}",
        f"give a {name} file of other sentences",
        0 if copied else None,
    )


def _other_columns(columns: TagColumns) -> Iterator[Finding]:
    own = columns.entities.get(columns.tag, {})
    mine = sum(own.values())
    for number, types in columns.entities.items():
        total = sum(types.values())
        common = len(own.keys() & types.keys())
        nested = common and 2 * common >= len(own) and total >= _NESTED * max(1, mine)
        phrases = "NP" in types and "NP" not in own  # chunks beside rare entities are as they should be
        richer = total >= _RICHER * max(1, mine) and not (phrases and mine > 2)
        if number != columns.tag and total >= 10 and (nested or richer):
            yield Finding(
                FindingName.OTHER_COLUMN,
                TRAIN,
                f"the tag column (column {columns.tag}) holds {mine:,} entities where "
                f"column {number} holds {total:,} ({', '.join(list(types)[:4])})",
                f"set labelled.columns.tag={number} if that is the tag column",
                0,
            )
            return


def _numbered(sample: Sequence[StoredSentence]) -> bool:
    """Return whether most sentences are 1, 2, 3, ... (or 0, 1, 2, ...), or 7-1, 7-2, ... in sentence 7."""
    longer = [sentence.tokens for sentence in sample if len(sentence.tokens) > 1]
    numbered = sum(
        all(
            _IN_SENTENCE.sub("", word) == str(number)
            for number, word in enumerate(tokens, int(_IN_SENTENCE.sub("", tokens[0]) == "1"))
        )
        for tokens in longer
    )
    return numbered > 0.8 * len(longer) > 0


def _first_entity(sample: Sequence[StoredSentence], types: Mapping[str, int]) -> int | None:
    return next((s.sentence_id for s in sample if any(tag[2:] in types for tag in s.tags or ())), None)
