"""Where an experiment is at home in a tracking store, and how its runs are found there."""

from __future__ import annotations

from pathlib import Path

from taglm_core.config.experiment import Experiment
from taglm_core.pipeline.kinds import Stage
from taglm_core.pipeline.steps import Step
from taglm_core.store.records import Ref
from taglm_core.store.store import Store
from tasks.tracking.connection import Connection
from tasks.tracking.descriptions import experiment_name
from tasks.tracking.views import experiment_tags


class Home:
    """An experiment in a tracking store.

    Args:
        experiment: the experiment.
        connection: the tracking store.
    """

    def __init__(self, experiment: Experiment, connection: Connection) -> None:
        self.experiment, self.connection = experiment, connection
        self.store = Store(experiment.run.store)

    @property
    def locks(self) -> Path:
        """Folder of the store's locks."""
        return self.store.root / "locks"

    def tag_experiment(self) -> str:
        """Id of the MLflow experiment of the experiment's taggers."""
        name = experiment_name(Stage.TAG, self.experiment.data_set)
        return self.connection.experiment(name, experiment_tags(Stage.TAG))

    def tagger_run(self, ref: Ref) -> str | None:
        """Id of the run that made a tagger; None if none did."""
        return self.connection.run_of(experiment_name(Stage.TAG, self.experiment.data_set), ref)

    def step_run(self, step: Step, ref: Ref) -> str | None:
        """Id of the run that made a step's object; None if none did."""
        return self.connection.run_of(experiment_name(step.stage, step.group), ref)
