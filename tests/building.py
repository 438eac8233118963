"""Objects without Prefect: a step of an experiment and all above it."""

from __future__ import annotations

from taglm_core.config.experiment import Experiment
from taglm_core.pipeline.build import build
from taglm_core.pipeline.context import PipelineContext
from taglm_core.store.records import Ref

DEMO_SOURCES = [*(f"labelled.{split}=demo:{split}" for split in ("train", "dev", "test")), "unlabelled.path=demo:text"]
"""The demo's sources by name: what an experiment says that replaces one of them."""


def build_up_to(experiment: Experiment, last: str) -> dict[str, Ref]:
    """Build a step and all above it in the experiment's store; objects by step."""
    context, refs = PipelineContext.resolve(experiment), dict[str, Ref]()
    graph = context.graph
    for name in [*(name for name in graph if name in graph.above(last)), last]:
        inputs = {role: refs[above] for role, above in graph[name].inputs.items()}
        refs[name] = build(context.store, context.request(graph[name], inputs))
    return refs
