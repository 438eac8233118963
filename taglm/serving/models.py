"""Which tagger is served, and its replacement when the alias of a registered model moves."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from taglm.registered import registered_folder, registered_version
from taglm.tagger import Tagger

logger = logging.getLogger("taglm")


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A loaded tagger.

    Attributes:
        name: the name that the user gave, such as `models:/taglm-demo@champion`.
        tagger: the tagger.
        baseline: the baseline that its export includes, if any.
        version: version of the registered model; empty for other taggers.
        since: when it was loaded.
    """

    name: str
    tagger: Tagger
    baseline: Tagger | None = None
    version: str = ""
    since: datetime = field(default_factory=lambda: datetime.now(UTC))

    @classmethod
    def of_folder(cls, name: str, folder: Path, version: str = "", *, vectors: str | None = None) -> ServedModel:
        """Load an export with its baseline, if it includes one.

        Raises:
            TagLMError: as `Tagger.load`.
        """
        tagger = Tagger.load(folder, vectors=vectors)
        return cls(name, tagger, tagger.baseline(folder), version)

    def to_dict(self) -> dict[str, str]:
        """Return what answers say about the tagger."""
        described = {
            "name": self.name,
            "label": str(self.tagger.index.facts.get("label", "")),
            "digest": self.tagger.index.digest,
        }
        return described | ({"version": self.version} if self.version else {})


class Source(Protocol):
    """A name whose tagger may change."""

    def version(self) -> str:
        """Return the version that the name stands for now.

        Raises:
            TagLMError: the name stands for nothing, or the store does not answer.
        """

    def load(self, version: str) -> ServedModel:
        """Load a version.

        Raises:
            TagLMError: it cannot be loaded.
        """


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """A registered model by alias or version.

    Attributes:
        name: `models:/NAME@ALIAS` or `models:/NAME/VERSION`.
        tracking_uri: MLflow store.
        vectors: file of word vectors, for exports that include none.
    """

    name: str
    tracking_uri: str
    vectors: str | None = None

    def version(self) -> str:
        """Return the version that the alias stands for now."""
        return registered_version(self.name, self.tracking_uri)

    def load(self, version: str) -> ServedModel:
        """Load a version."""
        model = self.name.partition("@")[0].removesuffix(f"/{version}")
        with registered_folder(f"{model}/{version}", self.tracking_uri) as folder:
            return ServedModel.of_folder(self.name, folder, version, vectors=self.vectors)


class CurrentModel:
    """The tagger that is served now.

    Args:
        first: the tagger to begin with.
        source: where to look for a newer one; None if it never changes.
        seconds: time between two looks.
    """

    def __init__(self, first: ServedModel, source: Source | None = None, seconds: float = 30.0) -> None:
        self._model, self._source, self._seconds = first, source, seconds
        self._failed = ""  # what the log says already
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="taglm-reload", daemon=True)

    @property
    def model(self) -> ServedModel:
        """Return the tagger that is served now."""
        return self._model

    def start(self) -> None:
        """Begin to look for a newer tagger, in a thread."""
        if self._source is not None and self._seconds > 0:
            self._thread.start()

    def stop(self) -> None:
        """Stop looking. A load that is under way does not delay the end of the process."""
        self._stop.set()

    def look(self) -> bool:
        """Replace the tagger if the name stands for another version now; return whether it was replaced.

        A failure keeps the tagger that is served. The log has each failure once, until one look succeeds.
        """
        if self._source is None:
            return False
        try:
            version = self._source.version()
            changed = version != self._model.version
            if changed:
                loaded, before = self._source.load(version), self._model.version
                self._model = loaded
                logger.info("%s: version %s is served now; before it version %s", loaded.name, version, before)
        except Exception as error:  # noqa: BLE001 (the thread must outlive whatever a new version brings)
            if str(error) != self._failed:
                self._failed = str(error)
                logger.warning("%s goes on with version %s: %s", self._model.name, self._model.version, error)
            return False
        self._failed = ""
        return changed

    def _follow(self) -> None:
        while not self._stop.wait(self._seconds):
            self.look()
