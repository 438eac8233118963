"""Which tag scheme a corpus uses: evidence from all its splits, and the decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from taglm_core.corpus.schemes import Scheme, split_tag, violations
from taglm_core.corpus.sentence import Sentence

_EVIDENCE = (
    "sentences",
    "e",
    "s",
    "i_begins",
    "b_after_o",
    "b_after_same_type",
    "b_after_other_type",
    "b_alone",
    "invalid_in_bioes",
)


@dataclass
class SchemeEvidence:
    """What the tags of a corpus show about its scheme, collected in one pass over all its splits.

    One split alone may lack the tag that tells (a small IOB1 file whose entities all touch, say), hence all together.

    Attributes:
        counts: how often each kind of evidence was met; sentences for `sentences`, tags for all others.
        first: where it was met first, as (path, line, tag).
    """

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_EVIDENCE, 0))
    first: dict[str, tuple[str, int, str]] = field(default_factory=dict)
    _ending: set[str] = field(default_factory=set)  # files with E or S
    _unended: dict[str, int] = field(default_factory=dict)  # files that break BIOES, and the first line

    def add(self, tags: Sequence[str], sentence: Sentence) -> None:
        """Take the tags of one sentence in standard form."""
        path, line_of = sentence.path, sentence.line_of
        self.counts["sentences"] += 1
        if all(tag == "O" for tag in tags):
            return
        previous = ("O", "")
        for position, tag in enumerate(tags):
            current = ("O", "") if tag == "O" else split_tag(tag)
            if previous[0] == "B" and (current[0] not in ("I", "E") or current[1] != previous[1]):
                self._count("b_alone", path, line_of(position - 1), tags[position - 1])
            name = _evidence_of(previous, current)
            if name is not None:
                self._count(name, path, line_of(position), tag)
            if current[0] in ("E", "S"):
                self._ending.add(path)
            previous = current
        if previous[0] == "B":
            self._count("b_alone", path, line_of(len(tags) - 1), tags[-1])
        for violation in violations(tags, Scheme.BIOES):
            self._count("invalid_in_bioes", path, line_of(violation.position), violation.tag)
            self._unended.setdefault(path, line_of(violation.position))

    def _count(self, name: str, path: str, line: int, tag: str) -> None:
        self.counts[name] += 1
        self.first.setdefault(name, (path, line, tag))

    def broken(self, scheme: Scheme) -> int:
        """Return how many tags break a scheme (a few are counted twice in BIOS)."""
        counts = self.counts
        begun = sum(counts[name] for name in ("b_after_o", "b_after_same_type", "b_after_other_type"))
        return {
            Scheme.IOB1: counts["e"] + counts["s"],
            Scheme.IOB2: counts["e"] + counts["s"] + counts["i_begins"],
            Scheme.BIOES: counts["invalid_in_bioes"],
            Scheme.BIOS: counts["e"] + counts["i_begins"] + counts["b_alone"],
            Scheme.IOE: begun + counts["s"],
            Scheme.IO: begun + counts["e"] + counts["s"],
        }[scheme]

    def decide(self, *, strict: bool = False) -> Scheme:
        """Return the one scheme for all splits; without any entity IOB2.

        A scheme that all tags keep comes first, then the one that the fewest tags break.

        Args:
            strict: where few entities begin with I and most with B, take IOB2, so that the few are refused.
        """
        counts = self.counts
        if not counts["e"] and not counts["s"]:
            if strict:
                return self._by_majority()
            return Scheme.IOB1 if counts["i_begins"] else Scheme.IOB2
        if not self.broken(Scheme.BIOES):
            return Scheme.BIOES
        if not self.broken(Scheme.IOE):
            return Scheme.IOE
        candidates = [Scheme.BIOES, self._by_majority()]
        if not counts["e"] and self.broken(Scheme.BIOES) > 1:  # a single one is an entity that was cut
            candidates.append(Scheme.BIOS)
        return min(candidates, key=self.broken)

    def _by_majority(self) -> Scheme:
        begun, usual = self.counts["i_begins"], self._b_of_iob2()
        return Scheme.IOB1 if begun and begun >= usual else Scheme.IOB2

    def _b_of_iob2(self) -> int:
        """Count the B tags where IOB1 has I."""
        return self.counts["b_after_o"] + self.counts["b_after_other_type"]

    def few_begin_with_i(self) -> bool:
        """Return whether the corpus is IOB1 by few tags, as an IOB2 corpus with faults would be."""
        return self.decide() is Scheme.IOB1 and self._by_majority() is Scheme.IOB2

    def doubt(self) -> str | None:
        """Return what a person should look at: faults that look like another scheme, files in different schemes."""
        if self.few_begin_with_i():
            path, line, tag = self.first["i_begins"]
            return (
                f"the tags are read as IOB1, because some entities begin with I ({self.counts['i_begins']:,} in all, "
                f"the first is {tag} in {path}:{line}), though most begin with B ({self._b_of_iob2():,}), as in IOB2. "
                "The entities are the same either way; labelled.strict: true refuses such tags"
            )
        others = [(path, line) for path, line in self._unended.items() if path not in self._ending]
        if not self._ending or not others:
            return None
        (other, other_line), (path, line, tag) = others[0], self.first["s" if "s" in self.first else "e"]
        return (
            f"the files are in different tag schemes: no tag of {other} begins with E or S (see line {other_line}), as "
            f"in IOB1 and IOB2, but {path}:{line} has {tag}. The entities are read all the same; labelled.strict: true "
            "refuses such files"
        )

    def describe(self) -> dict[str, object]:
        """Return the counts and the first places, for JSON."""
        first = {name: f"{path}:{line} ({tag})" for name, (path, line, tag) in self.first.items()}
        return {"scheme": self.decide().value, "counts": dict(self.counts), "first": first}


def _evidence_of(previous: tuple[str, str], current: tuple[str, str]) -> str | None:
    """Name the evidence that a tag is, after the tag before it (O at the start)."""
    if current[0] == "O":
        return None
    if current[0] in ("E", "S"):
        return current[0].lower()
    begins = previous[0] in ("O", "E", "S") or previous[1] != current[1]
    if current[0] == "I":
        return "i_begins" if begins else None
    if previous[0] == "O":
        return "b_after_o"
    return "b_after_same_type" if previous[1] == current[1] else "b_after_other_type"
