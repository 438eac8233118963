"""The tracking store: opened when it is first used, and asked as rarely as possible."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import sqlalchemy
from matplotlib.figure import Figure
from mlflow.entities import (
    Dataset,
    DatasetInput,
    Experiment,
    ExperimentTag,
    InputTag,
    Metric,
    Param,
    Run,
    RunTag,
    ViewType,
)
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from taglm_core.store.durable import locked
from tasks.environment import DATA
from tasks.http import reason
from tasks.tracking.address import SQLITE
from tasks.tracking.content import RunContent
from tasks.tracking.descriptions import NOTE
from tasks.urls import without_password

# What a tracking store that is away, full, locked or out of date raises (errors of requests are OSErrors).
AWAY = (MlflowException, OSError, SQLAlchemyError)
logger = logging.getLogger("taglm")


def in_words(error: Exception) -> str:
    """Return why a store does not answer, in one line without user and password; of a database its own words."""
    line = reason(getattr(error.__cause__, "orig", None) or getattr(error, "orig", None) or error)
    return re.sub(r"://[^/\s]+@", "://", line)


def not_answering(uri: str, error: Exception) -> str:
    """Return which store does not answer, and why, without user and password."""
    return f"tracking store {without_password(uri)} does not answer ({in_words(error)})"


class Client:
    """A tracking store that may be away. Remembers what this process has made there."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._client: MlflowClient | None = None
        self._experiments: dict[str, str] = {}
        self._new: set[str] = set()
        self._asking = threading.Lock()
        self._folders: dict[str, str] = {}  # addresses of artifacts, by run
        # MLflow prints a traceback for each failed statement; its error is logged once, by us
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)

    @property
    def address(self) -> str:
        """Without user and password: for messages and files, and to tell tracking stores apart."""
        return without_password(self.uri)

    def mlflow(self) -> MlflowClient:
        """Return MLflow's client, with the database's tables made.

        Raises:
            MlflowException, OSError, SQLAlchemyError: the store is away.
        """
        if self._client is None:
            with self.lock():
                self._ask_once()
                self._client = MlflowClient(self.uri, self.uri)
        return self._client

    def ask(self) -> None:
        """Ask something that costs little.

        Raises:
            MlflowException, OSError, SQLAlchemyError: the store is away.
        """
        self.mlflow().search_experiments(max_results=1)

    def answers(self) -> bool:
        """Return whether the store can be asked now."""
        try:
            self.ask()
        except AWAY:
            return False
        return True

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep two processes of this machine from making the same tables or experiments at once."""
        if self.uri.startswith(SQLITE):
            path = Path(self.uri.removeprefix(SQLITE) + ".lock")
        else:
            digest = hashlib.sha256(self.uri.encode()).hexdigest()[:16]
            path = Path(tempfile.gettempdir()) / f"taglm-{os.getuid()}-{digest}.lock"
        with locked(path):
            yield

    def experiment(self, name: str, tags: Mapping[str, str]) -> str:
        """Return the id of an experiment, made with an absolute address of artifacts if it is new.

        Args:
            name: of the experiment.
            tags: that it gets, in values `{id}` stands for its id. A description that is there stays: somebody may
                have changed it.
        """
        with self._asking:  # the steps of a stage begin at once
            if name not in self._experiments:
                self._experiments[name] = self._experiment(name, tags)
            return self._experiments[name]

    def _experiment(self, name: str, tags: Mapping[str, str]) -> str:
        client = self.mlflow()
        found = client.get_experiment_by_name(name)
        if found is None or found.lifecycle_stage != "active" or _missing(found, tags):
            with self.lock():  # two processes that set the same tag at once would both insert it
                found = self._create_experiment(name, tags) if found is None else client.get_experiment_by_name(name)
                assert found is not None
                self._complete(found, tags)
        return str(found.experiment_id)

    def is_new(self, experiment: str) -> bool:
        """Return whether this process has made an experiment (by name), so that there is nothing to find in it."""
        return experiment in self._new

    def find_runs(self, experiment: str, tags: Mapping[str, str], most: int = 1000) -> list[Run]:
        """Return the runs of an experiment (by name) with these tags that nobody has deleted, newest first."""
        known = self._experiments.get(experiment)
        if known is None:
            found = self.mlflow().get_experiment_by_name(experiment)
            if found is None:
                return []
            known = str(found.experiment_id)
        text = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        newest = ["attributes.start_time DESC"]
        return list(self.mlflow().search_runs([known], text, ViewType.ACTIVE_ONLY, max_results=most, order_by=newest))

    def active_run(self, run_id: str) -> Run | None:
        """Return a run; None if it is gone or deleted."""
        try:
            run = self.mlflow().get_run(run_id)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        self._folders[run_id] = run.info.artifact_uri
        return run if run.info.lifecycle_stage == "active" else None

    @contextlib.contextmanager
    def or_forget(self, run_id: str, forget: Callable[[], None]) -> Iterator[None]:
        """Forget a run that somebody has deleted if the block fails because of it: the next attempt makes another."""
        try:
            yield
        except MlflowException:
            if self.active_run(run_id) is None:
                forget()
            raise

    def create_run(self, experiment_id: str, name: str, tags: Mapping[str, str]) -> str:
        """Return the id of a new run, which is RUNNING."""
        run = self.mlflow().create_run(experiment_id, run_name=name, tags=dict(tags))
        self._folders[run.info.run_id] = run.info.artifact_uri
        return str(run.info.run_id)

    def send(self, run_id: str, content: RunContent, last: Mapping[str, int] | None = None) -> None:
        """Send everything of a run in as few requests as MLflow allows: files, data sets, then one batch of the rest.

        Sending the same again changes nothing.

        Args:
            run_id: of the run.
            content: what it shows.
            last: last step that the run has of each metric; earlier ones are not sent again.
        """
        if content.artifacts:
            with tempfile.TemporaryDirectory() as folder:
                _write_files(Path(folder), content.artifacts)
                self.put_folder(self._folder_of(run_id), Path(folder))
        client = self.mlflow()
        if content.datasets:
            with self.lock():  # MLflow looks a data set up and then adds it: two runs at once would both add it
                client.log_inputs(run_id, [_dataset(*each) for each in content.datasets])
        known = last or {}
        metrics = [Metric(name, float(value), time, step) for name, step, value, time in content.metrics
                   if step > known.get(name, -1)]  # fmt: skip
        client.log_batch(run_id, metrics, [Param(*each) for each in content.params.items()],
                         [RunTag(*each) for each in content.tags.items()])  # fmt: skip

    def put_folder(self, address: str, folder: Path) -> None:
        """Upload all files of a folder to an address of artifacts."""
        get_artifact_repository(address, tracking_uri=self.uri, registry_uri=self.uri).log_artifacts(str(folder))

    def _folder_of(self, run_id: str) -> str:
        if run_id not in self._folders:
            self._folders[run_id] = self.mlflow().get_run(run_id).info.artifact_uri
        return self._folders[run_id]

    def _create_experiment(self, name: str, tags: Mapping[str, str]) -> Experiment:
        """Return a new experiment, without the tags that hold its id; the one that another process made at once."""
        client, plain = self.mlflow(), {tag: value for tag, value in tags.items() if "{id}" not in value}
        try:
            made = str(client.create_experiment(name, self._artifacts(name), plain))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            known = client.get_experiment_by_name(name)
            assert known is not None
            return known
        self._new.add(name)
        return Experiment(made, name, "", "active", [ExperimentTag(*each) for each in plain.items()])

    def _complete(self, found: Experiment, tags: Mapping[str, str]) -> None:
        """Restore a deleted experiment, and give it the tags that it lacks."""
        client = self.mlflow()
        if found.lifecycle_stage != "active":
            client.restore_experiment(found.experiment_id)  # a deleted one keeps its name and takes no runs
        for tag, value in _missing(found, tags).items():
            client.set_experiment_tag(found.experiment_id, tag, value)

    def _ask_once(self) -> None:
        """Fail at once: MLflow asks a database that does not answer for minutes."""
        if urlsplit(self.uri).scheme in ("http", "https"):
            return
        if self.uri.startswith(SQLITE):
            Path(self.uri.removeprefix(SQLITE)).parent.mkdir(parents=True, exist_ok=True)
        engine = sqlalchemy.create_engine(self.uri, poolclass=NullPool)
        with engine.connect() as connection:
            sqlalchemy.inspect(connection).get_table_names()

    def _artifacts(self, name: str) -> str | None:
        """Return the folder of an experiment's artifacts; a tracking server decides itself."""
        if urlsplit(self.uri).scheme in ("http", "https"):
            return None
        home = Path(self.uri.removeprefix(SQLITE)).parent if self.uri.startswith(SQLITE) else DATA.absolute()
        return (home / "mlflow-artifacts" / name.replace("/", "-")).as_uri()


def warn_away(client: Client, error: Exception) -> None:
    """Say that the store is away, or refuses."""
    logger.warning(
        "MLflow at %s is unreachable (%s); training continues and results are sent later",
        client.address, in_words(error),
    )  # fmt: skip


def _missing(experiment: Experiment, tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tags that an experiment does not have, or not so."""
    wanted = {tag: value.replace("{id}", str(experiment.experiment_id)) for tag, value in tags.items()}
    if NOTE in experiment.tags:
        wanted.pop(NOTE, None)  # somebody may have changed it
    return {tag: value for tag, value in wanted.items() if experiment.tags.get(tag) != value}


def _dataset(name: str, digest: str, context: str, uri: str, counts: Mapping[str, int]) -> DatasetInput:
    dataset = Dataset(name, digest, "local", json.dumps({"uri": uri}), profile=json.dumps(dict(counts)))
    return DatasetInput(dataset, [InputTag("mlflow.data.context", context)])


def _write_files(folder: Path, artifacts: Mapping[str, Path | str | Figure]) -> None:
    for name, given in artifacts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(given, Path):
            shutil.copyfile(given, path)
        elif isinstance(given, str):
            path.write_text(given, encoding="utf-8")
        else:
            given.savefig(path)
