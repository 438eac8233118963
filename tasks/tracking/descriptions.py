"""What people read in MLflow: names, notes, parameters, links. Knows texts only, not MLflow itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from taglm_core.analysis.corpora import finding_text
from taglm_core.corpus.split_facts import Finding
from taglm_core.pipeline.kinds import Stage

NOTE = "mlflow.note.content"
FINDINGS = "taglm.findings"
LONGEST_PARAM, LONGEST_TAG, LONGEST_DESCRIPTION = 6000, 8000, 5000  # MLflow's limits, in characters
# Without it the page opens in a view for chat applications, without any column of metrics.
TRAINING_VIEW = "workflowType=machine_learning"

_NOTES = {
    Stage.INGEST: (
        "One run per set of corpora: sentences, tokens and entities of every split, and what the splits share "
        "(`statistics.json`). Compare `train/sentences` and `train/tokens`."
    ),
    Stage.PRETRAIN: (
        "One run per language model and direction. Compare **`heldout/perplexity`** (lower is better), between runs "
        "of one direction and one vocabulary only. What counts in the end is the tagger's F1: a model with characters "
        "may have the higher perplexity and give the better tagger: `taglm/tag` says which."
    ),
    Stage.EMBED: (
        "One run per language model and split: states read once and kept as float16. Nothing to optimise here; "
        "`largest_state` must stay far below 65,504."
    ),
    Stage.TAG: (
        "One parent run per variant, its seeds below it. Compare **`test/f1_mean`** and `test/f1_std` of the parents; "
        "`test/f1_difference` and `p_value` are against the first variant. Choose by **`dev/f1`**, never by `test/f1`. "
        "`train/sentences` is what a variant learnt from, `train/missing_rate` the share of its tokens that the word "
        "vectors lack, `lm/perplexity` the geometric mean over its language models' "
        "directions (held-out text; comparable for one vocabulary). "
        "The last point of a `dev/f1` curve is the kept model, the best epoch."
    ),
}
_PIPELINE = (
    "One run per execution that built something; its tags `taglm.run.<step>` name the runs of its steps. Scores are "
    "those of the variant with the best dev F1 (`best_variant`); `learning_curve.png` is over all sizes tried so far."
)


def findings_text(findings: Sequence[Finding]) -> str:
    """What is suspicious about corpora, a Markdown line each; `none` where nothing is."""
    lines = [f"- {'stops the run: ' if finding.stops else ''}{finding_text(finding)}" for finding in findings]
    return "\n".join(lines)[:LONGEST_TAG] or "none"


def experiment_name(stage: Stage | str, group: str) -> str:
    """`taglm/<stage>/<data set or text>`: runs of one kind and one data set compare."""
    return f"taglm/{stage}/{group}"


def experiment_text(stage: Stage | str) -> str:
    """Markdown that says what to compare in an experiment."""
    return _NOTES[stage] if isinstance(stage, Stage) else _PIPELINE


def experiment_link(base: str, experiment_id: str) -> str:
    """Address of an experiment's runs, in the view for training; with an empty base, a link inside the UI."""
    return f"{_page(base)}experiments/{experiment_id}/runs?{TRAINING_VIEW}"


def run_link(base: str, experiment_id: str, run_id: str) -> str:
    """Address of one run; with an empty base, a link inside the UI."""
    return f"{_page(base)}experiments/{experiment_id}/runs/{run_id}?{TRAINING_VIEW}"


def run_by_id_link(base: str, run_id: str) -> str:
    """Address of one run whose experiment is not known."""
    return f"{_page(base)}runs/{run_id}?{TRAINING_VIEW}"


def artifact_link(base: str, experiment_id: str, run_id: str, path: str) -> str:
    """Address of one of a run's files, shown."""
    return f"{_page(base)}experiments/{experiment_id}/runs/{run_id}/artifacts/{quote(path)}?{TRAINING_VIEW}"


def compare_link(base: str, experiment_id: str, run_ids: list[str]) -> str:
    """Address of the comparison of some runs."""
    runs, experiments = quote(json.dumps(run_ids)), quote(json.dumps([experiment_id]))
    return f"{_page(base)}compare-runs?runs={runs}&experiments={experiments}&{TRAINING_VIEW}"


def model_link(base: str, name: str, version: str | None = None) -> str:
    """Address of a registered model, or of one of its versions."""
    return f"{_page(base)}models/{quote(name, safe='')}{f'/versions/{version}' if version else ''}?{TRAINING_VIEW}"


def _page(base: str) -> str:
    return f"{base.rstrip('/')}/#/" if base else "#/"


def flat_params(config: Mapping[str, Any]) -> dict[str, str]:
    """Settings by dotted path, as text: lists and booleans in JSON."""
    return {path: _text(value)[:LONGEST_PARAM] for path, value in _leaves(config, "") if path}


def safe_name(name: str) -> str:
    """A name of a tag or parameter that MLflow takes: names of language models may hold anything."""
    return re.sub(r"[^\w\-./ ]", "_", name, flags=re.ASCII)


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    # Keys that are no names (the token map's are brackets and quotes) stay together as one value.
    if isinstance(value, Mapping) and value and all(safe_name(str(key)) == str(key) for key in value):
        for key, part in value.items():
            yield from _leaves(part, f"{path}.{key}" if path else str(key))
    else:
        yield path, value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
