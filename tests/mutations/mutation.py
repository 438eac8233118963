"""What a mutation is, and the list of all of them."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass

from tests.mutations import subjects


@dataclass(frozen=True)
class Mutation:
    """One break: a piece of source text and its replacement.

    Attributes:
        name: `subject/what is wrong`.
        file: the source file, relative to the root of the repository.
        old: text that occurs exactly once in the file.
        new: text in its place.
        tests: node ids of tests; each of them must fail.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def applied(self, source: str) -> str | None:
        """Return the broken source; None if the old text does not occur exactly once."""
        return source.replace(self.old, self.new) if source.count(self.old) == 1 else None


def all_mutations() -> list[Mutation]:
    """Return the mutations of all modules of `subjects`: tuples of what, file, old text, new text and tests."""
    found = []
    for module in pkgutil.iter_modules(subjects.__path__):
        for what, file, old, new, *tests in importlib.import_module(f"{subjects.__name__}.{module.name}").MUTATIONS:
            found.append(Mutation(f"{module.name}/{what}", file, old, new, tuple(tests)))
    return found
