"""Resolution of `tagger.init_from` to full digests of trained taggers, one for each seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from taglm_core.config.experiment import Experiment
from taglm_core.config.tagger import LmEntryConfig, TaggerConfig, VariantConfig, named_variant
from taglm_core.errors import ConfigError, MismatchError, MissingObject
from taglm_core.pipeline.graph import build_graph, tagger_name
from taglm_core.pipeline.object_names import full_digest
from taglm_core.pipeline.plan import flat_settings, plan
from taglm_core.pipeline.roles import LANGUAGE_MODEL, TAGGER
from taglm_core.store.records import Recipe
from taglm_core.store.store import Store

Load = Callable[[Path, str], Experiment]


def resolve_tagger_bases(store: Store, experiment: Experiment, load: Load) -> Experiment:
    """Return the experiment with a digest for each seed in `init_from` of each variant that has one.

    Args:
        store: the store.
        experiment: the experiment.
        load: returns the resolved experiment of a file with one of its variants alone.

    Raises:
        MissingObject: a tagger is not in the store.
        ConfigError: a variant is unknown, a seed has no tagger, or several taggers have the beginning of a digest.
        MismatchError: a tagger has other layers.
    """
    if experiment.labelled is None:
        return experiment
    variants = []
    for variant in experiment.variants:
        config = experiment.tagger_of(variant)
        if config.init_from is not None:
            digests = _digests(store, experiment, variant, config, load)
            # text, as in JSON, so that settings that travelled are the same
            found = {str(seed): digest for seed, digest in digests.items()}
            variant = variant.model_copy(update={"tagger": {**variant.tagger, "init_from": found}})
        variants.append(variant)
    return experiment.model_copy(update={"variants": tuple(variants)})


def require_same_layers(where: str, base: Recipe, config: TaggerConfig, *, reads_lm: bool, digest: str) -> None:
    """Refuse a tagger whose layers have other shapes. Widths of embeddings are known when it is built.

    Args:
        where: path of the setting.
        base: recipe of the tagger to start from.
        config: settings of the tagger to train.
        reads_lm: whether the tagger to train reads language models.
        digest: digest of the tagger to start from.

    Raises:
        MismatchError: lists the settings with both values.
    """
    with_vectors = base.config["words"]["vectors"] or config.words.vectors is not None
    older_lm = any(LANGUAGE_MODEL.match(role) for role in base.inputs)
    before = dict(flat_settings(_shape(base.config, reads_lm=older_lm, with_vectors=with_vectors)))
    now = dict(flat_settings(_shape(config.model_dump(mode="json"), reads_lm=reads_lm, with_vectors=with_vectors)))
    different = [
        f"{path} is {now.get(path, 'unset')}, in that tagger {before.get(path, 'unset')}"
        for path in sorted(before.keys() | now.keys())
        if before.get(path) != now.get(path)
    ]
    if different:
        raise MismatchError(
            f"{where}: {'; '.join(different)}. A tagger keeps the layers of the one that it starts from "
            f"({digest[:12]}); give these settings its values, or leave init_from out"
        )


def _shape(config: Mapping[str, Any], *, reads_lm: bool, with_vectors: bool) -> dict[str, Any]:
    """Return the settings that determine the shapes of characters, words and layers."""
    lm = LmEntryConfig.model_validate(config["lm"])
    if lm.position == "only":
        return {"units": (), "lm": {"position": "only"}}
    characters = {name: value for name, value in config["characters"].items() if name != "dropout"}
    shape = {"characters": characters, "cell": config["cell"], "units": tuple(config["units"])}
    if not with_vectors:
        shape["words"] = {"size": config["words"]["size"]}
    if not reads_lm or lm.layers_below == len(config["units"]):  # no layer reads LM embeddings
        return {**shape, "lm": {"position": "above all layers, or no lm"}}
    return {**shape, "lm": {"position": lm.position, "projection": lm.projection}}


def _digests(
    store: Store, experiment: Experiment, variant: VariantConfig, config: TaggerConfig, load: Load
) -> dict[int, str]:
    """Return the full digest of the tagger to start from for each seed of the experiment."""
    where, given = f"variant {variant.name}, tagger.init_from", config.init_from
    if isinstance(given, dict):
        if missing := [seed for seed in experiment.seeds if seed not in given]:
            raise ConfigError(
                f"{where}: found no tagger for seeds {missing}; expected one for each seed, or one digest"
            )
        starts = {seed: given[seed] for seed in experiment.seeds}
    elif (named := named_variant(str(given))) is not None:
        starts = _of_variant(store, experiment, *named, load, where)
    else:
        starts = dict.fromkeys(experiment.seeds, str(given))
    found = {seed: full_digest(store, TAGGER, start, where) for seed, start in starts.items()}
    for digest in dict.fromkeys(found.values()):
        if store.damage(TAGGER, digest) is None:
            recipe = store.manifest(TAGGER, digest).recipe
            require_same_layers(where, recipe, config, reads_lm=bool(variant.lm), digest=digest)
    return found


def _of_variant(
    store: Store, experiment: Experiment, path: Path, name: str, load: Load, where: str
) -> dict[int, str]:  # fmt: skip
    """Return the tagger of a variant of another experiment for each seed: that of the same seed, or of its first."""
    other = load(path, name)
    decisions, found = plan(store, build_graph(other)), {}
    for seed in experiment.seeds:
        same = seed if seed in other.seeds else other.seeds[0]
        ref = decisions[tagger_name(name, same)].ref
        if ref is None:
            raise MissingObject(
                f"{where}: {path}:{name} seed {same} is not trained in {store.root}; run `taglm tag {path}` first"
            )
        found[seed] = ref.digest
    return found
