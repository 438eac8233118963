"""How sentences are made: templates with slots, phrases that expand, and the families that keep splits apart.

A template is a line of tokens. `@KIND` is filled with a name of that kind (`@CITY|LAND`: any of these), `@?KIND|KIND`
with a name that the words around it do not betray, `~word` by one of the entries of that phrase or word list. A
line that starts with `^` is a headline and gets capitals.

Families: `a` is for train and dev, `b` for test, and the unlabelled text has both and `c`, which nobody labels.
`weak` templates leave the type of their names open; only a reader that has met the name before knows it.
Phrases hold no names, so nothing but the templates decides what surrounds one.
"""

from __future__ import annotations

import itertools
import random
from bisect import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from taglm_core.corpus.demo.lexicon import LEXICON, words
from taglm_core.corpus.demo.names import Form, Name
from taglm_core.corpus.demo.templates import PHRASES, TEMPLATES

ALIASES = {
    "LOC": ("CITY", "LAND"),
    "ORG": ("COMPANY", "TEAM", "INST"),
    "ANY": ("PER", "CITY", "COMPANY", "WORK", "TEAM", "LAND"),
}
_KIND_WEIGHT = {"PER": 5, "CITY": 5, "COMPANY": 5, "WORK": 4, "TEAM": 2, "LAND": 1, "INST": 1, "EVENT": 1, "NAT": 1}
_LOWER_IN_HEADLINES = frozenset(words("of in to for and a the on by as with at after from"))
_QUOTES = frozenset('"`')

WORD_STEEPNESS = 1.8
"""Above 1, so that few labelled sentences hold most words and the rest of the lists is for the unlabelled text."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class Slot:
    """A slot for a name.

    Attributes:
        kinds: kinds of name that fit.
        weak: whether the words around it leave the type open.
    """

    kinds: tuple[str, ...]
    weak: bool


@dataclass(frozen=True)
class Template:
    """One way to build a sentence.

    Attributes:
        id: family and number.
        family: a, b, c, weak_a or weak_b.
        parts: literal tokens, `~phrase` names and slots.
        headline: whether all words get capitals.
    """

    id: str
    family: str
    parts: tuple[str | Slot, ...]
    headline: bool


@dataclass(frozen=True)
class Sentence:
    """A sentence with its labels.

    Attributes:
        template: id of the template it was made from.
        tokens: T tokens.
        tags: T tags, IOB2.
        twin: the T tokens with every name replaced by its twin.
        mentions: (name, form) of each name in it, in order.
    """

    template: str
    tokens: tuple[str, ...]
    tags: tuple[str, ...]
    twin: tuple[str, ...]
    mentions: tuple[tuple[Name, Form], ...]


PickName = Callable[[Slot, random.Random], Name]
"""Chooses a name for a slot."""


def _slot(text: str) -> Slot:
    weak = text.startswith("?")
    kinds = itertools.chain.from_iterable(ALIASES.get(kind, (kind,)) for kind in text.lstrip("?").split("|"))
    return Slot(tuple(kinds), weak)


def templates(family: str) -> list[Template]:
    """Return the parsed templates of one family."""
    parsed = []
    for number, line in enumerate(TEMPLATES[family].strip().splitlines()):
        tokens = line.split()
        headline = tokens[0] == "^"
        parts = tuple(_slot(token[1:]) if token.startswith("@") else token for token in tokens[headline:])
        parsed.append(Template(f"{family}{number}", family, parts, headline))
    return parsed


def pick_kind(slot: Slot, rng: random.Random) -> str:
    """Draw one of the kinds that fit, frequent kinds more often."""
    bounds = list(itertools.accumulate(_KIND_WEIGHT[kind] for kind in slot.kinds))
    return slot.kinds[bisect(bounds, rng.random() * bounds[-1])]


class Ranked(Generic[Item]):
    """Draws items, the earlier the more often (Zipf's law with the head flattened).

    Args:
        items: in order of use.
        steepness: exponent of the rank.
    """

    def __init__(self, items: Sequence[Item], steepness: float = 1.0) -> None:
        self._items = items
        self._bounds = list(itertools.accumulate((rank + 1.5) ** -steepness for rank in range(len(items))))

    def draw(self, rng: random.Random) -> Item:
        """Draw one item."""
        return self._items[bisect(self._bounds, rng.random() * self._bounds[-1])]


class Grammar:
    """Turns templates into sentences."""

    def __init__(self) -> None:
        entries = {**LEXICON, **{name: tuple(text.split("/")) for name, text in PHRASES.items()}}
        self._lists = {
            name: Ranked([tuple(entry.split()) for entry in lines], WORD_STEEPNESS) for name, lines in entries.items()
        }

    def realise(self, template: Template, pick: PickName, rng: random.Random) -> Sentence:
        """Return a sentence of this template, its slots filled by `pick`."""
        tokens: list[str] = []
        tags: list[str] = []
        twin: list[str] = []
        mentions: list[tuple[Name, Form]] = []
        for part in template.parts:
            if isinstance(part, Slot):
                name = pick(part, rng)
                which = _form(name, part, rng)
                form = name.forms[which]
                mentions.append((name, form))
                tokens += form
                twin += name.twin[which]
                tags += [f"B-{name.type}"] + [f"I-{name.type}"] * (len(form) - 1)
            else:
                plain = self._expand(part, rng)
                tokens += plain
                twin += plain
                tags += ["O"] * len(plain)
        for version in (tokens, twin):
            _finish(version, tags, template.headline)
        return Sentence(template.id, tuple(tokens), tuple(tags), tuple(twin), tuple(mentions))

    def _expand(self, part: str, rng: random.Random) -> list[str]:
        if not part.startswith("~"):
            return [part]
        return [word for token in self._lists[part[1:]].draw(rng) for word in self._expand(token, rng)]


def _form(name: Name, slot: Slot, rng: random.Random) -> int:
    """Return the index of a way to write the name; the bare one nearly always if the type is open."""
    if len(name.forms) == 1 or rng.random() < (0.85 if slot.weak else 0.65):
        return 0
    return 1 + int(rng.random() * (len(name.forms) - 1))


def _finish(tokens: list[str], tags: Sequence[str], headline: bool) -> None:
    """Choose a or an; set capitals at the start, or everywhere in a headline."""
    for i, word in enumerate(tokens[:-1]):
        if word == "a" and tags[i] == tags[i + 1] == "O" and tokens[i + 1][0] in "aeiou":
            tokens[i] = "an"
    start = next((i for i, word in enumerate(tokens) if word not in _QUOTES), 0)
    for i, word in enumerate(tokens):
        if tags[i] == "O" and (i == start or (headline and word not in _LOWER_IN_HEADLINES)):
            tokens[i] = word[0].upper() + word[1:]
