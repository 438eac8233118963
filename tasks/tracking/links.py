"""Links into MLflow's UI that answer a question each, with the ids of one experiment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from taglm_core.config.experiment import Experiment
from taglm_core.errors import TrackingAway
from taglm_core.pipeline.kinds import Stage
from tasks.tracking.address import is_there, resolve_uri
from tasks.tracking.champion import DECISION, PROMOTED
from tasks.tracking.client import AWAY, Client, not_answering
from tasks.tracking.descriptions import artifact_link, compare_link, experiment_name, model_link
from tasks.tracking.pages import CURVE_FIGURE
from tasks.tracking.registry import champion_of, is_registered, model_name
from tasks.tracking.views import BEST_MODEL, CHANGES, CURVE, GAIN, HISTORY, PERPLEXITY, PIPELINE, View, experiment_tags
from tasks.urls import mlflow_ui


@dataclass(frozen=True, slots=True)
class Link:
    """One address.

    Attributes:
        name: short, for files.
        question: that it answers.
        url: of the page.
        what: what one sees there.
    """

    name: str
    question: str
    url: str
    what: str


def links(experiment: Experiment) -> list[Link]:
    """Return pages about an experiment that answer a question each; those that nothing was logged for are left out.

    Raises:
        TrackingAway: the tracking store does not answer.
        ConfigError: it cannot be one.
    """
    uri = resolve_uri(experiment.run.tracking_uri)
    if not is_there(uri):
        return []
    try:
        return _Links(Client(uri), mlflow_ui(uri), experiment).found()
    except AWAY as error:
        raise TrackingAway(f"{not_answering(uri, error)}; start it or correct run.tracking_uri") from error


class _Links:
    def __init__(self, client: Client, base: str, experiment: Experiment) -> None:
        self._tracking, self._base, self._experiment = client, base, experiment
        self._client: MlflowClient = client.mlflow()
        self._tag = self._id(Stage.TAG, experiment.data_set)
        self._pretrain = self._id(Stage.PRETRAIN, experiment.unlabelled.name) if experiment.unlabelled else None
        self._pipeline = self._id(PIPELINE, experiment.data_set)

    def found(self) -> list[Link]:
        """Return them in the order of the questions of docs/tracking.md."""
        runs = self._pipelines()
        return [
            *self._view(GAIN, self._tag),
            *self._view(BEST_MODEL, self._tag),
            *self._view(PERPLEXITY, self._pretrain),
            *self._figure(runs),
            *self._view(CURVE, self._tag),
            *self._view(CHANGES, self._pipeline),
            *self._compared(runs),
            *self._view(HISTORY, self._pipeline),
            *self._champion(),
        ]

    def _id(self, stage: Stage | str, group: str) -> str | None:
        """Return the id of an experiment, with the present views; None where nothing was logged."""
        name = experiment_name(stage, group)
        if self._client.get_experiment_by_name(name) is None:
            return None
        return self._tracking.experiment(name, experiment_tags(stage))

    def _view(self, view: View, experiment_id: str | None) -> Iterator[Link]:
        if experiment_id is not None:
            yield Link(view.key, view.question, view.link(self._base, experiment_id), view.what)

    def _pipelines(self) -> list[Run]:
        """Return the runs of this experiment's pipeline, newest first."""
        if self._pipeline is None:
            return []
        mine = f"tags.`taglm.experiment` = '{self._experiment.name}'"
        order = ["attributes.start_time DESC"]
        return list(self._client.search_runs([self._pipeline], mine, max_results=2, order_by=order))

    def _figure(self, runs: list[Run]) -> Iterator[Link]:
        for run in runs[:1]:
            if CURVE_FIGURE in {file.path for file in self._client.list_artifacts(run.info.run_id)}:  # several sizes
                url = artifact_link(self._base, run.info.experiment_id, run.info.run_id, CURVE_FIGURE)
                yield Link("learning-curve-figure", CURVE.question, url, "mean and deviation over seeds, by variant")

    def _compared(self, runs: list[Run]) -> Iterator[Link]:
        if len(runs) > 1 and self._pipeline is not None:
            url = compare_link(self._base, self._pipeline, [run.info.run_id for run in runs])
            yield Link("last-two", CHANGES.question, url, "the last two: parameters, metrics, and objects as tags")

    def _champion(self) -> Iterator[Link]:
        name, question = model_name(self._experiment.data_set), "Which model is champion, and why?"
        if not is_registered(self._client, name):
            return
        yield Link("champion", question, model_link(self._base, name), "every version with its dev F1 and the decision")
        version = champion_of(self._client, name)
        if version is not None:
            said = version.tags.get(PROMOTED) and f"promoted by hand: {version.tags[PROMOTED]}"
            why = f"version {version.version}: {said or version.tags.get(DECISION, 'put there by hand')}"
            yield Link("champion-version", question, model_link(self._base, name, str(version.version)), why)
