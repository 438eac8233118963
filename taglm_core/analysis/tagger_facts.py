"""What a store knows about a tagger: the objects that it was made from, and its evaluations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import ValidationError

from taglm_core.analysis.stored import stored
from taglm_core.config.experiment import Experiment
from taglm_core.errors import StoreError
from taglm_core.pipeline.context import PipelineContext
from taglm_core.pipeline.kinds import recipe_inputs
from taglm_core.pipeline.roles import BASE, DEV_CORPUS, TAGGER
from taglm_core.store.records import Manifest
from taglm_core.store.store import Artifact, Pointer, Store
from taglm_core.tagging.exported import ExportedTagger


@dataclass(frozen=True, slots=True)
class TaggerFacts:
    """A tagger and what is known about it.

    Attributes:
        store: its store.
        tagger: the tagger.
        index: index of its export.
        trained: settings that it was trained with; None if this version cannot read them.
        present: settings of the experiment that exports it.
    """

    store: Store
    tagger: Artifact
    index: ExportedTagger
    trained: Experiment | None
    present: Experiment

    @classmethod
    def of(cls, context: PipelineContext, tagger: Artifact, index: ExportedTagger) -> TaggerFacts:
        """Return the facts of a tagger in the store of a context."""
        try:
            trained = Experiment.model_validate(tagger.manifest.made.get("experiment"))
        except ValidationError:
            trained = None
        return cls(context.store, tagger, index, trained, context.experiment)

    @property
    def manifest(self) -> Manifest:
        """Return the manifest of the tagger."""
        return self.tagger.manifest

    @property
    def learnt_from_dev(self) -> bool:
        """Return whether the tagger was trained on the development sentences as well."""
        return bool(self.manifest.recipe.config.get("train_on") == "train+dev")

    def find(self, kind: str, digest: str | None) -> Artifact | None:
        """Return an object of the store; None if it is gone or damaged."""
        try:
            return None if digest is None else stored(self.store, kind, digest)
        except StoreError:
            return None

    def language_models(self) -> Iterator[tuple[str, str, str]]:
        """Yield name, direction and digest of each language model that the tagger reads."""
        for one in recipe_inputs(self.manifest.recipe):
            if one.kind == "language-model":
                yield one.lm, one.direction, one.digest

    def texts(self) -> set[str]:
        """Return the digests of the texts of the language models and of the models that they go on from."""
        found: set[str] = set()
        waiting = [digest for _, _, digest in self.language_models()]
        while waiting:
            model = self.find("language-model", waiting.pop())
            if model is None:
                continue
            inputs = model.manifest.recipe.inputs
            waiting += [inputs[BASE]] if BASE in inputs else []
            ids = self.find("token-ids", inputs.get("token-ids"))
            found |= set() if ids is None else {ids.manifest.recipe.inputs["text"]}
        return found

    def evaluations(self) -> dict[str, Pointer]:
        """Return the newest evaluation on each split.

        Evaluations on dev count on the tagger's own dev split alone, and only if the tagger did not train on it.
        """
        dev = None if self.learnt_from_dev else self.manifest.recipe.inputs.get(DEV_CORPUS)
        return {
            pointer.recipe.config["split"]: pointer
            for pointer in self.store.pointers("evaluation")  # oldest first
            if pointer.recipe.inputs.get(TAGGER) == self.tagger.ref.digest
            and (pointer.recipe.config["split"] != "dev" or pointer.recipe.inputs[DEV_CORPUS] == dev)
            and self.find("evaluation", pointer.digest) is not None
        }
