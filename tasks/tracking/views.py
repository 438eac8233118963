"""Views of MLflow's UI that answer one question each, kept as tags of an experiment so that a link opens them.

MLflow's own "share" button writes such tags: `mlflow.sharedViewState.<key>` holds a table's filter, order and columns,
and charts, as JSON. The runs table has no column of metrics without one. Knows texts only, not MLflow itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from taglm_core.pipeline.kinds import Stage
from tasks.tracking.descriptions import NOTE, experiment_link, experiment_text

PIPELINE = "pipeline"
MODELS_TAG = "taglm.language_models"  # of a variant: which ones its taggers read, in words
_TAG = "mlflow.sharedViewState."
_VARIANTS = "tags.`taglm.kind` = 'variant'"


@dataclass(frozen=True, slots=True)
class View:
    """One view of an experiment's runs.

    Attributes:
        key: its name in links; changed where an older link should go on showing what it showed.
        question: that it answers.
        what: one sees there.
        query: which runs are shown.
        order: the metric that they are ordered by.
        ascending: the smallest first.
        metrics: columns, from left to right.
        params: columns.
        tags: columns.
        charts: shown instead of the table, each over the whole width.
        height: of a chart, in pixels.
    """

    key: str
    question: str
    what: str
    query: str
    order: str
    ascending: bool = False
    metrics: Sequence[str] = ()
    params: Sequence[str] = ()
    tags: Sequence[str] = ()
    charts: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    height: int = 480

    @property
    def tag(self) -> str:
        """Name of the experiment's tag that holds it."""
        return f"{_TAG}{self.key}"

    def state(self) -> dict[str, Any]:
        """What MLflow's page is told."""
        kinds = {"metrics": self.metrics, "params": self.params, "tags": self.tags}
        columns = [f"{kind}.`{name}`" for kind, names in kinds.items() for name in names]
        widths = {column: max(90, 4 * len(column) + 12) for column in columns}  # pixels: no name is cut off
        widths |= {f"tags.`{MODELS_TAG}`": 440}  # nor this
        section = {"uuid": self.key, "name": self.question, "display": True, "isReordered": True, "deleted": False,
                   "isGenerated": False, "columns": 1, "cardHeight": self.height}  # fmt: skip
        shown = {"selectedColumns": columns, "columnOrder": columns, "columnWidths": widths,
                 "searchFilter": self.query, "orderByKey": f"metrics.`{self.order}`",
                 "orderByAsc": self.ascending, "runsHiddenMode": "SHOW_ALL"}  # fmt: skip
        if not self.charts:
            return shown
        common = {"metricSectionId": self.key, "deleted": False, "isGenerated": False, "runsCountToCompare": 100}
        charts = [{"uuid": f"{self.key}-{n}", **common, **chart} for n, chart in enumerate(self.charts)]
        return {**shown, "compareRunSections": [section], "compareRunCharts": charts, "isAccordionReordered": True}

    def link(self, base: str, experiment_id: str) -> str:
        """Address that opens it; with an empty base, a link inside the UI."""
        mode = "&compareRunsMode=CHART" if self.charts else ""
        return f"{experiment_link(base, experiment_id)}&viewStateShareKey={self.key}{mode}"


_SCORES = ("test/f1_mean", "test/f1_std", "dev/f1_mean")
GAIN = View(
    "gain", "What does the language model bring on this data set?",
    "variants with mean F1, deviation and difference to the first one",
    _VARIANTS, "test/f1_mean",
    metrics=(*_SCORES, "test/f1_difference", "p_value", "train/sentences", "seeds"), params=("lm",),
)  # fmt: skip
BEST_MODEL = View(
    "best-language-model", "Which language model is best?",
    "finished variants with a language model, by dev F1; its kind, size, objects and perplexity beside",
    f"{_VARIANTS} and params.lm != 'none' and metrics.`dev/f1_mean` > 0", "dev/f1_mean",
    metrics=("dev/f1_mean", "test/f1_mean", "lm/perplexity", "train/sentences", "seeds"),
    tags=(MODELS_TAG, "taglm.experiment"),
)  # fmt: skip
CURVE = View(
    "learning-curve", "How much data do I need?", "F1 over the labelled sentences, a dot for every variant so far",
    _VARIANTS, "train/sentences", ascending=True,
    metrics=("train/sentences", *_SCORES), params=("lm",),
    charts=({"type": "SCATTER", "displayName": "F1 on test over the labelled sentences trained on",
             "xaxis": {"key": "train/sentences", "type": "METRIC"},
             "yaxis": {"key": "test/f1_mean", "type": "METRIC"}},),
)  # fmt: skip
PERPLEXITY = View(
    "perplexity", "Which language model predicts text best?", "language models by perplexity on held-out text",
    "", "heldout/perplexity", ascending=True,
    metrics=("heldout/perplexity", "tokens_per_second", "seconds"),
    params=("direction", "input.kind", "units", "projection", "steps"),
)  # fmt: skip
CHANGES = View(
    "changes", "What changed between these runs?",
    "runs of the pipeline side by side: scores, and the settings that differ",
    "", "test/f1_mean",
    metrics=(*_SCORES, "train/sentences"), params=("best_variant", "labelled.train_fraction"),
    charts=({"type": "DIFFERENCE", "chartName": "What differs", "showDifferencesOnly": True, "runsCountToCompare": 10,
             "showChangeFromBaseline": True, "baselineColumnUuid": "",
             "compareGroups": ["Model metrics", "Parameters"]},),
    height=680,
)  # fmt: skip
HISTORY = View(
    "history", "Which runs of the whole pipeline gave what?", "runs of the pipeline with their scores",
    "", "dev/f1_mean",
    metrics=(*_SCORES, "train/sentences"), params=("best_variant", "labelled.train_fraction"),
)  # fmt: skip

VIEWS: dict[str, tuple[View, ...]] = {
    Stage.PRETRAIN: (PERPLEXITY,),
    Stage.TAG: (GAIN, BEST_MODEL, CURVE),
    PIPELINE: (CHANGES, HISTORY),
}


def experiment_tags(stage: Stage | str) -> dict[str, str]:
    """Tags of an experiment: its description, which links its views, and these; `{id}` stands for its id."""
    views = VIEWS.get(stage, ())
    links = [f"[{view.question}]({view.link('', '{id}')})" for view in views]
    links.append(f"[All runs as a table]({experiment_link('', '{id}')})")
    note = f"{' · '.join(links)}\n\n{experiment_text(stage)}"
    return {NOTE: note, **{view.tag: json.dumps(view.state()) for view in views}}
