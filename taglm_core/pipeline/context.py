"""Context of a run: an experiment resolved once, with its steps, store and plan.

The command line and every flow work in a context (`context_for`), and tasks get it as an argument. A pickled context
holds the experiment and its steps; the unpickled one opens the store again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from taglm_core.config.experiment import Experiment
from taglm_core.formats.text_detect import with_text_format
from taglm_core.pipeline.bases import resolve_bases
from taglm_core.pipeline.build import BuildRequest
from taglm_core.pipeline.graph import build_graph
from taglm_core.pipeline.kinds import Stage
from taglm_core.pipeline.naming import names_of
from taglm_core.pipeline.plan import Decision, given_objects, plan, recipe_of, set_damaged_aside
from taglm_core.pipeline.steps import Graph, Step
from taglm_core.store.records import Ref
from taglm_core.store.store import Store


@dataclass(frozen=True)
class PipelineContext:
    """A resolved experiment.

    Attributes:
        experiment: the experiment with digests in place of `continue_from: latest`, so that a run has one base.
        graph: its steps.
        messages: lines for people on what `latest` resolved to.
    """

    experiment: Experiment
    graph: Graph
    messages: tuple[str, ...] = ()
    _plans: dict[frozenset[Stage], dict[str, Decision]] = field(default_factory=dict, compare=False)

    @classmethod
    def resolve(cls, experiment: Experiment) -> PipelineContext:
        """Resolve an experiment.

        Raises:
            MissingObject, ConfigError, MismatchError: a base is missing, ambiguous or of another shape.
        """
        experiment = with_text_format(experiment)
        resolved = resolve_bases(Store(experiment.run.store), experiment)
        return cls(resolved.experiment, build_graph(resolved.experiment), resolved.lines)

    def is_of(self, experiment: Experiment) -> bool:
        """Return whether this is the context of an experiment in its store, however the experiment runs."""
        own = self.experiment
        same_store = own.run.store.absolute() == experiment.run.store.absolute()
        return same_store and own.model_copy(update={"run": experiment.run}) == experiment

    @cached_property
    def store(self) -> Store:
        """Return the store of the experiment."""
        return Store(self.experiment.run.store)

    def __getstate__(self) -> dict[str, Any]:
        return {"experiment": self.experiment, "graph": self.graph, "messages": self.messages, "_plans": {}}

    def plan(self, refresh: Collection[Stage] = ()) -> dict[str, Decision]:
        """Return the plan, made once and again after `store_changed`.

        Raises:
            InputError, MissingObject, DamagedObject: as `plan.plan`.
        """
        key = frozenset(refresh)
        if key not in self._plans:
            self._plans[key] = plan(self.store, self.graph, refresh)
        return self._plans[key]

    def store_changed(self) -> None:
        """Drop all plans, because objects were made or set aside."""
        self._plans.clear()

    def set_damaged_aside(self, refresh: Collection[Stage] = (), last: Stage = Stage.TAG, also: Collection[str] = ()
                          ) -> list[str]:  # fmt: skip
        """Hash the inputs of steps to run, and set damaged objects aside for a rebuild.

        Args:
            refresh: stages to compute again.
            last: last stage to run.
            also: further steps whose objects are read.

        Returns:
            One line per object set aside.

        Raises:
            DamagedObject: no step makes the damaged object again.
        """
        lines: list[str] = []
        while found := set_damaged_aside(self.store, self.up_to(last, refresh), also):
            lines += found
            self.store_changed()
        return lines

    def up_to(self, last: Stage, refresh: Collection[Stage] = ()) -> dict[str, Decision]:
        """Return the plan of the stages up to and including one."""
        return {name: one for name, one in self.plan(refresh).items() if one.step.stage.index <= last.index}

    def request(self, step: Step, inputs: Mapping[str, Ref], *, refresh: bool = False) -> BuildRequest:
        """Return the build request of a step.

        Args:
            step: the step.
            inputs: objects of other steps by role.
            refresh: build the object even if it is in the store.

        Raises:
            InputError: a raw input file is missing.
            MissingObject, DamagedObject: an object that no step makes is missing or damaged.
        """
        experiment = self.experiment
        return BuildRequest(
            step=step,
            recipe=recipe_of(self.store, step, {role: ref.digest for role, ref in inputs.items()}),
            inputs={**inputs, **given_objects(self.store, step)},
            run=experiment.run.model_copy(update={"store": self.store.root, "tracking_uri": None}),
            label=f"{experiment.name}/{step.name}",
            refresh=refresh,
            made={"experiment": self.settings},
            names=names_of(step, self.graph),
        )

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Return the settings for manifests, with an absolute store path and without tracking address."""
        settings: dict[str, Any] = self.experiment.model_dump(mode="json")
        settings["run"] |= {"store": str(self.store.root), "tracking_uri": None}
        return settings


_CURRENT: ContextVar[PipelineContext | None] = ContextVar("taglm_pipeline_context", default=None)


@contextlib.contextmanager
def context_for(experiment: Experiment) -> Iterator[PipelineContext]:
    """Work in the context of an experiment: the current one if it fits, else a new one."""
    current = _CURRENT.get()
    if current is not None and current.is_of(experiment):
        yield current
        return
    with use_context(PipelineContext.resolve(experiment)) as context:
        yield context


@contextlib.contextmanager
def use_context(context: PipelineContext) -> Iterator[PipelineContext]:
    """Make a context the current one for a block."""
    token = _CURRENT.set(context)
    try:
        yield context
    finally:
        _CURRENT.reset(token)
