"""Pages about a report: one for each variant, one for the pipeline. Read the store alone, as `projection.py` does."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from taglm_core.config.experiment import Experiment
from taglm_core.corpus.split_facts import Finding
from taglm_core.errors import StoreError
from taglm_core.evaluation.figures import LearningPoint, learning_figure
from taglm_core.evaluation.report import Comparison, read_report
from taglm_core.evaluation.tables import to_markdown
from taglm_core.pipeline.kinds import typed_inputs
from taglm_core.pipeline.roles import LABELLED
from taglm_core.store.records import Ref
from taglm_core.store.store import Artifact, Store
from tasks.tracking.content import RunContent, with_results
from tasks.tracking.descriptions import (
    FINDINGS,
    LONGEST_TAG,
    NOTE,
    findings_text,
    flat_params,
    run_link,
    safe_name,
)
from tasks.tracking.projection import input_metrics, listed_tables, made_at, table
from tasks.tracking.receipts import Receipt
from tasks.tracking.spec import REPORT_TAG, RunSpec, Variant
from tasks.tracking.views import MODELS_TAG
from tasks.urls import prefect_line

LARGEST_FILE = 5 * 2**20  # of a report, in bytes
CURVE_FIGURE, CURVE_TABLE = "learning_curve.png", "learning_curve.json"
SCORES = ("f1_mean", "f1_std", "f1_difference")  # of the split that was measured
Curve = Mapping[str, Sequence[LearningPoint]]


Seeds = Mapping[int, tuple[str, str]]  # key and digest of the taggers of a variant


def compared_variants(store: Store, spec: RunSpec) -> list[tuple[Variant, Seeds]]:
    """Return the variants that a report compares, with their taggers; manifests of these hold the settings.

    The taggers are those that were measured on test, since on dev the forerunner of a tagger on train and dev is
    measured; those on dev where there is no test. A variant whose taggers are gone is left out.
    """
    found: list[tuple[Variant, Seeds]] = []
    inputs = [each for each in spec.typed() if each.kind == "evaluation"]
    split = "test" if any(each.split == "test" for each in inputs) else "dev"
    for name in spec.step.config["variants"]:
        seeds: dict[int, tuple[str, str]] = {}
        recipe = None
        for each in inputs:
            pointer = store.pointer(each.kind, spec.inputs[each.role].key)
            if (each.split, each.variant) == (split, name) and pointer is not None:
                with contextlib.suppress(StoreError):
                    digest = pointer.recipe.inputs["tagger"]
                    recipe = store.manifest("tagger", digest).recipe
                    seeds[each.seed] = (recipe.key, digest)
        if recipe is not None:
            given = (recipe.config, recipe.inputs, spec.step.config["seeds"], store)
            variant = Variant.of(name, spec.experiment, *given)
            found.append((variant, seeds))
    return found


def variant_page(
    store: Store, spec: RunSpec, report: Artifact, variant: Variant, runs: Mapping[int, Receipt]
) -> RunContent:
    """Return what the run of a variant shows once its report is there; it links the runs of its taggers, by seed."""
    comparison = read_report(report.path)
    inputs = typed_inputs("tagger", variant.inputs)
    values = {**comparison_metrics(comparison)[variant.name], **input_metrics(store, inputs)}
    files = [path for path in sorted(report.path.iterdir())
             if path.is_file() and path.name != "manifest.json" and path.stat().st_size <= LARGEST_FILE]  # fmt: skip
    tags = {f"taglm.{split}_digest": digest for split, digest in measured_splits(store, spec).items()}
    if (models := models_in_words(store, variant)) is not None:
        tags[MODELS_TAG] = models
    parts = [f"Variant {variant.name} of experiment {spec.experiment}"]
    if runs:
        parts.append(f"Its taggers: {', '.join(_seed_link(spec, *each) for each in sorted(runs.items()))}")
    tags[NOTE] = "\n\n".join([*parts, to_markdown(comparison)])[:LONGEST_TAG]
    tags[REPORT_TAG] = report.ref.digest
    artifacts = {path.name if path.suffix == ".png" else f"report/{path.name}": path for path in files}
    return RunContent({}, with_results((), values, made_at(report)), tags, artifacts)


def pipeline_page(
    experiment: Experiment,
    refs: Mapping[str, Ref],
    report: Artifact,
    runs: Mapping[str, Receipt],
    *,
    curve: Curve,
    findings: Sequence[Finding] = (),
    prefect_run: str | None = None,
) -> RunContent:
    """Return what the run of a pipeline shows: links to the runs of its steps (by name), scores, learning curve."""
    comparison = read_report(report.path)
    best = best_variant(comparison)
    scores = comparison_metrics(comparison)[best]
    names = [*(f"{comparison.split}/{name}" for name in SCORES), "dev/f1_mean", "p_value", "seeds"]
    values = {name: scores[name] for name in names if name in scores}
    values["train/sentences"] = float(refs["corpus/train"].counts["sentences"])
    lines = [f"{to_markdown(comparison)}\n", *([prefect_line(prefect_run)] if prefect_run else [])]
    tags = {safe_name(f"taglm.object.{name}"): ref.digest for name, ref in refs.items()}
    if prefect_run:
        tags["prefect.flow_run_id"] = prefect_run
    for name, run in runs.items():
        tags[safe_name(f"taglm.run.{name}")] = str(run.run_id)
        lines.append(f"- [{name}]({run_link('', run.mlflow_experiment, str(run.run_id))})")
    tags[FINDINGS] = findings_text(findings)
    if findings:
        lines.append(f"\n**Suspicious about the corpora:**\n\n{tags[FINDINGS]}")
    tags[NOTE] = "\n".join(lines)[:LONGEST_TAG]
    artifacts: dict[str, Path | str | Figure] = {}
    if any(len(points) > 1 for points in curve.values()):
        columns = ("variant", "train/sentences", "test/f1_mean", "test/f1_std")
        rows = [[name, point.sentences, point.f1, point.deviation] for name, line in curve.items() for point in line]
        artifacts = {CURVE_FIGURE: learning_figure(curve), CURVE_TABLE: table(columns, rows)}
        tags |= listed_tables([CURVE_TABLE])
    params = {"best_variant": best, **flat_params(experiment.model_dump(mode="json", exclude={"run"}))}
    return RunContent(params, with_results((), values, made_at(report)), tags, artifacts)


def best_variant(comparison: Comparison) -> str:
    """Return the variant with the best mean dev F1; without dev scores the last one, compared with the others."""
    return max(comparison.variants[::-1], key=lambda summary: summary.dev_f1 or 0.0).variant


def measured_splits(store: Store, spec: RunSpec) -> dict[str, str]:
    """Return the digests of the corpora that a report's evaluations were made on, by split."""
    found: dict[str, str] = {}
    for each in spec.typed():
        pointer = store.pointer(each.kind, spec.inputs[each.role].key)
        if each.kind == "evaluation" and pointer is not None:
            found[each.split] = pointer.recipe.inputs[LABELLED.name(split=each.split)]
    return found


def models_in_words(store: Store, variant: Variant) -> str | None:
    """Return which language models a variant reads: kind and size, tokens read, and the objects, a direction each.

    Models that are gone from the store are left out.
    """
    digests: dict[str, list[str]] = {}
    shapes: dict[str, str] = {}
    for each in sorted(typed_inputs("tagger", variant.inputs), key=lambda each: each.role, reverse=True):
        if each.kind == "language-model":  # forward first
            with contextlib.suppress(StoreError, KeyError):
                made = store.manifest(each.kind, each.digest)
                config, tokens = made.recipe.config, made.counts["training_tokens_total"]
                size = f"{config['input']['kind']}, {config['layers']} x {config['units']}-{config['projection']}"
                shapes[each.lm] = f"{size}, {tokens / 1e6:,.1f} million tokens"
                digests.setdefault(each.lm, []).append(each.digest[:8])
    return "; ".join(f"{shape} ({' '.join(digests[name])})" for name, shape in sorted(shapes.items())) or None


def comparison_metrics(comparison: Comparison) -> Mapping[str, dict[str, float]]:
    """Return the metrics of each variant's run, by the variant's name."""
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


def _seed_link(spec: RunSpec, seed: int, run: Receipt) -> str:
    other = "" if run.experiment == spec.experiment else f" (trained for {run.experiment}, used here)"
    return f"[seed {seed}]({run_link('', run.mlflow_experiment, str(run.run_id))}){other}"
