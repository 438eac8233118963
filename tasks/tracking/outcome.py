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
        text = f"{self.uri} {self.experiment.name} {self.refs['report'].digest}"
        return root / FOLDER / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"

    def save(self, root: Path) -> Path:
        """Write durably; gives the file."""
        path = self.path(root)
        refs = {name: asdict(ref) for name, ref in self.refs.items()}
        experiment = self.experiment.model_dump(mode="json", exclude={"run"})  # which may hold a password
        write_json(path, {"uri": self.uri, "experiment": experiment, "refs": refs, "prefect_run": self.prefect_run})
        return path


def outcomes(root: Path) -> Iterator[tuple[Path, Outcome]]:
    """All that waits in a store, oldest first; a file that cannot be read is named and put aside.

    Args:
        root: of the store.
    """
    for path in sorted((root / FOLDER).glob("*.json"), key=lambda path: path.stat().st_mtime):
        outcome = _read(read_json(path), root)
        if outcome is None:
            put_aside(path, "it cannot be read, or another version wrote it")
        else:
            yield path, outcome


def put_aside(path: Path, why: str) -> None:
    """Take a word out of the way, that would otherwise be in the way of every run; it stays beside the others."""
    aside = path.with_suffix(".aside")
    path.replace(aside)
    logger.warning("%s: the outcome of a pipeline is not told to MLflow: %s; run its experiment again", aside, why)


def _read(data: Any, root: Path) -> Outcome | None:
    try:
        experiment = Experiment.model_validate({**data["experiment"], "run": {"store": str(root)}})
        refs = {name: Ref(**ref) for name, ref in data["refs"].items()}
        return Outcome(data["uri"], experiment, refs, data["prefect_run"]) if "report" in refs else None
    except (TypeError, KeyError, AttributeError, ValidationError):
        return None
