"""What a run may be told beside its experiment."""

from __future__ import annotations

from pydantic import Field

from taglm_core.config.base import Settings
from taglm_core.stages.steps import Stage


class Options(Settings):
    """How much of the pipeline runs."""

    first: Stage | None = Field(None, description="stages before this one are not run: what they make must be there")
    refresh: tuple[Stage, ...] = Field((), description="stages that are computed again even if nothing changed")

    def runs(self, stage: Stage) -> bool:
        """Whether a stage may run; otherwise its objects are only looked up."""
        return self.first is None or stage.place >= self.first.place


EVERYTHING = Options()  # the default of every flow: all stages, nothing refreshed
