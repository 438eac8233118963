"""Export of a stored tagger with everything that it needs (format: `taglm_core.tagging.exported`)."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from taglm_core.analysis.model_card import model_card
from taglm_core.analysis.stored import make_step, stored, vector_file
from taglm_core.config.raw_text import TextConfig
from taglm_core.corpus.vector_table import write_rows
from taglm_core.corpus.word_vectors import load_vectors
from taglm_core.errors import MissingObject
from taglm_core.pipeline.context import PipelineContext
from taglm_core.pipeline.kinds import KINDS, recipe_inputs
from taglm_core.pipeline.roles import DEV_CORPUS, TRAIN_CORPUS, VECTORS
from taglm_core.pipeline.steps import Step
from taglm_core.store.records import Recipe, Ref
from taglm_core.store.store import Artifact
from taglm_core.tagging.exported import (
    CARD,
    ExportedTagger,
    VectorsIncluded,
    read_index,
    seal_export,
    spelling_of,
    write_export,
)
from taglm_core.text.segmenter import TokenizerRecord


def export_tagger(
    context: PipelineContext,
    tagger: Artifact,
    folder: Path,
    *,
    text: TextConfig,
    vectors: VectorsIncluded = VectorsIncluded.TABLE,
    facts: Mapping[str, Any] | None = None,
    card: bool = True,
) -> ExportedTagger:
    """Write a tagger, its language models, its word vectors, its tokenizer record and its model card into a folder.

    Args:
        context: context that gives the store.
        tagger: the tagger.
        folder: a folder that is new or empty.
        text: how raw text is tokenised.
        vectors: word vectors to include.
        facts: facts for people, in addition to those of the tagger.
        card: whether to write the model card; an export that nobody sees needs none.

    Raises:
        MissingObject: an object or the file of word vectors is gone.
        ConfigError: the folder has files.
    """
    store, inputs = context.store, recipe_inputs(tagger.manifest.recipe)
    models = {(one.lm, one.direction): stored(store, one.kind, one.digest).path
              for one in inputs if one.kind == "language-model"}  # fmt: skip
    record = TokenizerRecord.of(text, spelling_of(tagger.path))
    words = next((one.digest for one in inputs if one.kind == "word-vectors"), None)
    with tempfile.TemporaryDirectory() as temporary:
        table = None
        if words is not None and vectors is not VectorsIncluded.REFERENCE:
            wanted = stored(store, "word-vectors", words).manifest.recipe.inputs[VECTORS]
            if vectors is VectorsIncluded.TABLE:
                table = store.open(vector_table(context, tagger, wanted)).path
            else:
                table = _needed(context, wanted, Path(temporary))
        write_export(
            folder, tagger.path, models, digest=tagger.ref.digest, text=record, table=table, vectors=vectors,
            facts={**_facts(tagger), **(facts or {})},
        )  # fmt: skip
    if card:
        (folder / CARD).write_text(model_card(context, tagger, read_index(folder)), encoding="utf-8")
    return seal_export(folder)


def baseline_of(context: PipelineContext, tagger: Artifact) -> Artifact:
    """Return the tagger without language models of the same experiment, corpora and seed.

    Raises:
        MissingObject: there is none in the store.
    """
    store, recipe = context.store, tagger.manifest.recipe
    corpora = {TRAIN_CORPUS, DEV_CORPUS}
    for kind, digest in store.objects():
        if kind != "tagger" or store.damage(kind, digest) is not None:
            continue
        other = store.manifest(kind, digest).recipe
        same = all(other.inputs.get(role) == recipe.inputs.get(role) for role in corpora)
        without = not any(one.kind == "language-model" for one in recipe_inputs(other))
        if same and without and other.config.get("seed") == recipe.config.get("seed"):
            return stored(store, kind, digest)
    raise MissingObject(
        f"the store has no tagger without language models of these corpora and seed {recipe.config.get('seed')}; train "
        "a variant without lm, or leave out --with-baseline"
    )


def vector_table(context: PipelineContext, tagger: Artifact, wanted: str) -> Ref:
    """Return the table of a file of word vectors (by digest), one per store; build it if it is missing.

    Raises:
        MissingObject: the file is gone or has changed.
    """
    recipe = Recipe("vector-table", KINDS["vector-table"].version, {}, {VECTORS: wanted})
    known = context.store.find(recipe)
    if known is not None:
        return known
    path = vector_file(context, tagger, wanted)
    return make_step(context, Step(f"vector-table/{wanted[:10]}", "vector-table", {}, files={VECTORS: path}))


def _needed(context: PipelineContext, wanted: str, folder: Path) -> Path:
    """Write the vectors of the words of all corpora that the store has looked up in a file."""
    store = context.store
    rows: dict[str, np.ndarray] = {}
    dim = 0
    for pointer in store.pointers("word-vectors"):
        if pointer.recipe.inputs.get(VECTORS) == wanted:
            found = load_vectors(stored(store, "word-vectors", pointer.digest).path)
            rows |= dict(zip(found.words, found.matrix, strict=True))
            dim = found.dim
    if not dim:
        raise MissingObject("the store has no word vectors of the tagger's corpora; run its embed stage again")
    write_rows(rows, dim, folder)
    return folder


def _facts(tagger: Artifact) -> dict[str, Any]:
    manifest = tagger.manifest
    return {
        "label": manifest.label,
        "seed": manifest.recipe.config.get("seed"),
        "dev_f1": manifest.metrics["dev/f1"],
        "parameters": manifest.counts["parameters"],
        "train_sentences": manifest.counts["train_sentences"],
    }
