"""Word of a finished comparison, in the store until the tracking store has heard of it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from taglm_core.config.experiment import Experiment
from taglm_core.store.durable import read_json, write_json
from taglm_core.store.records import Ref
from tasks.tracking.words import oldest_first

FOLDER = Path("tracking", "outcomes")
logger = logging.getLogger("taglm")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the end of a pipeline has to tell.

    Attributes:
        uri: the tracking store, without user and password.
        experiment: the experiment; how it was run is not kept.
        refs: its objects, by step name; the report is one of them.
        prefect_run: id of the Prefect flow run.
    """

    uri: str
    experiment: Experiment
    refs: Mapping[str, Ref]
    prefect_run: str | None = None

    def path(self, root: Path) -> Path:
        """Its file in a store: one for each report and tracking store, however often it is tried.

        Args:
            root: of the store.
        """
        return _file(root, self.uri, self.experiment.name, self.refs["report"].digest, "json")

    def was_begun(self, root: Path) -> bool:
        """Whether its report was made by a run that has not said yet how it ended."""
        return self._begun(root).exists()

    def save(self, root: Path) -> Path:
        """Write durably; gives the file."""
        path = self.path(root)
        refs = {name: asdict(ref) for name, ref in self.refs.items()}
        experiment = self.experiment.model_dump(mode="json", exclude={"run"})  # which may hold a password
        write_json(path, {"uri": self.uri, "experiment": experiment, "refs": refs, "prefect_run": self.prefect_run})
        self._begun(root).unlink(missing_ok=True)
        return path

    def _begun(self, root: Path) -> Path:
        return begun_path(root, self.uri, self.experiment.name, self.refs["report"].key)


def begun_path(root: Path, uri: str, experiment: str, key: str) -> Path:
    """The file that is there from when a pipeline's report is begun until there is word of its end.

    A run that is killed in between leaves no other trace of the end that it owes.

    Args:
        root: of the store.
        uri: the tracking store, without user and password.
        experiment: its name.
        key: of the report.
    """
    return _file(root, uri, experiment, key, "begun")


def outcomes(root: Path) -> Iterator[tuple[Path, Outcome | None]]:
    """All that waits in a store, oldest first; None for a file that cannot be read, or that another version wrote.

    Args:
        root: of the store.
    """
    for path in oldest_first((root / FOLDER).glob("*.json")):
        outcome = _read(read_json(path), root)
        if outcome is not None or path.exists():
            yield path, outcome


def put_aside(path: Path, what: str, why: str) -> None:
    """Take a word out of the way, that would otherwise be in the way of every run; it stays beside the others."""
    aside = path.with_suffix(".aside")
    try:
        path.replace(aside)
    except FileNotFoundError:  # told by another process
        return
    logger.warning("%s: %s is not told to MLflow: %s; run its experiment again", aside, what, why)


def _file(root: Path, uri: str, experiment: str, report: str, suffix: str) -> Path:
    text = f"{uri} {experiment} {report}"
    return root / FOLDER / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.{suffix}"


def _read(data: Any, root: Path) -> Outcome | None:
    try:
        experiment = Experiment.model_validate({**data["experiment"], "run": {"store": str(root)}})
        refs = {name: Ref(**ref) for name, ref in data["refs"].items()}
        return Outcome(data["uri"], experiment, refs, data["prefect_run"]) if "report" in refs else None
    except (TypeError, KeyError, AttributeError, ValidationError):
        return None
