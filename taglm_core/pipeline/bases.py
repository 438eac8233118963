"""Resolution of `continue_from` and `init_from` to full digests of base models, once at the start of a run.

`latest` is the newest model of the same name, direction and experiment whose history (its text, the text of its base,
...) lacks the present text; of a fine-tuned model, the model before fine-tuning. With new text the base is last week's
model. A later run on the same text finds the same base, so that all its objects are reused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taglm_core.config.experiment import Experiment
from taglm_core.config.language_model import SHAPE, Direction, LanguageModelConfig
from taglm_core.config.load import load_experiment
from taglm_core.errors import ConfigError, MismatchError
from taglm_core.pipeline.corpora_steps import TEXT
from taglm_core.pipeline.formats import resolve_formats
from taglm_core.pipeline.graph import corpora_graph, language_model_name, text_only_name
from taglm_core.pipeline.object_names import full_digest
from taglm_core.pipeline.plan import flat_settings, recipe_of
from taglm_core.pipeline.roles import BASE
from taglm_core.pipeline.steps import Graph
from taglm_core.pipeline.tagger_bases import resolve_tagger_bases
from taglm_core.store.records import Recipe
from taglm_core.store.store import Pointer, Store

KIND = "language-model"


@dataclass(frozen=True, slots=True)
class ResolvedExperiment:
    """An experiment with resolved bases.

    Attributes:
        experiment: the experiment with full digests or null in `continue_from` and `init_from`.
        lines: lines for people on what `latest` resolved to.
    """

    experiment: Experiment
    lines: tuple[str, ...] = ()


def resolve_bases(
    store: Store, experiment: Experiment, within: tuple[tuple[Path, str], ...] = ()
) -> ResolvedExperiment:  # fmt: skip
    """Resolve the bases of all language models and taggers. A resolved experiment stays unchanged.

    Args:
        store: the store.
        experiment: the experiment.
        within: files and variants whose `init_from` led to this experiment.

    Raises:
        MissingObject: no object has the given beginning of a digest, or the tagger of a variant is not trained.
        ConfigError: several objects have it, or taggers start from each other.
        MismatchError: the base has another shape or direction.
    """
    models, lines = dict(experiment.language_models), []
    for name, config in models.items():
        given = config.continue_from
        if given is None:
            continue
        found: dict[Direction, str] = {}
        for direction in config.directions:
            if isinstance(given, dict):
                if direction in given:
                    found[direction] = _named(store, name, direction, config, given[direction])
                continue
            digest, line = _latest(store, experiment, name, direction)
            lines.append(f"language_models.{name} {direction}, continue_from latest: {line}")
            if digest is not None:
                found[direction] = digest
        models[name] = config.model_copy(update={"continue_from": found or None})
    resolved = experiment.model_copy(update={"language_models": models})

    def load(path: Path, name: str) -> Experiment:
        other = load_experiment(path)
        chosen = tuple(variant for variant in other.variants if variant.name == name)
        if not chosen:
            known = " or ".join(f"{path}:{variant.name}" for variant in other.variants)
            raise ConfigError(f"tagger.init_from: {path} has no variant {name!r}; write {known}")
        if (place := (path.resolve(), name)) in within:
            raise ConfigError(
                f"tagger.init_from: {path}:{name} starts from itself; name a tagger that is trained before"
            )
        other = resolve_formats(other.model_copy(update={"variants": chosen, "run": experiment.run}))
        return resolve_bases(store, other, (*within, place)).experiment

    return ResolvedExperiment(resolve_tagger_bases(store, resolved, load), tuple(lines))


def from_random_weights(experiment: Experiment) -> Experiment:
    """Return the experiment without `continue_from` in any language model and without `init_from` in any tagger."""
    models = {name: lm.model_copy(update={"continue_from": None}) for name, lm in experiment.language_models.items()}
    variants = tuple(
        variant.model_copy(update={"tagger": {**variant.tagger, "init_from": None}})
        if experiment.tagger_of(variant).init_from is not None
        else variant
        for variant in (experiment.variants if experiment.labelled is not None else ())
    )
    return experiment.model_copy(
        update={"language_models": models, "variants": variants or experiment.variants}
    )  # fmt: skip


def require_same_shape(
    where: str, base: Mapping[str, Any], config: LanguageModelConfig, direction: Direction, digest: str
) -> None:
    """Refuse a base with another shape or direction.

    Args:
        where: path of the settings, such as `language_models.main`.
        base: configuration of the step that made the base.
        config: settings of the model to train.
        direction: direction of the model to train.
        digest: digest of the base.

    Raises:
        MismatchError: lists the settings with both values.
    """
    if base["direction"] != direction:
        raise MismatchError(f"{where}.continue_from.{direction}: {digest[:12]} is a {base['direction']} language model")
    different = _differences(base, config)
    if different:
        found = "; ".join(f"{where}.{path} is {now}, in the base {before}" for path, before, now in different)
        raise MismatchError(
            f"{found}. A language model keeps shape and vocabulary of its base ({digest[:12]}); give "
            f"these settings the base's values, or leave out {where}.continue_from to train from random weights"
        )


def _differences(base: Mapping[str, Any], config: LanguageModelConfig) -> list[tuple[str, Any, Any]]:
    older = LanguageModelConfig.model_validate({key: base[key] for key in SHAPE if key in base})
    before = dict(flat_settings(older.shape()))
    now = dict(flat_settings(config.shape()))
    paths = sorted(before.keys() | now.keys())
    return [
        (path, before.get(path, "unset"), now.get(path, "unset")) for path in paths if before.get(path) != now.get(path)
    ]


def _named(store: Store, name: str, direction: Direction, config: LanguageModelConfig, start: str) -> str:
    """Return the full digest of a base that a user gave by its beginning."""
    digest = full_digest(store, KIND, start, f"language_models.{name}.continue_from.{direction}")
    if store.damage(KIND, digest) is None:
        settings = store.manifest(KIND, digest).recipe.config
        require_same_shape(f"language_models.{name}", settings, config, direction, digest)
    return digest


def _latest(store: Store, experiment: Experiment, name: str, direction: Direction) -> tuple[str | None, str]:
    """Return the base of `latest`, and a text on it and on the models passed over."""
    config = experiment.language_models[name]
    steps = language_model_name(name, direction), text_only_name(name, direction)
    labels = {f"{experiment.name}/{step}" for step in steps}
    texts = _Texts(store)
    present = texts.present(experiment)
    mine = [p for p in store.pointers(KIND) if p.label in labels and not texts.fine_tuned(p)]
    mine.sort(key=lambda p: _made(store, p), reverse=True)
    used = {pointer.recipe.inputs.get(BASE) for pointer in mine if present & set(texts.of(pointer))}
    passed: list[str] = []
    for pointer in mine:
        if present & set(texts.history(pointer)):
            continue
        different, problem = _differences(pointer.recipe.config, config), store.damage(KIND, pointer.digest)
        if different:
            path, before, now = different[0]
            passed.append(f"{pointer.digest[:12]} was passed over: its {path} is {before}, not {now}")
        elif problem is not None and pointer.digest not in used:  # objects made from it are complete without it
            passed.append(f"{pointer.digest[:12]} was passed over: {problem}")
        else:
            return pointer.digest, "; ".join([f"goes on from {pointer.digest[:12]}", *passed])
    return None, "; ".join(["no model of other text in the store; starts from random weights", *passed])


def _made(store: Store, model: Pointer) -> tuple[float, float]:
    """Return the times of a model and of its pointer; the pointer is newer if the model was computed again."""
    whole = store.damage(KIND, model.digest) is None
    return (store.manifest(KIND, model.digest).made["time"] if whole else model.time, model.time)


class _Texts:
    """Texts of language models, identified by the digest of the corpus and the key of its source.

    Only pointers are read, so that the text of a model stays known when its corpus is gone or damaged.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._recipes: dict[tuple[str, str], list[Recipe]] = {}
        self._models: dict[str, list[Pointer]] = {}
        for kind in ("token-ids", "corpus"):
            for pointer in store.pointers(kind):
                self._recipes.setdefault((kind, pointer.digest), []).append(pointer.recipe)
        for pointer in store.pointers(KIND):
            self._models.setdefault(pointer.digest, []).append(pointer)

    def present(self, experiment: Experiment) -> set[str]:
        """Return the identifiers of the text of an experiment."""
        graph = corpora_graph(experiment)
        recipe = self._recipe(graph, TEXT)
        if recipe is None:
            return set()
        pointer = self._store.pointer(recipe.kind, recipe.key)
        return {_source(recipe)} | ({pointer.digest} if pointer is not None else set())

    def of(self, model: Pointer) -> Iterator[str]:
        """Yield the identifiers of the text that a language model was last trained on."""
        for text, corpora in self._read_by(model):
            yield text
            yield from map(_source, corpora)

    def fine_tuned(self, model: Pointer) -> bool:
        """Return whether a language model was last trained on labelled text."""
        return any(corpus.config.get("format") != "text" for _, corpora in self._read_by(model) for corpus in corpora)

    def _read_by(self, model: Pointer) -> Iterator[tuple[str, Sequence[Recipe]]]:
        """Yield digest and recipes of the corpus that a language model was last trained on."""
        for token_ids in self._recipes.get(("token-ids", model.recipe.inputs["token-ids"]), ()):
            text = token_ids.inputs["text"]
            yield text, self._recipes.get(("corpus", text), ())

    def history(self, model: Pointer) -> Iterator[str]:
        """Yield the identifiers of the texts of a language model and of all its bases."""
        yield from self.of(model)
        seen, before = {model.digest}, model.recipe.inputs.get(BASE)
        while before is not None and before not in seen:
            seen.add(before)
            made = self._models.get(before, ())  # several recipes may have given the same model
            for base in made:
                yield from self.of(base)
            before = next((base.recipe.inputs[BASE] for base in made if BASE in base.recipe.inputs), None)

    def _recipe(self, graph: Graph, name: str) -> Recipe | None:
        """Return the recipe of a step whose inputs were made once, present or not; None otherwise."""
        digests: dict[str, str] = {}
        for role, above in graph[name].inputs.items():
            recipe = self._recipe(graph, above)
            pointer = None if recipe is None else self._store.pointer(recipe.kind, recipe.key)
            if pointer is None:
                return None
            digests[role] = pointer.digest
        return recipe_of(self._store, graph[name], digests)


def _source(recipe: Recipe) -> str:
    """Return a key of the source of a corpus, independent of the version of the reader."""
    return Recipe(recipe.kind, 0, recipe.config, recipe.inputs).key
