"""The demo corpus: three labelled splits, unlabelled text, and the same text with other names.

Everything follows from the seed. Only `random.Random` seeded by a string is used, and no set or hash order, so
the bytes are the same in every process.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from taglm_core.corpus.demo.grammar import Grammar, Ranked, Sentence, Slot, Template, pick_kind, templates
from taglm_core.corpus.demo.names import POOLS, Name, NameMaker
from taglm_core.errors import ConfigError

MIN_MENTIONS = 8
"""How often, at least, each surface of a labelled entity occurs as an entity of the unlabelled text."""

SENTENCES_PER_NAME = 45
"""Unlabelled sentences for each name with a stem of its own: names must recur, or nothing can be learnt of them."""

NAMES = (60, 1200)
"""Fewest and most names with stems of their own."""

SENTENCES_PER_DOCUMENT = 8

TEXT_FAMILIES = {"a": 0.12, "b": 0.12, "c": 0.58, "weak_a": 0.06, "weak_b": 0.06, "none_a": 0.03, "none_b": 0.03}
"""Part of each template family in the unlabelled text."""

LABELLED_FAMILIES = {
    "train": {"a": 0.60, "weak_a": 0.25, "none_a": 0.15},
    "dev": {"a": 0.60, "weak_a": 0.25, "none_a": 0.15},
    "test": {"b": 0.70, "weak_b": 0.22, "none_b": 0.08},
}
"""Part of each template family in the labelled splits."""


class Deck:
    """Deals names evenly: all once in random order, then all again.

    Args:
        names: what to deal.
    """

    def __init__(self, names: list[Name]) -> None:
        self._names = list(names)
        self._next = 0

    def deal(self, rng: random.Random) -> Name:
        """Return the next name."""
        if self._next == 0:
            rng.shuffle(self._names)
        name = self._names[self._next]
        self._next = (self._next + 1) % len(self._names)
        return name


class NamePicker:
    """Fills slots from a list of names: half dealt evenly, so that none is missing, half by rank.

    Args:
        names: all names that may be used.
        even: part of the choices that is dealt evenly.
    """

    def __init__(self, names: list[Name], even: float) -> None:
        self._even = even
        self._decks: dict[tuple[str, bool], Deck] = {}
        self._ranked: dict[tuple[str, bool], Ranked[Name]] = {}
        for kind in {name.kind: None for name in names}:
            for weak in (False, True):
                fitting = [name for name in names if name.kind == kind and (name.dominant or not weak)]
                self._decks[kind, weak] = Deck(fitting)
                self._ranked[kind, weak] = Ranked(fitting)

    def __call__(self, slot: Slot, rng: random.Random) -> Name:
        """Return a name for the slot; a name with an open context is used in its dominant sense."""
        key = pick_kind(slot, rng), slot.weak
        return self._decks[key].deal(rng) if rng.random() < self._even else self._ranked[key].draw(rng)


class World:
    """All names and templates of one seed.

    Args:
        seed: decides everything.
        name_count: names with stems of their own.
    """

    def __init__(self, seed: int, name_count: int) -> None:
        self.seed = seed
        maker = NameMaker(seed)
        self.pools = {split: maker.pool(round(share * name_count)) for split, share in POOLS.items()}
        self._grammar = Grammar()
        self._templates = {family: templates(family) for family in TEXT_FAMILIES}

    def sentences(self, purpose: str, families: dict[str, float], names: list[Name], even: float) -> Iterator[Sentence]:
        """Yield endless sentences of the given template families about the given names."""
        rng = random.Random(f"{self.seed}/{purpose}")
        pick = NamePicker(names, even)
        choices = list(families)
        while True:
            family = rng.choices(choices, weights=[families[choice] for choice in choices])[0]
            options: list[Template] = self._templates[family]
            yield self._grammar.realise(options[int(rng.random() * len(options))], pick, rng)

    def text(self) -> Iterator[Sentence]:
        """Yield endless unlabelled sentences: all families, all names."""
        names = [name for pool in self.pools.values() for name in pool]
        random.Random(f"{self.seed}/ranks").shuffle(names)
        return self.sentences("text", TEXT_FAMILIES, names, even=0.6)

    def labelled(self, split: str) -> Iterator[Sentence]:
        """Yield endless sentences of a labelled split: its own families and its own names."""
        return self.sentences(split, LABELLED_FAMILIES[split], self.pools[split], even=1.0)


def world_for(seed: int, unlabelled_sentences: int) -> World:
    """Return the world whose names recur often enough in so much text."""
    fewest, most = NAMES
    return World(seed, min(most, max(fewest, unlabelled_sentences // SENTENCES_PER_NAME)))


def generate(
    out_dir: Path,
    *,
    seed: int,
    train_sentences: int,
    dev_sentences: int,
    test_sentences: int,
    unlabelled_sentences: int,
) -> dict[str, int]:
    """Write train.conll, dev.conll, test.conll, text.txt and text-replaced.txt.

    The labelled files have two columns, token and IOB2 tag, with -DOCSTART- lines; the text files one tokenised
    sentence a line. Same arguments, same bytes.

    Args:
        out_dir: an existing or new folder.
        seed: decides names and sentences.
        train_sentences: labelled sentences to train on.
        dev_sentences: labelled sentences to choose models by.
        test_sentences: labelled sentences to judge by.
        unlabelled_sentences: sentences of text.txt.

    Returns:
        Sentences of each file, by the file's stem.

    Raises:
        ConfigError: there is too little unlabelled text for the labelled names to occur in it.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    world = world_for(seed, unlabelled_sentences)
    surfaces, seen = _write_text(out_dir, world, unlabelled_sentences)
    counts = {"text": unlabelled_sentences, "text-replaced": unlabelled_sentences}
    for split, wanted in (("train", train_sentences), ("dev", dev_sentences), ("test", test_sentences)):
        chosen = _choose(world.labelled(split), wanted, surfaces, seen)
        _write_conll(out_dir / f"{split}.conll", chosen)
        counts[split] = len(chosen)
    return counts


def _write_text(out_dir: Path, world: World, count: int) -> tuple[Counter[str], set[str]]:
    """Write both texts; return how often each name form occurs, and all sentences."""
    surfaces: Counter[str] = Counter()
    seen: set[str] = set()
    with (
        open(out_dir / "text.txt", "w", encoding="utf-8", newline="\n") as text,
        open(out_dir / "text-replaced.txt", "w", encoding="utf-8", newline="\n") as replaced,
    ):
        for _, sentence in zip(range(count), world.text(), strict=False):
            line = " ".join(sentence.tokens)
            seen.add(line)
            surfaces.update(" ".join(form) for _, form in sentence.mentions)
            text.write(line + "\n")
            replaced.write(" ".join(sentence.twin) + "\n")
    return surfaces, seen


def _choose(sentences: Iterator[Sentence], wanted: int, surfaces: Counter[str], seen: set[str]) -> list[Sentence]:
    """Return the first sentences that are new and whose names the text has often enough; add them to `seen`."""
    chosen: list[Sentence] = []
    tried = 0
    while len(chosen) < wanted:
        sentence = next(sentences)
        line = " ".join(sentence.tokens)
        tried += 1
        if line not in seen and all(surfaces[" ".join(form)] >= MIN_MENTIONS for _, form in sentence.mentions):
            seen.add(line)
            chosen.append(sentence)
        elif tried > 100 + 3 * wanted:
            raise ConfigError(
                f"demo corpus: found unlabelled text in which too few names occur {MIN_MENTIONS} times; expected at "
                "least about 3,000 sentences; raise the number of unlabelled sentences"
            )
    return chosen


def _write_conll(path: Path, sentences: list[Sentence]) -> None:
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for i, sentence in enumerate(sentences):
            if i % SENTENCES_PER_DOCUMENT == 0:
                file.write("-DOCSTART- O\n\n")
            file.writelines(f"{token} {tag}\n" for token, tag in zip(sentence.tokens, sentence.tags, strict=True))
            file.write("\n")
