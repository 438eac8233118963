"""The records behind a run: what is built for whom, and what the seeds of a variant share."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from taglm_core.pipeline.kinds import KINDS, Reporting, typed_inputs
from taglm_core.pipeline.roles import BASE, TRAIN_ONLY, Input
from taglm_core.pipeline.steps import Step
from taglm_core.store.digests import canonical_json
from taglm_core.store.records import Ref
from taglm_core.store.store import Store
from tasks.tracking.descriptions import experiment_name, flat_params, safe_name

SEEDS_TAG, REPORT_TAG = "taglm.seeds", "taglm.report"  # of a variant: its seeds, and the report that compares it
PARENT = "mlflow.parentRunId"
RUNNING, FINISHED, KILLED, FAILED = "RUNNING", "FINISHED", "KILLED", "FAILED"


def reporting_of(kind: str) -> Reporting:
    """Return how the tracking store shows a kind; kinds of other versions are not shown."""
    return KINDS[kind].reporting if kind in KINDS else Reporting.NONE


@dataclass(frozen=True, slots=True)
class RunSpec:
    """One step that an experiment builds.

    Attributes:
        experiment: name of the experiment.
        step: the step.
        key: its recipe's key.
        inputs: the objects it reads, by role.
        prefect_run: id of the Prefect flow run.
        commit: of the program's sources.
        user: who runs it.
        seeds: of the experiment.
    """

    experiment: str
    step: Step
    key: str
    inputs: Mapping[str, Ref]
    prefect_run: str | None = None
    commit: str | None = None
    user: str | None = None
    seeds: tuple[int, ...] = ()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RunSpec:
        """Return the record of a mapping that `dataclasses.asdict` made.

        Raises:
            TypeError, KeyError: another version made it.
        """
        inputs = {role: Ref(**ref) for role, ref in data["inputs"].items()}
        return cls(**{**data, "step": Step(**data["step"]), "inputs": inputs, "seeds": tuple(data["seeds"])})

    @property
    def mlflow_experiment(self) -> str:
        """Name of the MLflow experiment of its run."""
        return experiment_name(self.step.stage, self.step.group)

    @property
    def reporting(self) -> Reporting:
        """How the tracking store shows the object."""
        return reporting_of(self.step.kind)

    @property
    def digests(self) -> dict[str, str]:
        """Content digests of the inputs, by role."""
        return {role: ref.digest for role, ref in self.inputs.items()}

    def typed(self) -> list[Input]:
        """Return the inputs with what their roles say."""
        return typed_inputs(self.step.kind, self.digests)

    def params(self) -> dict[str, str]:
        """Return the settings by dotted path; variant, seed and language models among them."""
        own = {"variant": self.step.variant, "lm": models_of(self.typed())} if self.step.variant else {}
        return {**own, **flat_params(self.step.config)}

    def tags(self, store: Store) -> dict[str, str]:
        """Return what runs are found by, and where the run comes from."""
        tags = {
            "taglm.experiment": self.experiment,
            "taglm.step": self.step.name,
            "taglm.kind": self.step.kind,
            "taglm.key": self.key,
            "taglm.store": str(store.root),
            "mlflow.source.name": "taglm",
            "mlflow.source.type": "LOCAL",
        }
        tags |= {safe_name(f"taglm.input.{role}"): digest for role, digest in self.digests.items()}
        if self.step.variant:
            tags |= {"taglm.variant": self.step.variant, "taglm.seed": str(self.step.config.get("seed"))}
        known = {"prefect.flow_run_id": self.prefect_run, "git.commit": self.commit, "mlflow.user": self.user}
        known["mlflow.source.git.commit"] = self.commit
        return tags | {name: value for name, value in known.items() if value}


def models_of(inputs: Iterable[Input]) -> str:
    """Return the names of the language models among inputs, or `none`."""
    return ", ".join(dict.fromkeys(each.lm for each in inputs if each.lm and each.kind == "language-model")) or "none"


@dataclass(frozen=True, slots=True)
class Variant:
    """A variant as a run: parent of its seeds.

    Attributes:
        name: of the variant.
        experiment: name of the experiment it belongs to.
        digest: over everything of its taggers but the seed.
        config: settings of its taggers but the seed.
        inputs: digests of what its taggers read, by role.
        seeds: of its taggers; none where they are not known.
    """

    name: str
    experiment: str
    digest: str
    config: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()

    @classmethod
    def of(
        cls,
        name: str,
        experiment: str,
        config: Mapping[str, Any],
        inputs: Mapping[str, str],
        seeds: Iterable[int] = (),
        store: Store | None = None,
    ) -> Variant:
        """Return the variant of a tagger's config and the digests of its inputs; with a base, of a store."""
        rest = {key: value for key, value in config.items() if key != "seed"}
        shared = {role: digest for role, digest in inputs.items() if role not in (TRAIN_ONLY, BASE)}  # with seeds, too
        base = {} if store is None or BASE not in inputs else {"base": cls._of_base(inputs[BASE], store)}
        text = canonical_json({"config": rest, "inputs": shared, **base})
        return cls(name, experiment, hashlib.sha256(text.encode()).hexdigest()[:32], rest, shared, tuple(seeds))

    @classmethod
    def of_spec(cls, spec: RunSpec, store: Store) -> Variant | None:
        """Return the variant that a tagger or an evaluation belongs to.

        Raises:
            StoreError: the tagger of the evaluation is not in the store any more.
        """
        if spec.step.kind == "tagger" and spec.step.variant:
            return cls.of(spec.step.variant, spec.experiment, spec.step.config, spec.digests, spec.seeds, store)
        if spec.step.kind == "evaluation":
            recipe = store.manifest("tagger", spec.inputs["tagger"].digest).recipe
            return cls.of(spec.step.variant, spec.experiment, recipe.config, recipe.inputs, spec.seeds, store)
        return None

    @classmethod
    def _of_base(cls, digest: str, store: Store) -> str:
        """Return what the taggers share that those of a variant start from: each seed may have its own."""
        made = [pointer.recipe for pointer in store.pointers("tagger") if pointer.digest == digest]
        return cls.of("", "", made[0].config, made[0].inputs, store=store).digest if made else digest

    def params(self) -> dict[str, str]:
        """Return what its taggers share, by dotted path."""
        inputs = typed_inputs("tagger", self.inputs)
        return {"variant": self.name, "lm": models_of(inputs), **flat_params(self.config)}

    @property
    def seeds_text(self) -> str | None:
        """Its seeds as a tag; None where they are not known."""
        return ", ".join(map(str, self.seeds)) or None

    def identity(self) -> dict[str, str]:
        """Return the tags that its runs are found by."""
        return {
            "taglm.kind": "variant",
            "taglm.experiment": self.experiment,
            "taglm.variant": self.name,
            "taglm.variant_digest": self.digest,
        }

    def tags(self) -> dict[str, str]:
        """Return the tags of a new run."""
        return self.identity() | ({SEEDS_TAG: self.seeds_text} if self.seeds_text else {})
