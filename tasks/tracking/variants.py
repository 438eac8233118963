"""Variants as runs: parents of their seeds, with mean and standard deviation once a report is there."""

from __future__ import annotations

import contextlib
import math
import statistics
from collections.abc import Mapping
from pathlib import Path

from taglm_core.errors import StoreError
from taglm_core.evaluation.report import Comparison
from taglm_core.stages.steps import Stage
from taglm_core.store.store import Store
from tasks.tracking.connection import Connection, log_params
from tasks.tracking.descriptions import NOTE
from tasks.tracking.entry import FINISHED, LM_ROLE, Entry, Variant
from tasks.tracking.views import experiment_tags


def variant_run(connection: Connection, mlflow_experiment: str, variant: Variant) -> str:
    """Id of the variant's run, made if there is none: one per experiment, name and settings but the seed.

    One that a kill or an outage left without its settings gets them.
    """
    experiment_id = connection.experiment(mlflow_experiment, experiment_tags(Stage.TAG))
    client = connection.client()
    with connection.lock():
        found = connection.find_run(mlflow_experiment, variant.tags())
        if found is None:
            note = f"Variant {variant.name} of experiment {variant.experiment}; its seeds are the runs below."
            run = client.create_run(experiment_id, run_name=variant.name, tags={**variant.tags(), NOTE: note})
        run_id = str(run.info.run_id) if found is None else found
        log_params(client, run_id, variant.params())
        if found is None:
            client.set_terminated(run_id, FINISHED)  # until a seed of it runs
    return run_id


def variant_of(entry: Entry) -> Variant | None:
    """The variant that a tagger belongs to."""
    if entry.step.kind != "tagger" or entry.variant is None:
        return None
    digests = {role: ref.digest for role, ref in entry.inputs.items()}
    return Variant.of(entry.variant, entry.experiment, entry.step.config, digests)


def variants_of_report(entry: Entry) -> dict[str, Variant]:
    """The variants a report compares, by name: what their taggers were made from stands in the store."""
    store, variants = Store(Path(entry.store)), {}
    measured = "test" if any(role.startswith("test/") for role in entry.inputs) else "dev"
    for role, ref in entry.inputs.items():
        split, _, rest = role.partition("/")
        name = rest.rpartition("/")[0]
        pointer = store.pointer(ref.kind, ref.key)
        if split != measured or name in variants or pointer is None:
            continue
        try:
            recipe = store.manifest("tagger", pointer.recipe.inputs["tagger"]).recipe
        except StoreError:
            continue  # cleaned up since: the evaluation stays, its variant cannot be found by its settings
        variants[name] = Variant.of(name, entry.experiment, recipe.config, recipe.inputs)
    return variants


def input_metrics(store: Store, inputs: Mapping[str, str]) -> dict[str, float]:
    """What a tagger's F1 is seen against: sentences, words without a vector, perplexity of its language models.

    Args:
        store: where its inputs are; those that are gone are left out.
        inputs: digests by role.

    Returns:
        `train/sentences` that it learnt from; `train/missing_rate`, the share of their tokens that the file of word
        vectors lacks; and `lm/perplexity`, the geometric mean over all language models and directions.
    """
    found, losses = {}, []
    for role, digest in inputs.items():
        with contextlib.suppress(StoreError, KeyError):
            if role == "train/corpus":
                found["train/sentences"] = float(store.manifest("corpus", digest).counts["sentences"])
            elif role == "train/word-vectors":
                found["train/missing_rate"] = store.manifest("word-vectors", digest).metrics["missing_rate"]
            elif role.startswith(LM_ROLE):
                losses.append(math.log(store.manifest("language-model", digest).metrics["heldout/perplexity"]))
    if losses:
        found["lm/perplexity"] = math.exp(statistics.fmean(losses))
    return found


def models_in_words(store: Store, inputs: Mapping[str, str]) -> str | None:
    """Which language models a tagger reads: kind and size, tokens read, and the objects, a direction each.

    Args:
        store: where they are; those that are gone are left out.
        inputs: digests by role.
    """
    digests: dict[str, list[str]] = {}
    shapes: dict[str, str] = {}
    for role, digest in sorted(inputs.items(), reverse=True):  # forward first
        if role.startswith(LM_ROLE):
            with contextlib.suppress(StoreError, KeyError):
                made = store.manifest("language-model", digest)
                config, tokens = made.recipe.config, made.counts["training_tokens_total"]
                size = f"{config['input']['kind']}, {config['layers']} x {config['units']}-{config['projection']}"
                name = role.removeprefix(LM_ROLE).rpartition("/")[0]
                shapes[name] = f"{size}, {tokens / 1e6:,.1f} million tokens"
                digests.setdefault(name, []).append(digest[:8])
    return "; ".join(f"{shape} ({' '.join(digests[name])})" for name, shape in sorted(shapes.items())) or None


def comparison_metrics(comparison: Comparison) -> Mapping[str, dict[str, float]]:
    """Metrics of each variant's run, by the variant's name."""
    found: dict[str, dict[str, float | None]] = {}
    split = comparison.split
    for summary in comparison.variants:
        found[summary.variant] = {
            f"{split}/f1_mean": summary.f1.mean,
            f"{split}/f1_std": summary.f1.deviation,
            f"{split}/precision_mean": summary.precision,
            f"{split}/recall_mean": summary.recall,
            "dev/f1_mean": summary.dev_f1,
            "seeds": float(summary.f1.n),
            "size/parameters": float(summary.parameters),
        }
    for difference in comparison.differences:
        found[difference.variant] |= {
            f"{split}/f1_difference": difference.difference,
            f"{split}/f1_difference_low": difference.low,
            f"{split}/f1_difference_high": difference.high,
            "p_value": difference.p_value,
            "welch_p": difference.welch_p,
        }
    return {name: {key: value for key, value in of.items() if value is not None} for name, of in found.items()}
