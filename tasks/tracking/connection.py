"""The tracking store: how it is first opened, and asked."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import sqlalchemy
from mlflow.entities import DatasetInput, Experiment, Param, ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from taglm_core.store.durable import locked
from taglm_core.store.records import Ref
from tasks.environment import DATA
from tasks.http import reason
from tasks.tracking.address import SQLITE
from tasks.tracking.descriptions import NOTE
from tasks.urls import without_password

# What a tracking store that is away, full, locked or out of date raises (errors of requests are OSErrors).
AWAY = (MlflowException, OSError, SQLAlchemyError)
logger = logging.getLogger("taglm")


def in_words(error: Exception) -> str:
    """Why a store does not answer, in one line without user and password; of a database its own words."""
    line = reason(getattr(error.__cause__, "orig", None) or getattr(error, "orig", None) or error)
    return re.sub(r"://[^/\s]+@", "://", line)


def not_answering(uri: str, error: Exception) -> str:
    """Which store does not answer, and why, without user and password."""
    return f"tracking store {without_password(uri)} does not answer ({in_words(error)})"


class Connection:
    """A tracking store that may be away; opened when first needed, asked again after that.

    Args:
        uri: as given by `resolve_uri`.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._client: MlflowClient | None = None
        # MLflow prints a traceback for each failed statement; what it raises is told once, by us
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)

    @property
    def address(self) -> str:
        """Without user and password: what messages show and files hold, and what word in a store is told apart by."""
        return without_password(self.uri)

    def client(self) -> MlflowClient:
        """The client, with the database's tables made.

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
        self.client().search_experiments(max_results=1)

    def answers(self) -> bool:
        """Whether the store can be asked now."""
        try:
            self.ask()
        except AWAY:
            return False
        return True

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep two processes of this machine from making the same tables, experiments or parent runs at once."""
        if self.uri.startswith(SQLITE):
            path = Path(self.uri.removeprefix(SQLITE) + ".lock")
        else:
            digest = hashlib.sha256(self.uri.encode()).hexdigest()[:16]
            path = Path(tempfile.gettempdir()) / f"taglm-{os.getuid()}-{digest}.lock"
        with locked(path):
            yield

    def log_inputs(self, run_id: str, datasets: list[DatasetInput]) -> None:
        """Say what a run reads. MLflow looks a data set up and then adds it: two runs at once would both add it."""
        client = self.client()
        with self.lock():
            client.log_inputs(run_id, datasets)

    def experiment(self, name: str, tags: Mapping[str, str]) -> str:
        """Id of an experiment, made with an absolute place for artifacts if it is new.

        Args:
            name: of the experiment.
            tags: that it gets, in values `{id}` stands for its id. A description that is there stays: somebody may
                have changed it.
        """
        client = self.client()
        found = client.get_experiment_by_name(name)
        if found is None or found.lifecycle_stage != "active" or _untold(found, tags):
            with self.lock():  # two processes that set the same tag at once would both insert it
                found = client.get_experiment_by_name(name)
                if found is None:
                    found = client.get_experiment(client.create_experiment(name, self._artifacts(name)))
                if found.lifecycle_stage != "active":
                    client.restore_experiment(found.experiment_id)  # a deleted one keeps its name and takes no runs
                for tag, value in _untold(found, tags).items():
                    client.set_experiment_tag(found.experiment_id, tag, value)
        return str(found.experiment_id)

    def find_run(self, experiment: str, tags: dict[str, str]) -> str | None:
        """Id of the newest run of an experiment (by name) with these tags; None if there is none."""
        client = self.client()
        known = client.get_experiment_by_name(experiment)
        if known is None:
            return None
        text = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        newest = ["attributes.start_time DESC"]
        runs = client.search_runs([known.experiment_id], text, ViewType.ACTIVE_ONLY, max_results=1, order_by=newest)
        return str(runs[0].info.run_id) if runs else None

    def run_of(self, experiment: str, ref: Ref) -> str | None:
        """Id of the newest run that made an object; of one at the same work, where none says that it made it."""
        tags = {"taglm.kind": ref.kind, "taglm.key": ref.key}
        made = self.find_run(experiment, {**tags, "taglm.object": ref.digest})
        return made or self.find_run(experiment, tags)

    def _ask_once(self) -> None:
        """MLflow asks a database that does not answer for minutes."""
        if urlsplit(self.uri).scheme in ("http", "https"):
            return
        if self.uri.startswith(SQLITE):
            Path(self.uri.removeprefix(SQLITE)).parent.mkdir(parents=True, exist_ok=True)
        engine = sqlalchemy.create_engine(self.uri, poolclass=NullPool)
        with engine.connect() as connection:
            sqlalchemy.inspect(connection).get_table_names()

    def _artifacts(self, name: str) -> str | None:
        """Folder of an experiment's artifacts; a tracking server decides itself."""
        if urlsplit(self.uri).scheme in ("http", "https"):
            return None
        home = Path(self.uri.removeprefix(SQLITE)).parent if self.uri.startswith(SQLITE) else DATA.absolute()
        return (home / "mlflow-artifacts" / name.replace("/", "-")).as_uri()


def log_params(client: MlflowClient, run_id: str, params: Mapping[str, str]) -> None:
    """Settings that a run does not have yet: MLflow refuses another value of one that it has."""
    known = client.get_run(run_id).data.params
    missing = [Param(name, value) for name, value in params.items() if name not in known]
    if missing:
        client.log_batch(run_id, params=missing)


def warn_away(connection: Connection, error: Exception) -> None:
    """Say that the store is away, or refuses."""
    said = in_words(error)
    logger.warning(
        "tracking store %s does not answer (%s); work goes on, and results are sent later", connection.address, said
    )


def _untold(experiment: Experiment, tags: Mapping[str, str]) -> dict[str, str]:
    """Tags that an experiment does not have, or not so."""
    wanted = {tag: value.replace("{id}", str(experiment.experiment_id)) for tag, value in tags.items()}
    if NOTE in experiment.tags:
        wanted.pop(NOTE, None)  # somebody may have changed it
    return {tag: value for tag, value in wanted.items() if experiment.tags.get(tag) != value}
