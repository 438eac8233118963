"""Findings about corpora, in the log and in MLflow."""

from __future__ import annotations

import logging

from taglm_core.analysis.corpora import finding_text, refuse_meaningless, report_corpora
from taglm_core.pipeline.context import PipelineContext
from tasks.steps import Refs
from tasks.tracking.tracker import open_tracker

logger = logging.getLogger("taglm")


def judge_corpora(context: PipelineContext, made: Refs) -> None:
    """Report findings about the corpora.

    Args:
        context: context of the run.
        made: its corpora and their statistics, by step name.

    Raises:
        CorpusRefused: results would be meaningless.
    """
    report = report_corpora(context, made)
    for finding in report.findings:
        if not finding.stops:
            logger.warning("%s", finding_text(finding))
    open_tracker(context.experiment, sync=False).note_findings(made, report.findings)
    refuse_meaningless(report)
