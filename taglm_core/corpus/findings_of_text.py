"""Findings about running text: about every corpus, and about the text that language models learn from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from taglm_core.config.data import FindingName
from taglm_core.corpus.sentence import StoredSentence
from taglm_core.corpus.split_facts import TEXT, TRAIN, Finding, SplitFacts, first_with, words_of

_LEAK = 0.05  # share of the test sentences that the language models read
_LONG, _UNBROKEN, _SHORT = 120, 500, 1.1  # mean tokens a sentence
_ENOUGH = 500  # words to judge by
_UNSEEN = 0.8  # share of the tokens whose word training lacks
_REPEATED = 0.5
_CASED = 0.01  # share of the words with a capital letter

_REMEDIES = {
    FindingName.TEXT_IS_JSON: "set unlabelled.format: jsonl, with an object a line (unlabelled.column names the field)"
}

_MARK = re.compile(r"-docstart-", re.IGNORECASE)
_TAG = re.compile(r"O|[BIESLUMW]-\S+")
_MARKUP = re.compile(r"</(?!s>)[a-z][\w:.-]*\s*>|<(br|hr|img|!--)\b|<[a-z][\w:.-]* [^<>]*=", re.IGNORECASE)
# <s>, </s> and marks such as <unk> are words of many texts
_GARBLED = re.compile("\ufffd|Ã[\u0080-\u00bf]|â€|Â[\u00a0-\u00bf]")


def about_sentences(split: SplitFacts, section: str) -> Iterator[Finding]:
    """Find missing or superfluous sentence ends, and repeated sentences; `section` is that of the settings."""
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
            "remove the blank lines inside the sentences"
            if section == "labelled"
            else f"give {ends}, its tokens separated by spaces",
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


def about_spelling(split: SplitFacts) -> Iterator[Finding]:
    """Find document marks among the words, and garbled letters."""
    name, words = split.split, words_of(split.sample)
    total = sum(words.values())
    marks = sum(count for word, count in words.items() if _MARK.match(word))
    if marks:
        yield Finding(
            FindingName.DOCUMENT_MARKS,
            name,
            f"{name} has document marks among its words ({marks} in its first {len(split.sample):,} sentences)",
            "write them as -DOCSTART-, or remove them",
            first_with(split.sample, _MARK.match),
        )
    garbled = sum(count for word, count in words.items() if _GARBLED.search(word))
    if garbled > 0.001 * total:
        example = next(word for word in words if _GARBLED.search(word))
        yield Finding(
            FindingName.GARBLED_LETTERS,
            name,
            f"letters of {name} were garbled by an earlier conversion, as in {example!r}",
            "convert the original file to UTF-8 anew",
            first_with(split.sample, _GARBLED.search),
        )


def about_words(split: SplitFacts, known: SplitFacts) -> Iterator[Finding]:
    """Find a corpus whose words the other one, which is to know them, mostly lacks."""
    name, seen, words = split.split, words_of(known.sample), words_of(split.sample)
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


def about_text(text: SplitFacts, labelled: Sequence[SplitFacts]) -> Iterator[Finding]:
    """Find markup, columns and untokenised words in the text, and what it shares with the labelled splits."""
    sample = text.sample
    if (kind := _kind_of_text(sample)) is not None:
        name, what = kind
        yield Finding(
            name,
            TEXT,
            f"the text looks like {what}, and its markup would be learnt as words",
            _REMEDIES.get(name, "give plain text, one tokenised sentence a line"),
            0,
        )
    else:
        yield from about_sentences(text, "unlabelled")
        yield from _tokenisation(text)
    yield from about_spelling(text)
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
        yield from about_words(train, text)
    if train is not None and (cased := _cased(train.sample)) > _CASED and _cased(sample) < cased / 10:
        yield Finding(
            FindingName.OTHER_CASE,
            TEXT,
            "the text has hardly any capital letters, and the labelled sentences have",
            "give text that is written as the labelled sentences are",
            0,
        )


def _kind_of_text(sample: Sequence[StoredSentence]) -> tuple[FindingName, str] | None:
    def most(test: re.Pattern[str]) -> bool:
        return sum(bool(test.search(" ".join(sentence.tokens))) for sentence in sample) > 0.5 * len(sample)

    first = " ".join(sample[0].tokens)
    if most(re.compile(r'^[\[{] ?"?.*[\]}],?$')):
        return FindingName.TEXT_IS_JSON, "JSON lines"
    if re.match(r"<(!doctype|html|\?xml|mediawiki|tei|doc )", first, re.IGNORECASE) or most(_MARKUP):
        return FindingName.TEXT_IS_MARKUP, "HTML or XML"
    columns = sum(1 < len(s.tokens) < 12 and bool(_TAG.fullmatch(s.tokens[-1])) for s in sample)
    if columns > 0.8 * len(sample):
        return FindingName.TEXT_IS_COLUMNS, "CoNLL columns, a word a line"
    return None


def _tokenisation(text: SplitFacts) -> Iterator[Finding]:
    words = words_of(text.sample)
    loose = sum(words[mark] for mark in (".", ",", "?", "!"))
    fixed = sum(count for word, count in words.items() if len(word) > 2 and word[-1] in ",?!" and word[-2].isalpha())
    if fixed > 20 and fixed > 4 * loose:
        example = next(word for word in words if len(word) > 2 and word[-1] in ",?!" and word[-2].isalpha())
        yield Finding(
            FindingName.TEXT_NOT_TOKENISED,
            TEXT,
            f"the text looks untokenised: commas stand at words, as in {example!r}",
            "set unlabelled.format: documents, which splits it into sentences and tokens (text.language says how); or "
            "give text whose tokens are separated by spaces, as the labelled sentences have them",
            first_with(text.sample, lambda word: word == example),
        )


def _cased(sample: Sequence[StoredSentence]) -> float:
    """Return the share of the words that have a capital letter."""
    words = words_of(sample)
    return sum(count for word, count in words.items() if word != word.lower()) / sum(words.values())
