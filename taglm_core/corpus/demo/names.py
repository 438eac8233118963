"""Invented names: one spelling grammar for people, places, companies and works alike.

Because every kind draws its stems from the same grammar, spelling says nothing about the type; only use does.
Each name has a twin, the same pattern filled with other stems, which stands in for it in the replaced text.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from taglm_core.corpus.demo.lexicon import words

Form = tuple[str, ...]

TYPES = {
    "PER": "PER",
    "CITY": "LOC",
    "LAND": "LOC",
    "COMPANY": "ORG",
    "TEAM": "ORG",
    "INST": "ORG",
    "WORK": "MISC",
    "EVENT": "MISC",
    "NAT": "MISC",
}
"""Entity type (as in the labels) of each kind of name."""

SHARES = {"PER": 0.30, "CITY": 0.20, "LAND": 0.08, "COMPANY": 0.20, "TEAM": 0.08, "WORK": 0.14}
"""Kinds that have stems of their own, and their part of all names. INST, EVENT and NAT are made from these."""

POOLS = {"train": 0.60, "dev": 0.15, "test": 0.25}
"""Labelled split in which a name may stand, and that split's part of all names."""

AMBIGUOUS_EVERY = 6
"""One stem in this many carries a second kind (a town that is also a surname, a surname that is also a company)."""

_SECOND_KIND = {"PER": "COMPANY", "CITY": "PER", "LAND": "TEAM", "COMPANY": "CITY", "TEAM": "CITY", "WORK": "PER"}

_ONSETS = words(
    "B Br C Ch D Dr F Fl G Gr H J K Kl L M N P Pl Qu R S Sh Sk St T Th Tr V W Z Al Ar El Er Il In Or Os Ul Ur"
)
_NUCLEI = words("a e i o u ae ai au ea ei ia io oa ou")
_MIDDLES = words("l r n m s t d k v z ll nn rr ss lm ld lt rd rk rn rs rt nd nk st sk mb mp gr dr v b g p")
_ENDINGS = words(
    "a e i o en er in on an el is us as ov ev ski ard ert old ton ford wick ham ley by mar den berg feld ino etti "
    "ich ez ane oy ux ock um ora ira ano"
)
_GIVEN_ENDINGS = words("a e o en in el is us an ina eth ard")

_COMPOUNDS = {
    "CITY": ("Port {0}", "{0} Bay", "New {0}", "{0} Valley", "Upper {0}", "{0} Hills", "East {0}"),
    "COMPANY": ("{0} Group", "{0} Holdings", "{0} Motors", "{0} Brothers", "{0} Foods", "New {0}", "{0} Hills"),
    "TEAM": ("{0} United", "{0} Rovers", "{0} Valley", "{0} Athletic"),
    "LAND": ("Republic of {0}", "South {0}", "{0} Islands"),
    "WORK": ("{0} Nights", "New {0}", "{0} Brothers", "Upper {0}"),
}
_INSTITUTIONS = ("Bank of {0}", "University of {0}", "{0} Council", "{0} Institute", "Museum of {0}")
_EVENTS = ("{0} Prize", "{0} Open", "{0} Cup", "{0} Festival", "Treaty of {0}", "{0} Medal")


@dataclass(frozen=True)
class Name:
    """One named thing.

    Attributes:
        kind: key of `TYPES`.
        forms: ways to write it, each a tuple of tokens; the first is the usual one.
        twin: the same forms of the name that replaces it.
        stems: the tokens that carry its identity (not "Bank", "of", "Port").
        dominant: False for the second sense of an ambiguous stem, which needs a telling context.
    """

    kind: str
    forms: tuple[Form, ...]
    twin: tuple[Form, ...]
    stems: tuple[str, ...]
    dominant: bool = True

    @property
    def type(self) -> str:
        """PER, LOC, ORG or MISC."""
        return TYPES[self.kind]


def stems(rng: random.Random, endings: tuple[str, ...], seen: set[str]) -> Iterator[str]:
    """Yield endless invented stems of 4 to 9 letters that are not in `seen`, and add each to it."""
    while True:
        stem = rng.choice(_ONSETS) + rng.choice(_NUCLEI) + rng.choice(_MIDDLES) + rng.choice(endings)
        if 4 <= len(stem) <= 9 and stem not in seen:
            seen.add(stem)
            yield stem


def demonym(stem: str) -> str:
    """Return the adjective of a country, e.g. Torvania to Torvanian."""
    return stem.rstrip("aeiou") + "ian"


def _fill(patterns: tuple[str, ...], parts: tuple[str, ...]) -> tuple[Form, ...]:
    return tuple(tuple(pattern.format(*parts).split()) for pattern in patterns)


def _patterns(kind: str, rng: random.Random) -> tuple[str, ...]:
    if kind == "PER":
        return ("{0}", "{1} {0}", "{1[0]}. {0}") if rng.random() < 0.4 else ("{0}", "{1} {0}")
    if kind == "INST":
        return (rng.choice(_INSTITUTIONS),)
    if kind == "EVENT":
        return (rng.choice(_EVENTS),)
    if kind == "COMPANY" and rng.random() < 0.2:
        return ("{0}", "{0} & {1}")
    return ("{0}", rng.choice(_COMPOUNDS[kind])) if rng.random() < 0.35 else ("{0}",)


class NameMaker:
    """Makes the names of one pool after another; no stem is given out twice.

    Args:
        seed: decides all names.
    """

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(f"{seed}/names")
        self._seen: set[str] = set()
        self._stems = stems(self._rng, _ENDINGS, self._seen)
        self._given = stems(self._rng, _GIVEN_ENDINGS, self._seen)

    def _fresh(self, kind: str) -> tuple[str, str]:
        """Return a stem and a companion (given name, partner); for a country, one with a new adjective."""
        stem = next(self._stems)
        if kind == "LAND":
            while demonym(stem) in self._seen:
                stem = next(self._stems)
            self._seen.add(demonym(stem))
        return stem, next(self._given)

    def pool(self, count: int) -> list[Name]:
        """Return about `count` names with stems of their own, plus those derived from them.

        Every kind is present, however small the count.
        """
        names: list[Name] = []
        made = 0
        for kind, share in SHARES.items():
            for number in range(max(3, round(share * count))):
                stem, twin = self._fresh(kind), self._fresh(kind)
                names.append(self._name(kind, stem, twin))
                names.extend(self._derived(kind, number, stem, twin))
                made += 1
                if made % AMBIGUOUS_EVERY == 0:
                    second = _SECOND_KIND[kind]
                    names.append(self._name(second, (stem[0], next(self._given)), (twin[0], next(self._given)), False))
        return names

    def _name(self, kind: str, stem: tuple[str, str], twin: tuple[str, str], dominant: bool = True) -> Name:
        patterns = _patterns(kind, self._rng)
        used = stem if any("{1" in pattern for pattern in patterns) else stem[:1]
        return Name(kind, _fill(patterns, stem), _fill(patterns, twin), used, dominant)

    def _derived(self, kind: str, number: int, stem: tuple[str, str], twin: tuple[str, str]) -> Iterator[Name]:
        """Return names made from the `number`-th name of its kind; the first has them all, so no kind is missing."""
        if kind == "LAND":
            yield Name("NAT", ((demonym(stem[0]),),), ((demonym(twin[0]),),), (demonym(stem[0]),))
        if kind == "CITY" and number % 3 == 0:
            yield self._name("INST", stem, twin)
        if kind in ("CITY", "PER", "COMPANY") and number % 7 == 0:
            yield self._name("EVENT", stem, twin)
