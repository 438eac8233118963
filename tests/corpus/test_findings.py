"""Findings: each suspicious corpus is named, and sound ones are left alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from taglm_core.config.data import FindingName
from taglm_core.corpus.findings import judge
from taglm_core.corpus.sentence import StoredSentence
from taglm_core.corpus.split_facts import SplitFacts, TagColumns

WORDS = ["The", "quick", "Fox", ",", "said", "Ann", ",", "jumps", "over", "the", "lazy", "dog", "of", "Oslo"]


def sentences(texts: Sequence[str], tags: Sequence[str] | None = None, source: Sequence[str] | None = None) -> list:
    """Stored sentences; without tags they are text."""
    found = []
    for number, text in enumerate(texts):
        tokens = tuple(text.split())
        its = None if tags is None else tuple(tags[number].split())
        found.append(StoredSentence(number, 0, tokens, its, tuple(source[number].split()) if source else its))
    return found


def facts(split: str, sample: list[StoredSentence], **others: object) -> SplitFacts:
    """Facts about a corpus that is its own sample."""
    tokens = [token for sentence in sample for token in sentence.tokens]
    entities: dict[str, int] | None = {}
    for sentence in sample:
        for tag in sentence.tags or ():
            if tag[0] in "BS":
                entities[tag[2:]] = entities.get(tag[2:], 0) + 1
    if split == "text":
        entities = None
    longest = max(len(sentence.tokens) for sentence in sample)
    made = SplitFacts(split, len(sample), len(tokens), len(set(tokens)), longest, 0, entities, {}, sample)
    return replace(made, **others)  # type: ignore[arg-type]


def labelled(split: str, **others: object) -> SplitFacts:
    """A sound labelled corpus."""
    texts = [" ".join([*WORDS, f"{split}{number}"]) for number in range(40)]
    return facts(split, sentences(texts, ["O O O O O S-PER O O O O O O O S-LOC O"] * 40), **others)


TEXT = facts("text", sentences([" ".join([*WORDS, str(number)]) for number in range(40)]))


def names(*corpora: SplitFacts, columns: TagColumns | None = None) -> dict[FindingName, bool]:
    """What is found in these corpora beside sound ones, and whether it stops the run."""
    sound = {split: labelled(split) for split in ("train", "dev", "test")} | {"text": TEXT}
    return {one.name: one.stops for one in judge(sound | {corpus.split: corpus for corpus in corpora}, columns)}


NUMBERED = [" ".join(f"{line}-{number}" for number in range(1, 16)) for line in range(1, 41)]
SOUND_TEXTS = [
    [" ".join([*WORDS[:-1], "<unk>", str(number)]) for number in range(40)],
    [" ".join(["<s>", *WORDS, str(number), "</s>"]) for number in range(40)],
    [" ".join([*WORDS, "<URL>", "<3", str(number)]) for number in range(40)],
]


@pytest.mark.parametrize("texts", SOUND_TEXTS)
def test_marks_of_texts_are_no_markup(texts: list[str]) -> None:
    """Sentence marks and placeholders are words."""
    assert names(facts("text", sentences(texts))) == {}


def test_what_follows_from_wrong_words_is_not_said() -> None:
    """Where the words are indices, sentences are alike; only the cause is named."""
    numbers = facts("dev", sentences(NUMBERED, [ONE] * 40), shared={"train": 1.0}, duplicates=39)
    assert names(numbers) == {FindingName.NUMBERED_WORDS: True}


def test_what_is_true_of_all_splits_is_said_once() -> None:
    """One finding for train, with the names of the others."""
    found = judge({split: labelled(split, sentences=600) for split in ("train", "dev", "test")})
    (one,) = found
    assert (one.split, one.name) == ("train", FindingName.ONE_TOKEN_SENTENCES)
    assert "(dev and test, too)" in one.what


def test_sound_corpora_have_no_findings() -> None:
    """Nothing is said of corpora as they should be, and of single splits that an experiment lacks."""
    assert names(columns=TagColumns(3, {3: {"PER": 40, "LOC": 40}, 2: {"NP": 200}})) == {}
    assert judge({"text": TEXT}) == []
    assert judge({"train": labelled("train"), "dev": labelled("dev")}) == []


ONE = "O O O O O S-PER O O O O O O O S-LOC O"
NUMBERS = [" ".join(str(number) for number in range(1, 16))] * 40
TAGS_ONLY = ["O O O O O B-PER O O O O O O O B-LOC O"] * 40
NAMED = [" ".join([*WORDS, "x"])] * 40


@pytest.mark.parametrize(
    ("corpus", "name", "stops"),
    [
        (facts("dev", sentences(TAGS_ONLY, [ONE] * 40, TAGS_ONLY)), FindingName.SAME_COLUMN, True),
        (facts("train", sentences(NUMBERS, [ONE] * 40)), FindingName.NUMBERED_WORDS, True),
        (labelled("train", tokens=20_000, sentences=2_000, types=45), FindingName.FEW_WORDS, False),
        (labelled("train", entities={}), FindingName.NO_ENTITIES, True),
        (labelled("dev", entities={}), FindingName.NO_ENTITIES, True),
        (labelled("test", entities={}), FindingName.NO_ENTITIES, True),
        (labelled("dev", entities={"PER": 3}), FindingName.FEW_ENTITIES, False),
        (labelled("test", entities={"PER": 40, "Ort": 40}), FindingName.UNKNOWN_TYPES, False),
        (labelled("test", entities={"Ort": 40}), FindingName.NO_COMMON_TYPE, True),
        (labelled("test", shared={"train": 1.0}), FindingName.SAME_SENTENCES, True),
        (labelled("test", shared={"dev": 1.0}), FindingName.SAME_SENTENCES, True),
        (labelled("dev", shared={"train": 0.3}), FindingName.SHARED_SENTENCES, False),
        (labelled("test", shared={"text": 0.5}), FindingName.TEXT_HAS_SENTENCES, False),
        (labelled("train", sentences=1, tokens=20_640), FindingName.NO_SENTENCES, True),
        (labelled("train", sentences=600), FindingName.ONE_TOKEN_SENTENCES, True),
        (labelled("train", tokens=8_000), FindingName.LONG_SENTENCES, False),
        (labelled("train", duplicates=30), FindingName.REPEATED_SENTENCES, False),
        (labelled("dev", repaired=3), FindingName.REPAIRED_TAGS, False),
        (facts("dev", sentences(["-docstart- x"] * 40, ["O S-PER"] * 40)), FindingName.DOCUMENT_MARKS, False),
        (facts("dev", sentences(["MÃ¼ller x"] * 40, ["S-PER O"] * 40)), FindingName.GARBLED_LETTERS, False),
        (facts("dev", sentences([" ".join("abcdefghijklmno")] * 40, [ONE] * 40)), FindingName.OTHER_WORDS, False),
        (facts("text", sentences(['{"id": 1, "text": "A b"}'] * 9)), FindingName.TEXT_IS_JSON, True),
        (facts("text", sentences(["<!DOCTYPE html>", "A b", "c d"])), FindingName.TEXT_IS_MARKUP, True),
        (facts("text", sentences(['<doc id="1" url="x">', "A b c", "d e f"])), FindingName.TEXT_IS_MARKUP, True),
        (facts("train", sentences(NUMBERED, [ONE] * 40)), FindingName.NUMBERED_WORDS, True),
        (facts("text", sentences(["<p> A b </p>"] * 9)), FindingName.TEXT_IS_MARKUP, True),
        (facts("text", sentences(["EU NNP I-NP I-ORG", "rejects VBZ I-VP O"] * 9)), FindingName.TEXT_IS_COLUMNS, True),
        (facts("text", sentences([" ".join("abcdefghijklmno")] * 40)), FindingName.OTHER_WORDS, False),
        (facts("text", sentences(["word"] * 40)), FindingName.ONE_TOKEN_SENTENCES, True),
        (facts("text", sentences(["Well, he said, Ann, no?"] * 40)), FindingName.TEXT_NOT_TOKENISED, False),
        (facts("text", sentences([one.lower() for one in NAMED])), FindingName.OTHER_CASE, False),
    ],
)
def test_what_is_suspicious_is_named(corpus: SplitFacts, name: FindingName, stops: bool) -> None:
    """Each kind by its name; what makes results meaningless stops the run, the rest does not."""
    assert names(corpus)[name] is stops


@pytest.mark.parametrize(
    ("own", "other", "found"),
    [
        ({"PER": 2}, {"PER": 60}, True),  # nearly empty
        ({}, {"NP": 60}, True),  # empty
        ({"PER": 10, "LOC": 5}, {"PER": 40, "LOC": 30}, True),  # nested entities of the same types
        ({"DRUG": 3}, {"NP": 100, "VP": 40}, False),
        ({"PER": 10, "LOC": 5}, {"NP": 100, "VP": 40}, False),  # phrases beside entities
    ],
)
def test_a_richer_column_is_named(own: dict[str, int], other: dict[str, int], found: bool) -> None:
    """The last column is the tag column by default; one with far more entities, or the outer ones, may be meant."""
    assert names(columns=TagColumns(3, {3: own, 2: other})).get(FindingName.OTHER_COLUMN, False) is found
