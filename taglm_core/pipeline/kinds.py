"""Kinds of objects, one entry each. A new kind is one entry here and one builder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from taglm_core.errors import ConfigError
from taglm_core.pipeline.roles import (
    BASE,
    EMBEDDINGS,
    LABELLED,
    LANGUAGE_MODEL,
    MEASURED,
    RAW,
    TAGGER,
    TRAIN_ONLY,
    VECTORS,
    WORD_VECTORS,
    Input,
    Role,
    typed_input,
)

if TYPE_CHECKING:
    from taglm_core.pipeline.build import BuildContext, BuildResult
    from taglm_core.store.records import Recipe

    Builder = Callable[[BuildContext], BuildResult]


class Stage(StrEnum):
    """The four stages, in order."""

    INGEST = "ingest"
    PRETRAIN = "pretrain"
    EMBED = "embed"
    TAG = "tag"

    @property
    def index(self) -> int:  # type: ignore[override]
        """Return the position in the pipeline, from 0."""
        return list(Stage).index(self)


class Reporting(StrEnum):
    """Form in which MLflow shows objects of a kind."""

    NONE = "none"
    OWN_RUN = "own run"
    WITH_TAGGER = "with its tagger"  # added to the run of the tagger that it measures
    WITH_VARIANTS = "with its variants"  # added to the runs of the variants that it compares


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object.

    Attributes:
        name: name in the store.
        stage: stage that builds it.
        version: STAGE_VERSION; raised when the same recipe gives other numbers.
        builder: function that imports and returns the builder.
        task: name of its Prefect task.
        inputs: roles of its inputs.
        child: whether it is built in a child process (everything that computes with torch).
        shares_child: whether one child process may build several, one after the other.
        trained: whether a rebuild gives another object, so that no plan asks for what was made from a lost one.
        kept_with_users: whether `taglm gc` keeps it while an object made from it is reachable.
        reporting: form in MLflow.
    """

    name: str
    stage: Stage
    version: int
    builder: Callable[[], Builder]
    task: str
    inputs: tuple[Role, ...] = ()
    child: bool = False
    shares_child: bool = False
    trained: bool = False
    kept_with_users: bool = False
    reporting: Reporting = Reporting.NONE


# Builders are imported when they run, so that planning and `--help` import no torch, pyarrow and DuckDB.


def _demo_corpus() -> Builder:
    from taglm_core.stages.ingest import build_demo_corpus

    return build_demo_corpus


def _tag_scheme() -> Builder:
    from taglm_core.stages.ingest import build_tag_scheme

    return build_tag_scheme


def _corpus() -> Builder:
    from taglm_core.stages.ingest import build_corpus

    return build_corpus


def _statistics() -> Builder:
    from taglm_core.stages.ingest import build_statistics

    return build_statistics


def _vocabulary() -> Builder:
    from taglm_core.stages.pretrain import build_vocabulary

    return build_vocabulary


def _token_ids() -> Builder:
    from taglm_core.stages.pretrain import build_token_ids

    return build_token_ids


def _language_model() -> Builder:
    from taglm_core.stages.pretrain import build_language_model

    return build_language_model


def _embeddings() -> Builder:
    from taglm_core.stages.embed import build_embeddings

    return build_embeddings


def _word_vectors() -> Builder:
    from taglm_core.stages.embed import build_word_vectors

    return build_word_vectors


def _vector_table() -> Builder:
    from taglm_core.stages.embed import build_vector_table

    return build_vector_table


def _tagger() -> Builder:
    from taglm_core.stages.tag import build_tagger

    return build_tagger


def _evaluation() -> Builder:
    from taglm_core.stages.tag import build_evaluation

    return build_evaluation


def _report() -> Builder:
    from taglm_core.stages.comparison import build_report

    return build_report


_FILE, _DEMO, _VECTORS = Role("file", RAW), Role("demo", "demo-corpus"), Role(VECTORS, RAW)
_TEXT, _VOCABULARY = Role("text", "corpus"), Role("vocabulary", "vocabulary")
_MODEL, _CORPUS = Role("language-model", "language-model"), Role("corpus", "corpus")
_READ_OF_SPLITS = (LABELLED, EMBEDDINGS, WORD_VECTORS, LANGUAGE_MODEL)

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("demo-corpus", Stage.INGEST, 2, _demo_corpus, "generate-demo-corpus"),
        Kind("tag-scheme", Stage.INGEST, 1, _tag_scheme, "detect-tag-scheme", (Role("{split}", RAW), _DEMO)),
        Kind(
            "corpus",
            Stage.INGEST,
            1,
            _corpus,
            "read-corpus",
            (_FILE, _DEMO, Role("scheme", "tag-scheme"), Role("source", "corpus")),
            kept_with_users=True,
        ),
        Kind(
            "corpus-statistics",
            Stage.INGEST,
            1,
            _statistics,
            "describe-corpora",
            (Role("{split}", "corpus"),),
            reporting=Reporting.OWN_RUN,
        ),
        Kind("vocabulary", Stage.PRETRAIN, 1, _vocabulary, "count-words", (_TEXT,)),
        Kind("token-ids", Stage.PRETRAIN, 1, _token_ids, "write-token-ids", (_TEXT, _VOCABULARY)),
        Kind(
            "language-model",
            Stage.PRETRAIN,
            5,
            _language_model,
            "train-language-model",
            (_VOCABULARY, Role("token-ids", "token-ids"), Role(BASE, "language-model"), _VECTORS),
            child=True,
            trained=True,
            kept_with_users=True,
            reporting=Reporting.OWN_RUN,
        ),
        Kind(
            "embeddings",
            Stage.EMBED,
            2,
            _embeddings,
            "embed-corpus",
            (_MODEL, _CORPUS),
            child=True,
            reporting=Reporting.OWN_RUN,
        ),
        Kind(
            "word-vectors",
            Stage.EMBED,
            1,
            _word_vectors,
            "look-up-word-vectors",
            (_CORPUS, _VECTORS),
            kept_with_users=True,
        ),
        Kind("vector-table", Stage.EMBED, 1, _vector_table, "store-vector-table", (_VECTORS,)),  # made for exports
        Kind(
            "tagger",
            Stage.TAG,
            5,
            _tagger,
            "train-tagger",
            (*_READ_OF_SPLITS, Role(TRAIN_ONLY, TAGGER), Role(BASE, TAGGER)),
            child=True,
            trained=True,
            kept_with_users=True,
            reporting=Reporting.OWN_RUN,
        ),
        Kind(
            "evaluation",
            Stage.TAG,
            4,
            _evaluation,
            "evaluate-tagger",
            (Role(TAGGER, "tagger"), *_READ_OF_SPLITS),
            child=True,
            shares_child=True,
            trained=True,
            reporting=Reporting.WITH_TAGGER,
        ),
        Kind("report", Stage.TAG, 3, _report, "write-report", (MEASURED, LABELLED), reporting=Reporting.WITH_VARIANTS),
    )
}
"""All kinds by name, inputs before their users."""


def typed_inputs(kind: str, digests: Mapping[str, str], recorded: Mapping[str, str] | None = None) -> list[Input]:
    """Return the inputs of an object with their kinds.

    Args:
        kind: kind of the object.
        digests: content digests of its inputs by role.
        recorded: kinds by role in its manifest; manifests of older versions have none.
    """
    roles, recorded = KINDS[kind].inputs if kind in KINDS else (), recorded or {}
    return [typed_input(roles, role, digest, recorded.get(role)) for role, digest in digests.items()]


def recipe_inputs(recipe: Recipe) -> list[Input]:
    """Return the inputs of a recipe with their kinds."""
    return typed_inputs(recipe.kind, recipe.inputs)


def order_of(kind: str) -> int:
    """Return the position of a kind; inputs come before their users."""
    return list(KINDS).index(kind) if kind in KINDS else len(KINDS)


def parse_stage(name: str) -> Stage:
    """Return a stage by its name.

    Raises:
        ConfigError: there is no such stage.
    """
    try:
        return Stage(name)
    except ValueError:
        raise ConfigError(f"no stage {name!r}; the stages are {', '.join(Stage)}") from None
