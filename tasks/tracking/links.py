"""Links into MLflow's UI that answer a question each, with the ids of one experiment."""

from __future__ import annotations

from dataclasses import dataclass

from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from taglm_core.config.experiment import Experiment
from taglm_core.errors import TrackingAway
from taglm_core.stages.steps import Stage
from tasks.places import mlflow_ui
from tasks.tracking.address import resolve_uri
from tasks.tracking.connection import AWAY, Connection, in_words
from tasks.tracking.descriptions import artifact_link, compare_link, experiment_name, model_link, run_link
from tasks.tracking.registry import champion_of, model_name
from tasks.tracking.summary import CURVE_FIGURE
from tasks.tracking.views import BEST_MODEL, CHANGES, CURVE, GAIN, HISTORY, PERPLEXITY, PIPELINE, View, experiment_tags


@dataclass(frozen=True, slots=True)
class Link:
    """One address.

    Attributes:
        question: that it answers.
        url: of the page.
        what: what one sees there.
    """

    question: str
    url: str
    what: str


def links(experiment: Experiment) -> list[Link]:
    """Pages about an experiment that answer a question each; those that nothing was logged for are left out.

    Raises:
        TrackingAway: the tracking store does not answer.
        ConfigError: it cannot be one.
    """
    uri = resolve_uri(experiment.run.tracking_uri)
    try:
        return list(_Links(Connection(uri), mlflow_ui(uri), experiment).found())
    except AWAY as error:
        raise TrackingAway(
            f"tracking store {uri} does not answer ({in_words(error)}); start it or correct run.tracking_uri"
        ) from error


class _Links:
    def __init__(self, connection: Connection, base: str, experiment: Experiment) -> None:
        self._connection, self._base, self._experiment = connection, base, experiment
        self._client: MlflowClient = connection.client()
        self._tag = self._id(Stage.TAG, experiment.labelled.name)
        self._pretrain = self._id(Stage.PRETRAIN, experiment.unlabelled.name)
        self._pipeline = self._id(PIPELINE, experiment.labelled.name)

    def found(self) -> list[Link]:
        """In the order of the questions of docs/tracking.md."""
        runs = self._pipelines()
        both = [self._view(GAIN, self._tag, "variants with mean F1, deviation and difference to the first one")]
        both += [self._view(BEST_MODEL, self._tag, "variants with a language model by dev F1; its perplexity beside")]
        both += [self._view(PERPLEXITY, self._pretrain, "language models by perplexity on held-out text")]
        both += [
            self._figure(runs),
            self._view(CURVE, self._tag, "F1 over the labelled sentences, every variant so far"),
        ]
        both += [self._view(CHANGES, self._pipeline, "runs of the pipeline side by side: settings that differ, scores")]
        both += [self._compared(runs), self._view(HISTORY, self._pipeline, "runs of the pipeline with their scores")]
        return [link for link in (*both, *self._model()) if link is not None]

    def _id(self, stage: Stage | str, group: str) -> str | None:
        """Id of an experiment, with the present views; None where nothing was logged."""
        name = experiment_name(stage, group)
        if self._client.get_experiment_by_name(name) is None:
            return None
        return self._connection.experiment(name, experiment_tags(stage))

    def _view(self, view: View, experiment_id: str | None, what: str) -> Link | None:
        return None if experiment_id is None else Link(view.question, view.link(self._base, experiment_id), what)

    def _pipelines(self) -> list[Run]:
        """Runs of this experiment's pipeline, newest first."""
        if self._pipeline is None:
            return []
        mine = f"tags.`taglm.experiment` = '{self._experiment.name}'"
        order = ["attributes.start_time DESC"]
        return list(self._client.search_runs([self._pipeline], mine, max_results=2, order_by=order))

    def _figure(self, runs: list[Run]) -> Link | None:
        if not runs:
            return None
        run = runs[0].info
        if CURVE_FIGURE not in {file.path for file in self._client.list_artifacts(run.run_id)}:
            return None  # one size so far
        url = artifact_link(self._base, run.experiment_id, run.run_id, CURVE_FIGURE)
        return Link(CURVE.question, url, "the learning curve, mean and deviation over seeds")

    def _compared(self, runs: list[Run]) -> Link | None:
        if len(runs) < 2 or self._pipeline is None:
            return None
        url = compare_link(self._base, self._pipeline, [run.info.run_id for run in runs])
        return Link(
            CHANGES.question, url, "the last two runs: parameters, metrics, objects (tags); show the difference only"
        )

    def _model(self) -> list[Link]:
        name = model_name(self._experiment.labelled.name)
        question = "Which model is champion, and why?"
        try:
            self._client.get_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return []
        found = [Link(question, model_link(self._base, name), "every version with its dev F1 and the decision")]
        champion = champion_of(self._client, name)
        if champion is not None:
            url = model_link(self._base, name, str(champion.version))
            found.append(
                Link(question, url, f"the champion, version {champion.version}: {champion.tags['taglm.decision']}")
            )
            if champion.run_id:
                run = self._client.get_run(champion.run_id).info
                found.append(Link(question, run_link(self._base, run.experiment_id, run.run_id), "the champion's run"))
        return found
