"""Variants as runs: parents of their seeds, with mean and standard deviation once a report is there.

A variant's run belongs to one report. Once it has that, no later run changes it: seeds that are trained after that, or
another comparison, get a new run of the variant.
"""

from __future__ import annotations

import contextlib
import math
import statistics
from collections.abc import Mapping
from pathlib import Path

from mlflow.entities import Run

from taglm_core.errors import StoreError
from taglm_core.evaluation.report import Comparison
from taglm_core.pipeline.kinds import Stage
from taglm_core.store.store import Store
from tasks.tracking.connection import Connection, log_params
from tasks.tracking.descriptions import NOTE, run_link
from tasks.tracking.entry import (
    FAILED,
    FINISHED,
    KILLED,
    LM_ROLE,
    PARENT,
    REPORT_TAG,
    RUNNING,
    SEEDS_TAG,
    Entry,
    Variant,
)
from tasks.tracking.views import experiment_tags

_WORST_FIRST = (RUNNING, FAILED, KILLED)  # of the seeds of a variant, what its own run says


def variant_run(connection: Connection, mlflow_experiment: str, variant: Variant, report: str | None = None) -> str:
    """Id of the run of a variant that still waits for its report, made if there is none.

    One that a kill or an outage left without its settings gets them.

    Args:
        connection: the tracking store.
        mlflow_experiment: name of the MLflow experiment.
        variant: the variant.
        report: digest of a report; the run that has this one already is preferred.
    """
    experiment_id = connection.experiment(mlflow_experiment, experiment_tags(Stage.TAG))
    client = connection.client()
    with connection.lock():
        known = _runs_of(connection, experiment_id, variant)
        found = _with_report(known, report) or _waiting(known, variant)
        if found is not None:
            run_id = str(found.info.run_id)
            if REPORT_TAG not in found.data.tags:
                log_params(client, run_id, variant.params())
            return run_id
        note = f"Variant {variant.name} of experiment {variant.experiment}; its seeds are the runs below."
        run = client.create_run(experiment_id, run_name=variant.name, tags={**variant.tags(), NOTE: note})
        log_params(client, run.info.run_id, variant.params())
        client.set_terminated(run.info.run_id, FINISHED)  # until a seed of it runs
    return str(run.info.run_id)


def has_report(connection: Connection, mlflow_experiment: str, variant: Variant, report: str) -> bool:
    """Whether a run of the variant has the results of a report (its digest)."""
    known = connection.client().get_experiment_by_name(mlflow_experiment)
    runs = [] if known is None else _runs_of(connection, known.experiment_id, variant)
    return _with_report(runs, report) is not None


def update_status(connection: Connection, run_id: str) -> None:
    """Set the status of a variant's run to that of its seeds; one that has its report stays as it is."""
    client = connection.client()
    with connection.lock():
        run = client.get_run(run_id)
        if REPORT_TAG in run.data.tags:
            return
        seeds: dict[str, str] = {}  # a seed that was begun again counts by its newest run
        text = f"tags.`{PARENT}` = '{run_id}'"
        for seed in client.search_runs([run.info.experiment_id], text, order_by=["attributes.start_time DESC"]):
            seeds.setdefault(seed.data.tags.get("taglm.key", seed.info.run_id), seed.info.status)
        status = next((each for each in _WORST_FIRST if each in seeds.values()), FINISHED)
        if status == RUNNING:
            client.update_run(run_id, status=RUNNING)
        elif status != run.info.status:
            client.set_terminated(run_id, status)


def seeds_line(connection: Connection, mlflow_experiment: str, entry: Entry, variant: str) -> str | None:
    """Markdown that leads to the runs of the taggers that a report compares, whatever experiment trained them.

    Args:
        connection: the tracking store.
        mlflow_experiment: name of the MLflow experiment.
        entry: the report.
        variant: name of the variant.
    """
    client, links = connection.client(), []
    for role, digest in _taggers(entry, variant).items():
        run_id = connection.find_run(mlflow_experiment, {"taglm.kind": "tagger", "taglm.object": digest})
        if run_id is not None:
            run = client.get_run(run_id)
            maker = run.data.tags.get("taglm.experiment")
            other = "" if maker == entry.experiment else f" (trained for {maker}, used here)"
            links.append(f"[seed {role.rpartition('/')[2]}]({run_link('', run.info.experiment_id, run_id)}){other}")
    return f"Its taggers: {', '.join(links)}" if links else None


def variant_of(entry: Entry) -> Variant | None:
    """The variant that a tagger belongs to."""
    if entry.step.kind != "tagger" or entry.variant is None:
        return None
    digests = {role: ref.digest for role, ref in entry.inputs.items()}
    return Variant.of(entry.variant, entry.experiment, entry.step.config, digests, entry.seeds)


def variant_of_evaluation(entry: Entry) -> Variant:
    """The variant that an evaluation's tagger belongs to in the experiment of the evaluation.

    Raises:
        StoreError: the tagger is not in the store any more.
    """
    recipe = Store(Path(entry.store)).manifest("tagger", entry.inputs["tagger"].digest).recipe
    name = entry.step.inputs["tagger"].split("/")[1]
    return Variant.of(name, entry.experiment, recipe.config, recipe.inputs, entry.seeds)


def variants_of_report(entry: Entry) -> dict[str, Variant]:
    """The variants a report compares, by name: what their taggers were made from stands in the store."""
    store, variants = Store(Path(entry.store)), {}
    for name in entry.step.config["variants"]:
        for digest in _taggers(entry, name).values():
            with contextlib.suppress(StoreError):  # cleaned up since: its variant cannot be found by its settings
                recipe = store.manifest("tagger", digest).recipe
                seeds = entry.step.config["seeds"]
                variants[name] = Variant.of(name, entry.experiment, recipe.config, recipe.inputs, seeds)
                break
    return variants


def _taggers(entry: Entry, variant: str) -> dict[str, str]:
    """Digests of the taggers of a variant that a report compares, by the role of their evaluation.

    Those on test, since on dev the forerunner of a tagger on train and dev is measured; on dev where there is no test.
    """
    store, found = Store(Path(entry.store)), {}
    split = "test" if any(role.startswith("test/") for role in entry.inputs) else "dev"
    for role, ref in entry.inputs.items():
        pointer = store.pointer(ref.kind, ref.key) if role.rpartition("/")[0] == f"{split}/{variant}" else None
        if pointer is not None:
            found[role] = pointer.recipe.inputs["tagger"]
    return found


def _runs_of(connection: Connection, experiment_id: str, variant: Variant) -> list[Run]:
    """The runs of a variant, newest first."""
    text = " and ".join(f"tags.`{name}` = '{value}'" for name, value in variant.identity().items())
    order = ["attributes.start_time DESC"]
    return list(connection.client().search_runs([experiment_id], text, order_by=order))


def _with_report(runs: list[Run], report: str | None) -> Run | None:
    return next((run for run in runs if report is not None and run.data.tags.get(REPORT_TAG) == report), None)


def _waiting(runs: list[Run], variant: Variant) -> Run | None:
    """The newest run without a report, of the same seeds where both say theirs."""
    seeds = (None, variant.seeds_text)
    waiting = (run for run in runs if REPORT_TAG not in run.data.tags)
    return next((run for run in waiting if variant.seeds_text is None or run.data.tags.get(SEEDS_TAG) in seeds), None)


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
