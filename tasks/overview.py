"""Log lines of the pipeline in Prefect's UI: the plan and the results.

The command line prints both itself, so that its console leaves out this logger.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from taglm_core.evaluation.report import read_report
from taglm_core.evaluation.tables import table_rows
from taglm_core.pipeline.context import PipelineContext
from taglm_core.pipeline.plan import what_runs
from tasks.options import Options

if TYPE_CHECKING:
    from tasks.steps import Refs  # imports Prefect

OVERVIEW = "taglm.overview"
logger = logging.getLogger(OVERVIEW)


def log_plan(context: PipelineContext, options: Options) -> None:
    """Log the plan of a run."""
    decisions = context.plan(options.refresh)
    decisions = {name: decision for name, decision in decisions.items() if options.runs(decision.step.stage)}
    for line in what_runs(decisions) or [f"all {len(decisions)} steps are in the store"]:
        logger.info(line)


def log_outcome(context: PipelineContext, made: Refs) -> None:
    """Log the scores of each variant, or of each language model without labelled data.

    Args:
        context: context of the run.
        made: all its objects by step name.
    """
    store = context.store
    if "report" not in made:
        for name, ref in made.items():
            if ref.kind == "language-model":
                perplexity = store.manifest(ref.kind, ref.digest).metrics["heldout/perplexity"]
                logger.info("%s: held-out perplexity %.2f", name, perplexity)
        return
    comparison = read_report(store.open(made["report"]).path)
    headers, rows = table_rows(comparison)
    for variant, *figures in rows:
        scores = [f"{name} {figure}" for name, figure in zip(headers[1:], figures, strict=True) if figure != "-"]
        logger.info("%s on %s: %s", variant, comparison.split, ", ".join(scores))
