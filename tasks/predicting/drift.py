"""Difference between tagged text and the corpora that a tagger was trained with."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from taglm import Tagger
from taglm_core.analysis.stored import stored
from taglm_core.corpus.parquet import read_corpus
from taglm_core.corpus.schemes import to_spans
from taglm_core.errors import StoreError
from taglm_core.pipeline.roles import DEV_CORPUS, TRAIN_CORPUS
from taglm_core.store.store import Store
from tasks.predicting.tally import Tally

DEV_SENTENCES = 2_000  # of the dev corpus, enough for a rate


@dataclass(frozen=True, slots=True)
class Reference:
    """What the corpora of a tagger are like.

    Attributes:
        training: tokens and gold labels of the train corpus.
        dev: what the tagger says about the dev corpus, which it was not trained on.
    """

    training: Tally
    dev: Tally


def reference(tagger: Tagger, store: Store) -> Reference | None:
    """Return what the corpora of a tagger are like; None if the store lacks the tagger or its corpora."""
    try:
        inputs = store.manifest("tagger", tagger.index.digest).recipe.inputs
        train, dev = (stored(store, "corpus", inputs[role]) for role in (TRAIN_CORPUS, DEV_CORPUS))
    except (StoreError, KeyError):
        return None
    gold, tagged = Tally(), Tally()
    for sentence in read_corpus(train.path):
        gold.sentences += 1
        gold.tokens += len(sentence.tokens)
        gold.labels.update(span.type for span in to_spans(sentence.tags or ()))
    tokens = (sentence.tokens for sentence in itertools.islice(read_corpus(dev.path), DEV_SENTENCES))
    for sentences in tagger.analyse_all(tokens):
        tagged.add_row(sentences, [entity for sentence in sentences for entity in sentence.entities])
    return Reference(gold, tagged)
