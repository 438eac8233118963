"""Tasks of the ingest stage."""

from __future__ import annotations

import logging

from taglm_core.analysis.corpora import line, refuse_meaningless, report_corpora
from taglm_core.config.experiment import Experiment
from taglm_core.pipeline.graph import build_graph
from tasks.building import Refs, step_task
from tasks.tracking.tracker import open_tracker

logger = logging.getLogger("taglm")

generate_demo_corpus = step_task("generate-demo-corpus")
detect_tag_scheme = step_task("detect-tag-scheme")
read_corpus = step_task("read-corpus")
describe_corpora = step_task("describe-corpora")


def judge_corpora(experiment: Experiment, made: Refs) -> None:
    """Warn of what is suspicious about the corpora, in the log and in MLflow.

    Args:
        experiment: the experiment.
        made: its corpora and their statistics, by step name.

    Raises:
        CorpusRefused: results would be meaningless.
    """
    report = report_corpora(experiment, build_graph(experiment), made)
    for finding in report.findings:
        if not finding.stops:
            logger.warning("%s", line(finding))
    open_tracker(experiment, sync=False).note_findings(made, report.findings)
    refuse_meaningless(report)
