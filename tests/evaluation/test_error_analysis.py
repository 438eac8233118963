"""Error analysis: worked by hand, and against plain Python on random tag sequences, valid or not."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from taglm_core.corpus.database import DatabaseLimits
from taglm_core.corpus.parquet import corpus_files, write_corpus
from taglm_core.corpus.schemes import Scheme, Span
from taglm_core.corpus.sentence import Sentence
from taglm_core.errors import MismatchError
from taglm_core.evaluation.error_analysis import OUTCOMES, STRATA, WORDS, Mistake, VariantErrors, analyse_errors
from taglm_core.evaluation.predictions import Predictions, write_predictions
from taglm_core.evaluation.spans import Counts, bioes_to_iob2, conlleval_spans

TAGS = ("O", "O", *(f"{prefix}-{kind}" for kind in ("PER", "LOC-A") for prefix in "BIES"))
Tagged = Sequence[tuple[Sequence[str], Sequence[str]]]


def _train(folder: Path, sentences: Tagged) -> Sequence[Path]:
    rows = (Sentence(tuple(words), tuple(tags), 0, 1, "train") for words, tags in sentences)
    write_corpus(rows, folder / "train", scheme=Scheme.BIOES)
    return corpus_files(folder / "train")


def _predictions(path: Path, rows: Sequence[tuple[Sequence[str], Sequence[str], Sequence[str]]]) -> Path:
    words, gold, predicted = zip(*rows, strict=True)
    write_predictions(path, Predictions(range(len(rows)), words, gold, predicted))
    return path


def _analyse(
    folder: Path, train: Sequence[Path], files: Mapping[str, Sequence[Path]], mistakes: int = 0
) -> dict[str, VariantErrors]:
    return analyse_errors(files, train, DatabaseLimits(1, "500MB", folder / "duckdb"), mistakes=mistakes)


def test_worked_by_hand(tmp_path: Path) -> None:
    """One span of every outcome, and every stratum of entities."""
    train = _train(tmp_path, [(["Ann", "saw", "Rome"], ["S-PER", "O", "S-LOC"]), (["York", "saw"], ["O", "O"])])
    rows = [
        (["Ann", "saw", "Rome"], ["S-PER", "O", "S-LOC"], ["S-PER", "O", "S-PER"]),  # correct, wrong type
        (["Ann", "York", "saw"], ["B-PER", "E-PER", "O"], ["S-PER", "O", "O"]),  # wrong boundaries; new, known words
        (["Oslo", "saw"], ["S-LOC", "O"], ["O", "S-PER"]),  # missed, an unknown word; spurious
        (["Rome", "Oslo"], ["B-PER", "E-PER"], ["S-LOC", "O"]),  # wrong type and boundaries
    ]
    errors = _analyse(tmp_path, train, {"a": [_predictions(tmp_path / "p.parquet", rows)]}, mistakes=5)["a"]
    assert dict(errors.outcomes) == dict.fromkeys(OUTCOMES, (1,))
    assert {name: seeds[0] for name, seeds in errors.strata["entity"].items()} == {
        "seen in training": Counts(2, 3, 1),  # gold Ann and Rome; Ann, Ann and Rome-LOC predicted
        "seen as another type": Counts(0, 1, 0),
        "new, of known words": Counts(1, 1, 0),
        "new, with an unknown word": Counts(2, 0, 0),
    }
    assert dict(errors.confusions) == {"LOC > PER": (1,), "PER > LOC": (1,)}
    assert errors.strata["length"]["2 tokens"] == (Counts(2, 0, 0),)
    assert errors.words["all tokens, unknown"][0] == (2, 0)
    assert errors.words["entity tokens, known"][0] == (5, 2)  # both Anns: mapped to IOB2, S-PER is B-PER
    assert Mistake("wrong boundaries", "Ann York", "PER", "Ann", "PER", 1) in errors.mistakes
    assert Mistake("spurious", None, None, "saw", "PER", 1) in errors.mistakes
    assert VariantErrors.from_dict(json.loads(json.dumps(errors.to_dict()))) == errors


def _by_hand(train: Tagged, rows: Sequence[tuple[Sequence[str], Sequence[str], Sequence[str]]]) -> dict[str, Any]:
    """The same figures by loops."""
    known = {word for words, _ in train for word in words}
    seen = {(s.type, tuple(words[s.start : s.end])) for words, tags in train for s in conlleval_spans(tags)}
    surfaces = {words for _, words in seen}
    strata: dict[str, list[int]] = {name: [0, 0, 0] for names in STRATA.values() for name in names}
    outcomes, tokens = Counter[str](), {name: [0, 0] for name in WORDS}

    def of(span: Span, words: Sequence[str]) -> tuple[str, str]:
        surface, length = tuple(words[span.start : span.end]), span.end - span.start
        place = 2 + (not known.issuperset(surface))
        if surface in surfaces:
            place = 0 if (span.type, surface) in seen else 1
        return STRATA["entity"][place], STRATA["length"][min(length, 4) - 1]

    for words, gold, predicted in rows:
        one, other = conlleval_spans(gold), conlleval_spans(predicted)
        for side, spans in enumerate((one, other)):
            for span in spans:
                for name in of(span, words):
                    strata[name][side] += 1
                    strata[name][2] += side == 0 and span in other
        for span in one:
            met = [s for s in other if s.start < span.end and s.end > span.start]
            if span in met:
                outcomes["correct"] += 1
            elif not met:
                outcomes["missed"] += 1
            elif (met[0].start, met[0].end) == (span.start, span.end):
                outcomes["wrong type"] += 1
            else:
                same = any(s.type == span.type for s in met)
                outcomes["wrong boundaries" if same else "wrong type and boundaries"] += 1
        outcomes["spurious"] += sum(all(s.start >= g.end or s.end <= g.start for g in one) for s in other)
        for word, tag, found in zip(words, bioes_to_iob2(gold), bioes_to_iob2(predicted), strict=True):
            for which in ("all", "entity") if tag != "O" else ("all",):
                name = f"{which} tokens, {'known' if word in known else 'unknown'}"
                tokens[name] = [tokens[name][0] + 1, tokens[name][1] + (tag == found)]
    return {"strata": strata, "outcomes": outcomes, "tokens": tokens}


def test_the_same_as_loops_on_random_sequences(tmp_path: Path) -> None:
    """Any sequence of tags on both sides, touching spans, types with hyphens, two seeds."""
    generator = random.Random(5)
    alphabet = [f"w{number}" for number in range(12)]

    def sentence(words: int) -> tuple[list[str], list[str]]:
        length = generator.randint(1, 9)
        drawn = [generator.choice(alphabet[:words]) for _ in range(length)]
        return drawn, [generator.choice(TAGS) for _ in range(length)]

    train = [(words, ["S-PER" if tag != "O" else "O" for tag in tags]) for words, tags in [sentence(8)]]
    train += [(["w0", "w1"], ["B-LOC-A", "E-LOC-A"]), (["w2"], ["S-LOC-A"])]
    seeds = [[(*sentence(12), []) for _ in range(400)] for _ in range(2)]
    rows = [[(w, g, [generator.choice((t, generator.choice(TAGS))) for t in g]) for w, g, _ in seed] for seed in seeds]
    paths = [_predictions(tmp_path / f"{number}.parquet", seed) for number, seed in enumerate(rows)]
    errors = _analyse(tmp_path, _train(tmp_path, train), {"a": paths})["a"]
    for number, seed in enumerate(rows):
        expected = _by_hand(train, seed)
        found = {name: list(s[number]) for group in errors.strata.values() for name, s in group.items()}
        assert found == expected["strata"]
        assert {name: s[number] for name, s in errors.outcomes.items()} == {
            n: expected["outcomes"][n] for n in OUTCOMES
        }
        assert {name: list(s[number]) for name, s in errors.words.items()} == expected["tokens"]
    assert errors.mistakes == ()


def test_frequent_mistakes_come_first_and_add_up_over_seeds(tmp_path: Path) -> None:
    """Two seeds that miss the same word count as two; only so many are named."""
    train = _train(tmp_path, [(["a"], ["O"])])
    rows = [(["x"], ["S-PER"], ["O"])] * 2 + [(["y"], ["S-PER"], ["O"])] + [(["z"], ["S-PER"], ["O"])]
    paths = [_predictions(tmp_path / f"{number}.parquet", rows) for number in range(2)]
    errors = _analyse(tmp_path, train, {"a": paths}, mistakes=2)["a"]
    assert errors.mistakes == (
        Mistake("missed", "x", "PER", None, None, 4),
        Mistake("missed", "y", "PER", None, None, 2),
    )


def test_training_text_without_tags_is_refused(tmp_path: Path) -> None:
    """Seen entities can't be known then."""
    write_corpus([Sentence(("a",), None, 0, 1, "text")], tmp_path / "text", scheme=None)
    path = _predictions(tmp_path / "p.parquet", [(["x"], ["S-PER"], ["O"])])
    with pytest.raises(MismatchError, match="training sentences without tags"):
        _analyse(tmp_path, corpus_files(tmp_path / "text"), {"a": [path]})
