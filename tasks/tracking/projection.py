"""From a finished object to the content of its run: reads the store alone, and gives the same for the same object."""

from __future__ import annotations

import contextlib
import json
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from taglm_core.errors import StoreError
from taglm_core.evaluation.calibration import Calibration
from taglm_core.evaluation.curves import CURVE, series
from taglm_core.evaluation.figures import confusion_figure, curve_figure, reliability_figure
from taglm_core.pipeline.kinds import recipe_inputs
from taglm_core.pipeline.roles import Input
from taglm_core.store.records import Ref
from taglm_core.store.store import Artifact, Store
from taglm_core.training.journal import JOURNAL, Event, read_events
from tasks.tracking.content import Point, RunContent, UsedDataset, curve_points, with_results
from tasks.tracking.descriptions import NOTE
from tasks.tracking.spec import RunSpec
from tasks.urls import prefect_line

CONTEXTS = {"train": "training", "text": "training", "dev": "validation", "test": "testing"}
TABLES = "mlflow.loggedArtifacts"  # the UI shows tables that this tag lists
OBJECT_TAG = "taglm.object"
COLUMNS = ("precision", "recall", "f1", "gold", "predicted", "correct")


def project(store: Store, spec: RunSpec, artifact: Artifact) -> RunContent:
    """Return what the run of an object shows: its curves, results, sizes and files."""
    manifest, events = artifact.manifest, journal_of(artifact)
    sizes = {f"size/{name}": float(count) for name, count in manifest.counts.items()}
    results = {**manifest.metrics, **sizes, "seconds": manifest.seconds}
    more, artifacts = _BY_KIND.get(spec.step.kind, _nothing)(store, spec, artifact, events)
    lines = [f"`{spec.step.name}` of {spec.experiment}; object `{artifact.path}`"]
    if spec.prefect_run:
        lines += ["", prefect_line(spec.prefect_run)]
    curves = curve_points(events)
    return RunContent(
        spec.params(),
        curves + with_results(curves, {**results, **more}, made_at(artifact)),
        {OBJECT_TAG: artifact.ref.digest, NOTE: "\n".join(lines)},
        artifacts,
        () if spec.step.kind == "tagger" else datasets_of(store, spec),  # a tagger's come with its evaluations
    )


def project_evaluation(
    store: Store, spec: RunSpec, artifact: Artifact, splits: Sequence[str], *, alone: bool = False
) -> RunContent:
    """Return what an evaluation adds to the run of its tagger.

    Args:
        store: where it is.
        spec: what it was built for.
        artifact: its object.
        splits: all that the run has evaluations of then.
        alone: whether it has a run of its own instead, without the curves of the tagger.
    """
    split, found = str(spec.step.config["split"]), json.loads((artifact.path / "scores.json").read_text("utf-8"))
    scores, confusion = found["scores"], found["type_confusion"]
    calibrations = {name: Calibration.from_dict(data) for name, data in found["calibration"].items()}
    values = {f"{split}/{name}": scores["micro"][name] for name in ("f1", "precision", "recall")}
    values |= {f"{split}/f1_strict": scores["f1_strict"]}
    values |= {f"{split}/calibration_error_{name}": data.error for name, data in calibrations.items()}
    rows = [[name, *(prf[column] for column in COLUMNS)] for name, prf in scores["per_type"].items()]
    artifacts: dict[str, Any] = {
        f"{split}_reliability.png": reliability_figure(calibrations),
        f"{split}_types.json": table(["type", *COLUMNS], rows),
    }
    if confusion["types"]:
        artifacts[f"{split}_confusion.png"] = confusion_figure(confusion)
    tags = {f"taglm.evaluation.{split}": artifact.ref.digest, **listed_tables(f"{name}_types.json" for name in splits)}
    before = () if alone else _tagger_points(store, spec)
    metrics = with_results(before, values, made_at(artifact))
    inputs = [] if alone else _inputs_of_tagger(store, spec)
    return RunContent({}, metrics, tags, artifacts, datasets_of(store, spec, inputs))


def datasets_of(store: Store, spec: RunSpec, more: Sequence[Input] = ()) -> tuple[UsedDataset, ...]:
    """Return the corpora that a step reads, and those among more inputs, by our digests; gone ones are left out."""
    found = []
    for each in (*more, *spec.typed()):
        if each.kind in ("corpus", "token-ids"):
            split = each.split or spec.step.split or "text"
            name, context = f"{spec.step.group}/{split}", CONTEXTS.get(split, "training")
            with contextlib.suppress(StoreError):
                counts = store.manifest(each.kind, each.digest).counts
                uri = str(store.folder(Ref(each.kind, "", each.digest)))
                found.append(UsedDataset(name, each.digest, context, uri, counts))
    return tuple(found)


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a table as MLflow's UI shows it, once a tag lists its file."""
    return json.dumps({"columns": list(columns), "data": list(map(list, rows))})


def listed_tables(names: Iterable[str]) -> dict[str, str]:
    """Return the tag that lists all tables of a run, for MLflow's UI."""
    return {TABLES: json.dumps([{"path": name, "type": "table"} for name in names])}


def made_at(artifact: Artifact) -> float:
    """Return when an object was made, in seconds since 1970."""
    return float(artifact.manifest.made.get("time", artifact.path.stat().st_mtime))


def journal_of(artifact: Artifact) -> list[Event]:
    """Return the journal that an object keeps; kinds that are built without a process of their own keep none."""
    return [event for event, _ in read_events(artifact.path / JOURNAL)]


def input_metrics(store: Store, inputs: Sequence[Input]) -> dict[str, float]:
    """Return what a tagger's F1 is seen against: sentences, words without a vector, perplexity of its language models.

    Args:
        store: where its inputs are; those that are gone are left out.
        inputs: of the tagger.

    Returns:
        `train/sentences` that it learnt from; `train/missing_rate`, the share of their tokens that the file of word
        vectors lacks; and `lm/perplexity`, the geometric mean over all language models and directions.
    """
    found, losses = {}, []
    for each in inputs:
        with contextlib.suppress(StoreError, KeyError):
            if (each.split, each.kind) == ("train", "corpus"):
                found["train/sentences"] = float(store.manifest("corpus", each.digest).counts["sentences"])
            elif (each.split, each.kind) == ("train", "word-vectors"):
                found["train/missing_rate"] = store.manifest(each.kind, each.digest).metrics["missing_rate"]
            elif each.kind == "language-model":
                losses.append(math.log(store.manifest(each.kind, each.digest).metrics["heldout/perplexity"]))
    if losses:
        found["lm/perplexity"] = math.exp(statistics.fmean(losses))
    return found


Addition = tuple[Mapping[str, float], Mapping[str, Any]]


def _nothing(_store: Store, _spec: RunSpec, _artifact: Artifact, _events: Sequence[Event]) -> Addition:
    return {}, {}


def _statistics(_store: Store, spec: RunSpec, artifact: Artifact, _events: Sequence[Event]) -> Addition:
    counts = {f"{role}/{name}": float(n) for role, ref in spec.inputs.items() for name, n in ref.counts.items()}
    return counts, {"statistics.json": artifact.path / "statistics.json"}


def _language_model(_store: Store, _spec: RunSpec, artifact: Artifact, _events: Sequence[Event]) -> Addition:
    return {}, {CURVE: artifact.path / CURVE} if (artifact.path / CURVE).is_file() else {}


def _tagger(store: Store, spec: RunSpec, _artifact: Artifact, events: Sequence[Event]) -> Addition:
    figure = tagger_figure(events)
    return input_metrics(store, spec.typed()), {} if figure is None else {"dev_f1.png": figure}


def tagger_figure(events: Sequence[Event]) -> Figure | None:
    """Return the dev F1 of a tagger over the epochs; None without a point. A language model brings its own curve."""
    (points,) = series(events, "dev/f1")
    return curve_figure({"dev F1": [(epoch, 100 * f1) for epoch, f1 in points]}, "epochs", "F1 (%)") if points else None


def _inputs_of_tagger(store: Store, spec: RunSpec) -> list[Input]:
    try:
        return recipe_inputs(store.manifest("tagger", spec.inputs["tagger"].digest).recipe)
    except StoreError:
        return []


def _tagger_points(store: Store, spec: RunSpec) -> tuple[Point, ...]:
    """Return what the run of an evaluation's tagger shows already; nothing where the tagger is gone."""
    try:
        artifact = store.open(spec.inputs["tagger"])
    except StoreError:
        return ()
    curves = curve_points(journal_of(artifact))
    return curves + with_results(curves, artifact.manifest.metrics, made_at(artifact))


_BY_KIND: dict[str, Callable[[Store, RunSpec, Artifact, Sequence[Event]], Addition]] = {
    "corpus-statistics": _statistics,
    "language-model": _language_model,
    "tagger": _tagger,
}
