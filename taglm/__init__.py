"""Use of trained taggers: text in, entities out.

    >>> from taglm import Tagger
    >>> tagger = Tagger.load("exported/")                      # or "models:/taglm-demo@champion"
    >>> [(entity.text, entity.label) for entity in tagger.tag("Anna Smith lives in Rome.")]
    [('Anna Smith', 'PER'), ('Rome', 'LOC')]

What this module exports is the stable interface; everything below `taglm_core` may change.
"""

from taglm.entities import Analysis, Entity
from taglm.tagger import Tagger

__all__ = ["Analysis", "Entity", "Tagger"]
