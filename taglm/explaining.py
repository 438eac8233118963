"""What a tagger says about each token of a text and how sure it is, beside what its baseline says."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from taglm.entities import Analysis, Entity
from taglm.tagger import Tagger


@dataclass(frozen=True, slots=True)
class ExplainedToken:
    """A token with its most probable tags.

    Attributes:
        token: the token as it stands in the text.
        tag: its tag on the best path.
        probability: posterior probability of this tag.
        next_tag: the most probable other tag.
        next_probability: posterior probability of the other tag.
        known: whether the tagger has a vector of the word.
        baseline: tag of the baseline; None without a baseline.
        baseline_probability: posterior probability of the baseline's tag.
    """

    token: str
    tag: str
    probability: float
    next_tag: str
    next_probability: float
    known: bool
    baseline: str | None = None
    baseline_probability: float = 0.0

    @property
    def differs(self) -> bool:
        """Return whether the baseline has another tag."""
        return self.baseline is not None and self.baseline != self.tag


@dataclass(frozen=True, slots=True)
class ExplainedSentence:
    """A sentence of n tokens.

    Attributes:
        tokens: its tokens.
        first: number of its first token in the text; entities count their tokens over the whole text.
        entities: entities of the tagger.
        baseline: entities of the baseline; None without a baseline.
        paths: the best taggings as text (`Anna/B-PER Smith/E-PER`) with their probabilities, best first.
    """

    tokens: tuple[ExplainedToken, ...]
    first: int
    entities: tuple[Entity, ...]
    baseline: tuple[Entity, ...] | None = None
    paths: tuple[tuple[str, float], ...] = ()

    def is_shared(self, entity: Entity) -> bool:
        """Return whether tagger and baseline both have an entity; True without a baseline."""

        def places(entities: Sequence[Entity]) -> set[tuple[int, int, str]]:
            return {(one.start, one.end, one.label) for one in entities}

        both = places(self.entities) & places(self.baseline or ())
        return self.baseline is None or (entity.start, entity.end, entity.label) in both


def explain(tagger: Tagger, text: str, baseline: Tagger | None = None, *, n_best: int = 0) -> list[ExplainedSentence]:
    """Explain a text sentence by sentence.

    Args:
        tagger: the tagger.
        text: raw text.
        baseline: another trained tagger. It reads the tokens of the tagger where its own tokenizer gives others.
        n_best: number of best taggings of each sentence to list.

    Raises:
        ValueError: n_best is negative.
    """
    found = tagger.analyse(text, n_best=n_best, marginals=True)
    firsts = [0, *itertools.accumulate(len(one.tokens) for one in found)]
    others: Sequence[Analysis | None] = [None] * len(found)
    if baseline is not None:
        theirs = baseline.analyse(text, marginals=True)
        if [one.spans for one in theirs] != [one.spans for one in found]:
            theirs = [
                _at_places(one, first, baseline.analyse(one.tokens, marginals=True)[0])
                for one, first in zip(found, firsts, strict=False)
            ]
        others = theirs
    return [
        ExplainedSentence(
            tuple(_tokens(tagger, one, baseline, other)),
            first,
            one.entities,
            None if other is None else other.entities,
            tuple((_in_words(one.tokens, tags), chance) for tags, chance in one.paths),
        )
        for one, first, other in zip(found, firsts, others, strict=False)
    ]


def _tokens(tagger: Tagger, one: Analysis, baseline: Tagger | None, other: Analysis | None) -> Iterator[ExplainedToken]:
    assert one.marginals is not None
    code = {tag: number for number, tag in enumerate(tagger.tags)}
    its_code = {} if baseline is None else {tag: number for number, tag in enumerate(baseline.tags)}
    for number, (token, tag, known) in enumerate(zip(one.tokens, one.tags, one.known, strict=True)):
        chances = one.marginals[number].copy()
        sure = float(chances[code[tag]])
        chances[code[tag]] = -1.0
        second = int(np.argmax(chances))
        its_tag, its_sure = None, 0.0
        if other is not None and other.marginals is not None:
            its_tag = other.tags[number]
            its_sure = float(other.marginals[number, its_code[its_tag]])
        yield ExplainedToken(
            token, tag, sure, tagger.tags[second], max(0.0, float(chances[second])), known, its_tag, its_sure
        )


def _at_places(one: Analysis, first: int, other: Analysis) -> Analysis:
    """Return an analysis of a sentence's tokens alone with its entities at their places in the text.

    Args:
        one: the sentence in the text.
        first: number of its first token in the text.
        other: the analysis of its tokens.
    """
    entities = tuple(
        replace(
            entity,
            start=one.spans[entity.token_start][0],
            end=one.spans[entity.token_end - 1][1],
            token_start=first + entity.token_start,
            token_end=first + entity.token_end,
        )
        for entity in other.entities
    )
    return replace(other, spans=one.spans, entities=entities)


def _in_words(tokens: Sequence[str], tags: Sequence[str]) -> str:
    """Return the tokens of a tagging that are not O, each with its tag."""
    return " ".join(f"{token}/{tag}" for token, tag in zip(tokens, tags, strict=True) if tag != "O") or "no entity"
