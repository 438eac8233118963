"""What a pipeline's run says by itself: scores of its best variant, and F1 over the labelled sentences so far."""

from __future__ import annotations

from collections.abc import Mapping

from mlflow.entities import Metric
from mlflow.tracking import MlflowClient

from taglm_core.config.experiment import Experiment
from taglm_core.evaluation.figures import LearningPoint, learning_figure
from taglm_core.evaluation.report import Comparison, read_report
from taglm_core.evaluation.tables import to_markdown
from taglm_core.pipeline.kinds import Stage
from taglm_core.store.records import Ref
from taglm_core.store.store import Artifact
from tasks.tracking.connection import Connection, log_params
from tasks.tracking.descriptions import experiment_name
from tasks.tracking.results import log_table
from tasks.tracking.variants import comparison_metrics

CURVE_FIGURE, CURVE_TABLE = "learning_curve.png", "learning_curve.json"
SCORES = ("f1_mean", "f1_std", "f1_difference")  # of the split that was measured
MOST_RUNS = 1000  # of variants that a learning curve looks at, newest first


def log_summary(
    connection: Connection, run_id: str, experiment: Experiment, refs: Mapping[str, Ref], report: Artifact
) -> str:
    """Scores as metrics, and the learning curve as a figure and a table.

    Args:
        connection: the tracking store.
        run_id: of the pipeline's run.
        experiment: the experiment.
        refs: its objects, by step name.
        report: its comparison.

    Returns:
        Markdown for the run's description.
    """
    client, comparison = connection.client(), read_report(report.path)
    best = best_variant(comparison)
    scores = comparison_metrics(comparison)[best]
    names = [*(f"{comparison.split}/{name}" for name in SCORES), "dev/f1_mean", "p_value", "seeds"]
    values = {name: scores[name] for name in names if name in scores}
    values["train/sentences"] = float(refs["corpus/train"].counts["sentences"])
    made = int(1000 * report.manifest.made["time"])
    metrics = [Metric(name, value, made, 0) for name, value in values.items()]
    client.log_batch(run_id, metrics=metrics)
    log_params(client, run_id, {"best_variant": best})
    curve = learning_curve(client, experiment, refs["corpus/test"].digest) if "corpus/test" in refs else {}
    if any(len(points) > 1 for points in curve.values()):
        client.log_figure(run_id, learning_figure(curve), CURVE_FIGURE)
        columns = ["variant", "train/sentences", "test/f1_mean", "test/f1_std"]
        rows = [[name, point.sentences, point.f1, point.deviation] for name, line in curve.items() for point in line]
        log_table(connection, run_id, CURVE_TABLE, columns, rows)
    return f"{to_markdown(comparison)}\n"


def best_variant(comparison: Comparison) -> str:
    """The variant with the best mean dev F1; without dev scores the last one, which is compared with the others."""
    return max(comparison.variants[::-1], key=lambda summary: summary.dev_f1 or 0.0).variant


def learning_curve(client: MlflowClient, experiment: Experiment, test: str) -> dict[str, list[LearningPoint]]:
    """F1 on one test corpus over the labelled sentences, by variant; of several runs at one size the newest.

    Args:
        client: of the tracking store.
        experiment: runs of other experiments are left out: their variants of the same name may be others.
        test: digest of the test corpus.
    """
    home = client.get_experiment_by_name(experiment_name(Stage.TAG, experiment.data_set))
    if home is None:
        return {}
    tags = {"taglm.kind": "variant", "taglm.experiment": experiment.name, "taglm.test_digest": test}
    wanted = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
    runs = client.search_runs(
        [home.experiment_id], wanted, max_results=MOST_RUNS, order_by=["attributes.start_time DESC"]
    )
    found: dict[str, dict[float, LearningPoint]] = {variant.name: {} for variant in experiment.variants}
    for run in runs:
        name, metrics = run.data.params.get("variant"), run.data.metrics
        if name in found and {"train/sentences", "test/f1_mean"} <= metrics.keys():
            sentences = metrics["train/sentences"]
            point = LearningPoint(sentences, metrics["test/f1_mean"], metrics.get("test/f1_std"))
            found[name].setdefault(sentences, point)
    return {name: [points[size] for size in sorted(points)] for name, points in found.items() if points}
