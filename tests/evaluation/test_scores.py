"""Scores: seqeval confirms them, they survive JSON, and confusion adds up."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import f1_score
from seqeval.scheme import IOBES

from taglm_core.evaluation import scores as scores_module
from taglm_core.evaluation.scores import Scores, SeqevalScores, score, seqeval_scores, type_confusion
from taglm_core.evaluation.spans import SpanPair, encode_tags

GOLD = [["B-LOC", "E-LOC", "O", "S-PER"], ["S-ORG", "O"], []]
PREDICTED = [["B-LOC", "I-LOC", "O", "S-ORG"], ["S-ORG", "S-PER"], []]
TAG = st.sampled_from(["O", *(f"{prefix}-{type_}" for prefix in "BIES" for type_ in ("X", "Y"))])


def test_scores_of_a_hand_worked_case() -> None:
    """Micro, boundaries, strict F1 and accuracy on mapped tags are those worked by hand."""
    found = score(GOLD, PREDICTED)
    assert (found.micro.gold, found.micro.predicted, found.micro.correct) == (3, 4, 2)
    assert found.micro.f1 == pytest.approx(4 / 7)
    assert found.boundaries.correct == 3
    assert found.f1_strict == pytest.approx(2 / 6)  # B I is no strict span, so 3 are predicted
    assert found.token_accuracy == pytest.approx(4 / 6)
    assert found.per_type["ORG"].precision == 0.5
    assert (found.sentences, found.tokens) == (3, 6)


@given(st.lists(st.lists(st.tuples(TAG, TAG), max_size=8), max_size=5))
def test_scores_agree_with_seqeval_and_survive_json(corpus: list[list[tuple[str, str]]]) -> None:
    """For any tags seqeval confirms our counts, and the scores come back from JSON unchanged."""
    gold = [[a for a, _ in sentence] for sentence in corpus]
    predicted = [[b for _, b in sentence] for sentence in corpus]
    found = score(gold, predicted)
    assert Scores.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    confusion = type_confusion(gold, predicted)
    json.dumps(confusion)
    assert sum(map(sum, confusion["matrix"])) + sum(confusion["missed"]) == found.micro.gold
    assert sum(map(sum, confusion["matrix"])) + sum(confusion["spurious"]) == found.micro.predicted
    assert sum(confusion["matrix"][i][i] for i in range(len(confusion["types"]))) == found.micro.correct
    if found.micro.gold and found.micro.predicted:  # seqeval's strict mode cannot count nothing
        strict = f1_score(gold, predicted, mode="strict", scheme=IOBES, zero_division=0)
        assert found.f1_strict == pytest.approx(strict)


@pytest.mark.parametrize("K", [2, 181, 182, 300])
def test_confusion_of_many_types_counts_as_plain_integers_do(K: int) -> None:
    """Whatever the number of types, each span is in the cell of its two types."""
    numbers = [0, 1, K // 2, K - 2, K - 1]
    names = [f"T{number:05}" for number in range(K)]
    # every type occurs, so that codes reach their highest; each pair of some types occurs once in sentences of its own
    pairs = [(names[a], names[b]) for a in numbers for b in numbers]
    gold = [[f"S-{name}" for name in names], *([f"B-{a}", f"E-{a}"] for a, _ in pairs)]
    predicted = [[f"S-{name}" for name in names], *([f"B-{b}", f"E-{b}"] for _, b in pairs)]
    found = type_confusion(gold, predicted)
    wanted = Counter([*((name, name) for name in names), *pairs])
    assert found["types"] == names
    cells = {
        (names[row], names[column]): count
        for row, counts in enumerate(found["matrix"])
        for column, count in enumerate(counts)
        if count
    }
    assert cells == wanted
    assert set(found["missed"]) == set(found["spurious"]) == {0}
    correct = K + sum(a == b for a, b in pairs)
    assert SpanPair(encode_tags(gold, predicted)).counts().micro == (K + len(pairs), K + len(pairs), correct)


def test_gold_type_never_predicted_counts_as_missed() -> None:
    """A type that training never saw lowers recall like any other miss."""
    found = score([["S-NEW", "S-PER"]], [["O", "S-PER"]])
    assert found.micro.recall == 0.5
    assert (found.per_type["NEW"].gold, found.per_type["NEW"].correct) == (1, 0)


@pytest.mark.parametrize("tags", [[], [[]], [["O", "O"]]])
def test_nothing_to_find_scores_zero(tags: list[list[str]]) -> None:
    """Without any span everything is 0 and no type is listed; nothing divides by zero."""
    found = score(tags, tags)
    assert (found.micro.f1, found.f1_strict, dict(found.per_type)) == (0.0, 0.0, {})


def test_confusion_of_a_hand_worked_case() -> None:
    """Rows are gold types, columns predicted ones; spans without counterpart are missed or spurious."""
    found = type_confusion(GOLD, PREDICTED)
    assert found["types"] == ["LOC", "ORG", "PER"]
    assert found["matrix"] == [[1, 0, 0], [0, 1, 0], [0, 1, 0]]
    assert found["missed"] == [0, 0, 0]
    assert found["spurious"] == [0, 0, 1]


def test_disagreement_with_seqeval_is_an_internal_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were our counts to differ from seqeval's, no score would be reported."""
    real = seqeval_scores(GOLD, PREDICTED)
    other = SeqevalScores(**{**vars(real), "type_recall": tuple(value + 0.01 for value in real.type_recall)})
    monkeypatch.setattr(scores_module, "seqeval_scores", lambda *_: other)
    with pytest.raises(RuntimeError, match="disagree with seqeval"):
        score(GOLD, PREDICTED)
