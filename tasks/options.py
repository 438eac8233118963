"""What a run may be told beside its experiment."""

from __future__ import annotations

from pydantic import Field

from taglm_core.config.base import Settings
from taglm_core.pipeline.kinds import Stage


class Options(Settings):
    """How much of the pipeline runs."""

    first: Stage | None = Field(None, description="stages before this one are not run: what they make must be there")
    refresh: tuple[Stage, ...] = Field((), description="stages that are computed again even if nothing changed")
    if_ready: bool = Field(
        False, description="make nothing of earlier stages: if something that this stage reads is not there yet, the "
        "run ends at once, as Waiting (runs that triggers start)"
    )  # fmt: skip

    def runs(self, stage: Stage) -> bool:
        """Whether a stage may run; otherwise its objects are only looked up."""
        return self.first is None or stage.index >= self.first.index

    @property
    def at_once(self) -> Options:
        """The same for the stages before a stage that is ready."""
        return self.model_copy(update={"if_ready": False})

    @property
    def words(self) -> str:
        """What they add to the name of a run, such as `, from tag, refresh embed`; nothing for the default."""
        parts = [] if self.first is None else [f"from {self.first}"]
        parts += [f"refresh {stage}" for stage in self.refresh] + (["if ready"] if self.if_ready else [])
        return "".join(f", {part}" for part in parts)


EVERYTHING = Options()  # the default of every flow: all stages, nothing refreshed
