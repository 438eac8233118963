"""What a run says of itself before the work begins, and how far it has been told: both outlive a kill."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from taglm_core.pipeline.roles import TRAIN_ONLY
from taglm_core.pipeline.steps import Step
from taglm_core.store.digests import canonical_json
from taglm_core.store.durable import read_json, write_json
from taglm_core.store.records import Ref
from tasks.tracking.descriptions import experiment_name, flat_params, safe_name
from tasks.urls import without_password

STATE_FILE = "tracking.json"
LM_ROLE = "language-model/"
SEEDS_TAG, REPORT_TAG = "taglm.seeds", "taglm.report"  # of a variant: its seeds, and the report that compares it
PARENT = "mlflow.parentRunId"
RUNNING, FINISHED, KILLED, FAILED = "RUNNING", "FINISHED", "KILLED", "FAILED"
OWN_RUNS = ("corpus-statistics", "language-model", "embeddings", "tagger")  # kinds of steps that have one each


@dataclass(frozen=True, slots=True)
class Entry:
    """One step that is being built.

    Attributes:
        experiment: name of the experiment it is built for.
        step: the step.
        key: its recipe's key.
        inputs: the objects it reads, by role.
        store: root of the store.
        prefect_run: id of the Prefect flow run.
        commit: of the program's sources.
        user: who runs it.
        seeds: of the experiment it is built for.
    """

    experiment: str
    step: Step
    key: str
    inputs: Mapping[str, Ref]
    store: str
    prefect_run: str | None = None
    commit: str | None = None
    user: str | None = None
    seeds: tuple[int, ...] = ()

    @property
    def mlflow_experiment(self) -> str:
        """Name of the MLflow experiment the run belongs to."""
        return experiment_name(self.step.stage, self.step.group)

    @property
    def variant(self) -> str | None:
        """The arm of the comparison a tagger or an evaluation belongs to (`tagger/<variant>/seed-1`)."""
        return self.step.name.split("/")[1] if self.step.kind in ("tagger", "evaluation") else None

    def params(self) -> dict[str, str]:
        """Settings by dotted path; a tagger's variant, seed and language models among them."""
        own = {"variant": self.variant, "lm": models_of(self.inputs)} if self.variant else {}
        return {**own, **flat_params(self.step.config)}

    def tags(self) -> dict[str, str]:
        """What runs are found by, and where the run comes from."""
        tags = {
            "taglm.experiment": self.experiment,
            "taglm.step": self.step.name,
            "taglm.kind": self.step.kind,
            "taglm.key": self.key,
            "taglm.store": self.store,
            "mlflow.source.name": "taglm",
            "mlflow.source.type": "LOCAL",
        }
        tags |= {safe_name(f"taglm.input.{role}"): ref.digest for role, ref in self.inputs.items()}
        if self.variant:
            tags |= {"taglm.variant": self.variant, "taglm.seed": str(self.step.config.get("seed"))}
        known = {"prefect.flow_run_id": self.prefect_run, "git.commit": self.commit, "mlflow.user": self.user}
        known["mlflow.source.git.commit"] = self.commit
        return tags | {name: value for name, value in known.items() if value}

    @property
    def word(self) -> Path:
        """The file that says that results of its object are untold."""
        return word_path(Path(self.store), self.step.kind, self.key)

    @property
    def claim(self) -> Path:
        """The file whose lock says who tells the tracking store about it: one process at a time."""
        return Path(self.store) / "locks" / f"tracking-{self.step.kind}-{self.key}.lock"

    def object_path(self, ref: Ref) -> Path:
        """Where an object lies."""
        return Path(self.store) / "objects" / ref.kind / ref.digest


def word_path(store: Path, kind: str, key: str) -> Path:
    """The file that says that results of a key's object are untold."""
    return store / "tracking" / f"{kind}-{key}.json"


def models_of(roles: Iterable[str]) -> str:
    """Names of the language models among the roles of inputs (`language-model/<name>/<direction>`), or `none`."""
    names = dict.fromkeys(role.removeprefix(LM_ROLE).rpartition("/")[0] for role in roles if role.startswith(LM_ROLE))
    return ", ".join(names) or "none"


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
    ) -> Variant:
        """From a tagger's config and the digests of its inputs."""
        rest = {key: value for key, value in config.items() if key != "seed"}
        shared = {role: digest for role, digest in inputs.items() if role != TRAIN_ONLY}  # that has a seed, too
        text = canonical_json({"config": rest, "inputs": shared})
        return cls(name, experiment, hashlib.sha256(text.encode()).hexdigest()[:32], rest, shared, tuple(seeds))

    def params(self) -> dict[str, str]:
        """What its taggers share, by dotted path."""
        return {"variant": self.name, "lm": models_of(self.inputs), **flat_params(self.config)}

    @property
    def seeds_text(self) -> str | None:
        """Its seeds as a tag; None where they are not known."""
        return ", ".join(map(str, self.seeds)) or None

    def identity(self) -> dict[str, str]:
        """Tags that its runs are found by."""
        return {
            "taglm.kind": "variant",
            "taglm.experiment": self.experiment,
            "taglm.variant": self.name,
            "taglm.variant_digest": self.digest,
        }

    def tags(self) -> dict[str, str]:
        """Tags of a new run."""
        return self.identity() | ({SEEDS_TAG: self.seeds_text} if self.seeds_text else {})


@dataclass(frozen=True, slots=True)
class State:
    """How far a step has been told to the tracking store; `tracking.json` in its work folder.

    Attributes:
        uri: the tracking store, without user and password.
        entry: the step.
        run_id: the run; None while the store has been away from the start.
        offset: bytes of the journal whose metrics the store has.
        last: last step told of each metric; a resumed process says steps again.
        status: what the store was told last; RUNNING also while it has been told nothing.
    """

    uri: str
    entry: Entry
    run_id: str | None = None
    offset: int = 0
    last: Mapping[str, int] = field(default_factory=dict)
    status: str = RUNNING

    def afresh(self) -> State:
        """For a new run: nothing told yet."""
        return replace(self, run_id=None, offset=0, last={}, status=RUNNING)

    def save(self, path: Path) -> None:
        """Write durably."""
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> State | None:
        """Inverse of `save`; None where there is none, or one that another version wrote."""
        data: Any = read_json(path)
        try:
            given = data["entry"]
            step = Step(**given["step"])
            inputs = {role: Ref(**ref) for role, ref in given["inputs"].items()}
            uri = without_password(data["uri"])  # which older versions wrote with it
            entry = Entry(**{**given, "step": step, "inputs": inputs, "seeds": tuple(given.get("seeds", ()))})
            return cls(**{**data, "uri": uri, "entry": entry})
        except (TypeError, KeyError):
            return None
