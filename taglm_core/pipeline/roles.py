"""Roles: as what an object reads another one.

A role is a string, because it is part of keys and must never change. Roles are written and read here and nowhere else:
`Role.name` writes one, `typed_input` reads one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

RAW = "raw"
"""Kind of an input that is raw files, not an object."""

UNKNOWN = "object"
"""Kind of an input whose role this version does not know: another version made it."""


@dataclass(frozen=True)
class Role:
    """A role of inputs.

    Attributes:
        template: the role; `{split}`, `{lm}`, `{direction}`, `{variant}` and `{seed}` stand for values.
        kind: kind of the object that is read, or RAW.
    """

    template: str
    kind: str

    def name(self, **values: object) -> str:
        """Return the role with its values, such as `train/embeddings/main/forward`."""
        return self.template.format(**values)

    def match(self, role: str) -> dict[str, str] | None:
        """Return the values in a role, by name; None if it is another role."""
        found = self._pattern.fullmatch(role)
        return None if found is None else found.groupdict()

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        values = {"split": "train|dev|test|text", "direction": "forward|backward", "lm": ".+", "variant": ".+",
                  "seed": r"-?\d+"}  # fmt: skip
        return re.compile(self.template.format(**{name: f"(?P<{name}>{text})" for name, text in values.items()}))


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a recipe.

    Attributes:
        role: as in the recipe.
        kind: kind of the object, RAW or UNKNOWN.
        digest: its content digest.
        split: split of the labelled corpus it belongs to, where the role names one.
        lm: name of the language model.
        direction: of the language model.
        variant: arm of the comparison.
        seed: of the tagger; 0 where the role names none.
    """

    role: str
    kind: str
    digest: str
    split: str = ""
    lm: str = ""
    direction: str = ""
    variant: str = ""
    seed: int = 0


# Roles without values, by name.
VECTORS = "vectors"  # a file of word vectors
BASE = "base"  # the language model that another one goes on from
TAGGER = "tagger"
TRAIN_ONLY = "train-only"  # the tagger, trained on train alone, whose epochs one that trains on train and dev repeats
TRAIN_CORPUS, DEV_CORPUS = "train/corpus", "dev/corpus"

# Roles with values.
LABELLED = Role("{split}/corpus", "corpus")
EMBEDDINGS = Role("{split}/embeddings/{lm}/{direction}", "embeddings")
WORD_VECTORS = Role("{split}/word-vectors", "word-vectors")
LANGUAGE_MODEL = Role("language-model/{lm}/{direction}", "language-model")
MEASURED = Role("{split}/{variant}/{seed}", "evaluation")


def typed_input(roles: Iterable[Role], role: str, digest: str, kind: str | None = None) -> Input:
    """Return one input with its kind and the values in its role.

    Args:
        roles: those that the object may read.
        role: as in the recipe.
        digest: content digest of the input.
        kind: as the manifest of the object records it, if it does.
    """
    for known in roles:
        if (values := known.match(role)) is not None:
            given: dict[str, Any] = {**values, "seed": int(values.get("seed", 0))}
            return Input(role, kind or known.kind, digest, **given)
    return Input(role, kind or UNKNOWN, digest)
