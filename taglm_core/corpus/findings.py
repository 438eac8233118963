"""What is suspicious about the corpora of an experiment, judged from what is stored of them.

Findings never change a number. One that makes results meaningless stops the run, unless the experiment accepts it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from taglm_core.config.data import FindingName
from taglm_core.corpus.sentence import StoredSentence

TEXT = "text"
TRAIN = "train"

_MANY, _SOME = 0.9, 0.1  # shares of sentences that two splits have in common
_LEAK = 0.05  # share of the test sentences that the language models read
_LONG, _UNBROKEN, _SHORT = 120, 500, 1.1  # mean tokens a sentence
_RICHER = 20  # times the entities of the tag column
_NESTED = 3  # times the entities of the tag column, where both columns have the same types
_FEW_WORDS, _LARGE = 100, 5_000  # distinct words of so many tokens
_ENOUGH = 500  # words to judge by
_UNSEEN = 0.8  # share of the tokens whose word training lacks
_FEW_ENTITIES = 30
_REPEATED = 0.5

_STOPPING = frozenset(takewhile(lambda name: name is not FindingName.FEW_WORDS, FindingName))
"""Findings with which results are meaningless: the first ones, in the order of harm."""

_MARK = re.compile(r"-docstart-", re.IGNORECASE)
_TAG = re.compile(r"O|[BIESLUMW]-\S+")
_MARKUP = re.compile(r"</?[a-zA-Z!][^>]*>")
_GARBLED = re.compile("\ufffd|Ã[\u0080-\u00bf]|â€|Â[\u00a0-\u00bf]")


@dataclass(frozen=True, slots=True)
class SplitFacts:
    """What is known of one stored corpus.

    Attributes:
        split: train, dev, test or text.
        sentences: number of sentences.
        tokens: number of tokens.
        types: number of distinct words.
        longest: tokens of the longest sentence.
        duplicates: sentences beyond the first of each.
        entities: entities by type; None for text.
        shared: share of its sentences that another corpus has, by the name of that one.
        sample: its first sentences.
        repaired: entities whose tags broke the rules of their scheme and were repaired.
    """

    split: str
    sentences: int
    tokens: int
    types: int
    longest: int
    duplicates: int
    entities: Mapping[str, int] | None
    shared: Mapping[str, float]
    sample: Sequence[StoredSentence]
    repaired: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """Something suspicious.

    Attributes:
        name: what `labelled.accept` or `unlabelled.accept` takes.
        split: the corpus that it is about.
        what: what was found and why it matters, as a sentence.
        remedy: the setting or the change that settles it.
        sentence: id of a sentence that shows it.
        where: file and line of that sentence, where they are known.
    """

    name: FindingName
    split: str
    what: str
    remedy: str
    sentence: int | None = None
    where: str = ""

    @property
    def stops(self) -> bool:
        """Whether results would be meaningless."""
        return self.name in _STOPPING


@dataclass(frozen=True, slots=True)
class TagColumns:
    """Columns of the training file, looked at beside the tag column.

    Attributes:
        tag: index of the tag column, from 0.
        entities: entities by type of every column that could be a tag column, in the first sentences.
    """

    tag: int
    entities: Mapping[int, Mapping[str, int]] = field(default_factory=dict)


def judge(facts: Mapping[str, SplitFacts], columns: TagColumns | None = None) -> list[Finding]:
    """Everything suspicious, in the order of harm.

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
        found += _text(facts[TEXT], labelled)
    order = list(FindingName)
    return sorted(found, key=lambda finding: order.index(finding.name))


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
        shown = ", ".join(repr(word) for word, _ in _words(split.sample).most_common(4))
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
    yield from _sentences(split, "labelled")
    yield from _spelling(split)
    if split.repaired:
        yield Finding(
            FindingName.REPAIRED_TAGS,
            name,
            f"{split.repaired:,} tags of {name} break the rules of their scheme and were read as conlleval reads them",
            "correct them, or set labelled.strict=true to list them",
        )


def _sentences(split: SplitFacts, section: str) -> Iterator[Finding]:
    name, mean = split.split, split.tokens / split.sentences
    ends = "a blank line after each sentence" if section == "labelled" else "one sentence a line"
    figures = f"{split.tokens:,} tokens in {split.sentences:,} sentence{'s' if split.sentences > 1 else ''}"
    if mean > _UNBROKEN:
        yield Finding(
            FindingName.NO_SENTENCES, name, f"{name} has {figures}: sentence ends are missing", f"put {ends}", 0
        )
    elif mean <= _SHORT and split.sentences > 20:
        yield Finding(
            FindingName.ONE_TOKEN_SENTENCES,
            name,
            f"{name} has {figures}: nearly every sentence is one word",
            "remove the blank lines inside the sentences" if section == "labelled" else f"give {ends}",
            0,
        )
    elif mean > _LONG:
        yield Finding(
            FindingName.LONG_SENTENCES,
            name,
            f"the sentences of {name} have {mean:.0f} tokens on average; the longest has {split.longest:,}",
            f"put {ends}; long ones need much memory and time",
        )
    if split.sentences > 20 and split.duplicates > _REPEATED * split.sentences:
        yield Finding(
            FindingName.REPEATED_SENTENCES,
            name,
            f"{split.duplicates:,} of the {split.sentences:,} sentences of {name} repeat another one",
            f"remove the repetitions, unless {name} should have them",
        )


def _spelling(split: SplitFacts) -> Iterator[Finding]:
    name, words = split.split, _words(split.sample)
    total = sum(words.values())
    marks = sum(count for word, count in words.items() if _MARK.match(word))
    if marks:
        yield Finding(
            FindingName.DOCUMENT_MARKS,
            name,
            f"{name} has document marks among its words ({marks} in its first {len(split.sample):,} sentences)",
            "write them as -DOCSTART-, or remove them",
            _first(split.sample, _MARK.match),
        )
    garbled = sum(count for word, count in words.items() if _GARBLED.search(word))
    if garbled > 0.001 * total:
        example = next(word for word in words if _GARBLED.search(word))
        yield Finding(
            FindingName.GARBLED_LETTERS,
            name,
            f"letters of {name} were garbled by an earlier conversion, as in {example!r}",
            "convert the original file to UTF-8 anew",
            _first(split.sample, _GARBLED.search),
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
    yield from _other_words(split, train)


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


def _other_words(split: SplitFacts, known: SplitFacts) -> Iterator[Finding]:
    """Whether a corpus is of other words than the one that is to know them."""
    name, seen, words = split.split, _words(known.sample), _words(split.sample)
    unseen = sum(count for word, count in words.items() if word not in seen)
    total = sum(words.values())
    if total > _ENOUGH and sum(seen.values()) > _ENOUGH and unseen > _UNSEEN * total:
        yield Finding(
            FindingName.OTHER_WORDS,
            name,
            f"{100 * unseen / total:.0f} % of the words of {name} are not in {known.split}",
            "look at the first sentence of each: are both of one language, and split into words in the same way?",
            0,
        )


def _other_columns(columns: TagColumns) -> Iterator[Finding]:
    own = columns.entities.get(columns.tag, {})
    mine = sum(own.values())
    for number, types in columns.entities.items():
        total = sum(types.values())
        common = len(own.keys() & types.keys())
        nested = common and 2 * common >= len(own) and total >= _NESTED * max(1, mine)
        if number != columns.tag and total >= 10 and (nested or total >= _RICHER * max(1, mine)):
            yield Finding(
                FindingName.OTHER_COLUMN,
                TRAIN,
                f"the tag column (column {columns.tag}) holds {mine:,} entities where "
                f"column {number} holds {total:,} ({', '.join(list(types)[:4])})",
                f"set labelled.columns.tag={number} if that is the tag column",
                0,
            )
            return


def _text(text: SplitFacts, labelled: Sequence[SplitFacts]) -> Iterator[Finding]:
    sample = text.sample
    if (kind := _kind_of_text(sample)) is not None:
        name, what = kind
        yield Finding(
            name,
            TEXT,
            f"the text looks like {what}, and its markup would be learnt as words",
            "give plain text, one tokenised sentence a line",
            0,
        )
    else:
        yield from _sentences(text, "unlabelled")
        yield from _tokenisation(text)
    yield from _spelling(text)
    for split in labelled:
        shared = split.shared.get(TEXT, 0.0)
        if split.split != TRAIN and shared >= _LEAK:
            yield Finding(
                FindingName.TEXT_HAS_SENTENCES,
                TEXT,
                f"{100 * shared:.0f} % of the sentences of {split.split} are in the "
                "text, so the language models have read them",
                f"remove the sentences of {split.split} from the text",
            )
    train = next((split for split in labelled if split.split == TRAIN), None)
    if train is not None:
        yield from _other_words(train, text)
    if train is not None and _cased(train.sample) and not _cased(sample):
        yield Finding(
            FindingName.OTHER_CASE,
            TEXT,
            "the text has no capital letters, and the labelled sentences have",
            "give text that is written as the labelled sentences are",
            0,
        )


def _kind_of_text(sample: Sequence[StoredSentence]) -> tuple[FindingName, str] | None:
    def most(test: re.Pattern[str]) -> bool:
        return sum(bool(test.search(" ".join(sentence.tokens))) for sentence in sample) > 0.5 * len(sample)

    first = " ".join(sample[0].tokens)
    if most(re.compile(r'^[\[{] ?"?.*[\]}],?$')):
        return FindingName.TEXT_IS_JSON, "JSON lines"
    if re.match(r"<(!doctype|html|\?xml)", first, re.IGNORECASE) or most(_MARKUP):
        return FindingName.TEXT_IS_MARKUP, "HTML or XML"
    columns = sum(1 < len(s.tokens) < 12 and bool(_TAG.fullmatch(s.tokens[-1])) for s in sample)
    if columns > 0.8 * len(sample):
        return FindingName.TEXT_IS_COLUMNS, "CoNLL columns, a word a line"
    return None


def _tokenisation(text: SplitFacts) -> Iterator[Finding]:
    words = _words(text.sample)
    loose = sum(words[mark] for mark in (".", ",", "?", "!"))
    fixed = sum(count for word, count in words.items() if len(word) > 2 and word[-1] in ",?!" and word[-2].isalpha())
    if fixed > 20 and fixed > 4 * loose:
        example = next(word for word in words if len(word) > 2 and word[-1] in ",?!" and word[-2].isalpha())
        yield Finding(
            FindingName.TEXT_NOT_TOKENISED,
            TEXT,
            f"the text looks untokenised: commas stand at words, as in {example!r}",
            "give text whose tokens are separated by spaces, as the labelled sentences have them",
            _first(text.sample, lambda word: word == example),
        )


def _words(sample: Sequence[StoredSentence]) -> Counter[str]:
    return Counter(word for sentence in sample for word in sentence.tokens)


def _numbered(sample: Sequence[StoredSentence]) -> bool:
    """Whether most sentences are 1, 2, 3, ... (or 0, 1, 2, ...)."""
    longer = [sentence.tokens for sentence in sample if len(sentence.tokens) > 1]
    numbered = sum(
        all(word == str(number) for number, word in enumerate(tokens, int(tokens[0] == "1"))) for tokens in longer
    )
    return numbered > 0.8 * len(longer) > 0


def _cased(sample: Sequence[StoredSentence]) -> bool:
    """Whether at least one word in a hundred has a capital letter."""
    words = _words(sample)
    return sum(count for word, count in words.items() if word != word.lower()) > 0.01 * sum(words.values())


def _first(sample: Sequence[StoredSentence], test: Callable[[str], object]) -> int | None:
    return next((s.sentence_id for s in sample if any(test(word) for word in s.tokens)), None)


def _first_entity(sample: Sequence[StoredSentence], types: Mapping[str, int]) -> int | None:
    return next((s.sentence_id for s in sample if any(tag[2:] in types for tag in s.tags or ())), None)
