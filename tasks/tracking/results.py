"""What is told of a finished object, by its kind. Telling it twice changes nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric
from mlflow.tracking import MlflowClient

from taglm_core.evaluation.calibration import Calibration
from taglm_core.evaluation.curves import CURVE
from taglm_core.evaluation.figures import confusion_figure, reliability_figure
from taglm_core.evaluation.report import read_report
from taglm_core.evaluation.tables import to_markdown
from taglm_core.store.store import Artifact, Store
from taglm_core.training.journal import JOURNAL, read_events
from tasks.tracking.connection import Connection
from tasks.tracking.descriptions import LONGEST_TAG, NOTE
from tasks.tracking.entry import FINISHED, REPORT_TAG, Entry
from tasks.tracking.figures import tagger_figure
from tasks.tracking.variants import (
    comparison_metrics,
    input_metrics,
    models_in_words,
    seeds_line,
    variant_run,
    variants_of_report,
)
from tasks.tracking.views import MODELS_TAG
from tasks.urls import prefect_line

CONTEXTS = {"train": "training", "text": "training", "dev": "validation", "test": "testing"}
TABLES = "mlflow.loggedArtifacts"  # the UI shows tables that this tag lists
LARGEST_FILE = 5 * 2**20  # of a report, in bytes


def datasets(entry: Entry) -> list[DatasetInput]:
    """The corpora a step reads, by our digests; nothing is loaded."""
    found = []
    for role, ref in entry.inputs.items():
        if ref.kind not in ("corpus", "token-ids"):
            continue
        name = entry.step.inputs[role]
        split = "text" if name == "token-ids" else name.rpartition("/")[2]
        source, counts = json.dumps({"uri": str(entry.object_path(ref))}), json.dumps(dict(ref.counts))
        dataset = Dataset(f"{entry.step.group}/{split}", ref.digest, "local", source, profile=counts)
        tag = InputTag("mlflow.data.context", CONTEXTS.get(split.split("-")[0], "training"))
        found.append(DatasetInput(dataset, [tag]))
    return found


def log_own(client: MlflowClient, run_id: str, entry: Entry, artifact: Artifact) -> None:
    """Final metrics, sizes, figures and where the object lies, for a step with a run of its own."""
    manifest = artifact.manifest
    sizes = {f"size/{name}": float(count) for name, count in manifest.counts.items()}
    log_final(client, run_id, {**manifest.metrics, **sizes, "seconds": manifest.seconds}, artifact)
    _OWN.get(entry.step.kind, _nothing)(client, run_id, entry, artifact)
    client.set_tag(run_id, "taglm.object", artifact.ref.digest)
    lines = [f"`{entry.step.name}` of {entry.experiment}; object `{artifact.path}`"]
    if entry.prefect_run:
        lines += ["", prefect_line(entry.prefect_run)]
    client.set_tag(run_id, NOTE, "\n".join(lines))


def log_evaluation(connection: Connection, run_id: str, entry: Entry, artifact: Artifact) -> None:
    """Scores on one split, for the run of the tagger or a run of the evaluation's own."""
    client, split = connection.client(), str(entry.step.config["split"])
    found = _json(artifact.path / "scores.json")
    scores, confusion = found["scores"], found["type_confusion"]
    micro = scores["micro"]
    values = {f"{split}/{name}": micro[name] for name in ("f1", "precision", "recall")}
    values |= {f"{split}/f1_strict": scores["f1_strict"]}
    calibrations = {name: Calibration.from_dict(data) for name, data in found["calibration"].items()}
    values |= {f"{split}/calibration_error_{name}": data.error for name, data in calibrations.items()}
    log_final(client, run_id, values, artifact)
    _figure(client, run_id, reliability_figure(calibrations), f"{split}_reliability.png")
    columns = ["precision", "recall", "f1", "gold", "predicted", "correct"]
    rows = [[name, *(prf[column] for column in columns)] for name, prf in scores["per_type"].items()]
    log_table(connection, run_id, f"{split}_types.json", ["type", *columns], rows)
    if confusion["types"]:
        _figure(client, run_id, confusion_figure(confusion), f"{split}_confusion.png")
    connection.log_inputs(run_id, datasets(entry))
    client.set_tag(run_id, f"taglm.evaluation.{split}", artifact.ref.digest)


def log_report(connection: Connection, entry: Entry, artifact: Artifact) -> None:
    """Send means, deviations and significance to the runs of the variants, which belong to this report from then on."""
    client, variants, store = connection.client(), variants_of_report(entry), Store(Path(entry.store))
    splits = measured_splits(store, entry)
    comparison = read_report(artifact.path)
    values, small = comparison_metrics(comparison), [
        path for path in sorted(artifact.path.iterdir())
        if path.is_file() and path.name != "manifest.json" and path.stat().st_size <= LARGEST_FILE
    ]  # fmt: skip
    for name, variant in variants.items():
        run_id = variant_run(connection, entry.mlflow_experiment, variant, artifact.ref.digest)
        log_final(client, run_id, {**values[name], **input_metrics(store, variant.inputs)}, artifact)
        for path in small:
            client.log_artifact(run_id, str(path), None if path.suffix == ".png" else "report")
        if (models := models_in_words(store, variant.inputs)) is not None:
            client.set_tag(run_id, MODELS_TAG, models)
        for split, digest in splits.items():
            client.set_tag(run_id, f"taglm.{split}_digest", digest)
        seeds = seeds_line(connection, entry.mlflow_experiment, entry, name)
        parts = [
            f"Variant {name} of experiment {entry.experiment}",
            *([seeds] if seeds else []),
            to_markdown(comparison),
        ]
        client.set_tag(run_id, NOTE, "\n\n".join(parts)[:LONGEST_TAG])
        if client.get_run(run_id).info.status != FINISHED:  # a seed failed once, and was made by another run since
            client.set_terminated(run_id, FINISHED)
        client.set_tag(run_id, REPORT_TAG, artifact.ref.digest)  # last: nothing changes the run after that


def measured_splits(store: Store, entry: Entry) -> dict[str, str]:
    """Digests of the corpora that a report's evaluations were made on, by split."""
    found: dict[str, str] = {}
    for role, ref in entry.inputs.items():
        pointer, split = store.pointer(ref.kind, ref.key), role.partition("/")[0]
        if ref.kind == "evaluation" and pointer is not None:
            found[split] = pointer.recipe.inputs[f"{split}/corpus"]
    return found


def log_final(client: MlflowClient, run_id: str, values: Mapping[str, float], artifact: Artifact) -> None:
    """Results as the last point of each metric, unless they already are: tables show the last point.

    Its time is that of the object, so that two who tell it at once tell the same point.
    """
    made, metrics = int(1000 * artifact.manifest.made.get("time", time.time())), []
    for name, value in values.items():
        known = client.get_metric_history(run_id, name)
        last = max(known, key=lambda metric: (metric.step, metric.timestamp), default=None)
        if last is None or last.value != value:
            metrics.append(Metric(name, float(value), made, 0 if last is None else last.step + 1))
    if metrics:
        client.log_batch(run_id, metrics=metrics)


def log_table(connection: Connection, run_id: str, name: str, columns: list[str], rows: list[list[Any]]) -> None:
    """A table that replaces one of the same name (MLflow's own `log_table` would add the rows once more)."""
    client, table = connection.client(), {"path": name, "type": "table"}
    client.log_dict(run_id, {"columns": columns, "data": rows}, name)
    with connection.lock():  # a tagger's evaluations on two splits add a table to the list at once
        tables = json.loads(client.get_run(run_id).data.tags.get(TABLES, "[]"))
        if table not in tables:
            client.set_tag(run_id, TABLES, json.dumps([*tables, table]))


def _statistics(client: MlflowClient, run_id: str, entry: Entry, artifact: Artifact) -> None:
    counts = {f"{role}/{name}": float(n) for role, ref in entry.inputs.items() for name, n in ref.counts.items()}
    log_final(client, run_id, counts, artifact)
    client.log_artifact(run_id, str(artifact.path / "statistics.json"))


def _language_model(client: MlflowClient, run_id: str, _: Entry, artifact: Artifact) -> None:
    if (artifact.path / CURVE).is_file():
        client.log_artifact(run_id, str(artifact.path / CURVE))


def _tagger(client: MlflowClient, run_id: str, entry: Entry, artifact: Artifact) -> None:
    digests = {role: ref.digest for role, ref in entry.inputs.items()}
    log_final(client, run_id, input_metrics(Store(Path(entry.store)), digests), artifact)
    events = [event for event, _ in read_events(artifact.path / JOURNAL)]
    _figure(client, run_id, tagger_figure(events), "dev_f1.png")


def _nothing(client: MlflowClient, run_id: str, entry: Entry, artifact: Artifact) -> None:
    """Nothing beside metrics and sizes."""


def _figure(client: MlflowClient, run_id: str, figure: Figure | None, name: str) -> None:
    if figure is not None:
        client.log_figure(run_id, figure, name)


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


_OWN: dict[str, Callable[[MlflowClient, str, Entry, Artifact], None]] = {
    "corpus-statistics": _statistics,
    "language-model": _language_model,
    "tagger": _tagger,
}
