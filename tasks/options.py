"""Options of a run beside its experiment."""

from __future__ import annotations

from pydantic import Field

from taglm_core.config.base import Settings
from taglm_core.pipeline.kinds import Stage


class Options(Settings):
    """Stages to run and stages to compute again."""

    first: Stage | None = Field(None, description="first stage to run; objects of earlier stages must be in the store")
    refresh: tuple[Stage, ...] = Field((), description="stages to compute again even if nothing changed")
    if_ready: bool = Field(
        False, description="build nothing of earlier stages; end at once as Waiting if an input of this stage is "
        "missing (for runs that triggers start)"
    )  # fmt: skip

    def runs(self, stage: Stage) -> bool:
        """Return whether a stage runs; if not, its objects are only looked up."""
        return self.first is None or stage.index >= self.first.index

    @property
    def at_once(self) -> Options:
        """Return the same options without `if_ready`."""
        return self.model_copy(update={"if_ready": False})

    @property
    def suffix(self) -> str:
        """Return the suffix of the name of a run, such as `, from tag, refresh embed`."""
        parts = [] if self.first is None else [f"from {self.first}"]
        parts += [f"refresh {stage}" for stage in self.refresh] + (["if ready"] if self.if_ready else [])
        return "".join(f", {part}" for part in parts)


EVERYTHING = Options()  # default of every flow: all stages, no refresh
