"""Perplexity of a text file under the trained language models of an experiment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from taglm_core.config.experiment import Experiment
from taglm_core.config.language_model import Direction
from taglm_core.corpus.paths import resolve_files
from taglm_core.corpus.text import read_text
from taglm_core.errors import ConfigError, InputError, MissingObject
from taglm_core.lm.model import load_language_model
from taglm_core.lm.scoring import TextScore, score_text
from taglm_core.pipeline.bases import resolve_bases
from taglm_core.pipeline.graph import build_graph, language_model_name
from taglm_core.pipeline.plan import plan
from taglm_core.pipeline.steps import Graph
from taglm_core.store.records import Ref
from taglm_core.store.store import Store
from taglm_core.training.devices import open_device, reserved


@dataclass(frozen=True, slots=True)
class DirectionScore:
    """A text under one direction of a language model.

    Attributes:
        direction: forward or backward.
        text: the text's score.
        heldout: metrics of the model's own held-out text, by name, as they stand in its manifest.
    """

    direction: Direction
    text: TextScore
    heldout: Mapping[str, float]


def text_perplexity(experiment: Experiment, text: str, lm: str | None, *, command: str) -> Iterator[DirectionScore]:
    """Score a text with every direction of one language model, one after the other.

    Args:
        experiment: whose language models are meant; they must be trained.
        text: file, folder or glob of tokenised sentences, one a line; compressed files are read.
        lm: name of the language model; None where the experiment has one only.
        command: what trains them, for a message.

    Raises:
        ConfigError: no such language model, or more than one to choose from.
        InputError: the text is missing, cannot be read, or holds no sentence.
        MissingObject: the language model is not trained yet.
    """
    name = _choose(experiment, lm)
    files = resolve_files(Path(text))
    if next(read_text(files), None) is None:
        raise InputError(text, None, "no sentence", "at least one tokenised sentence a line", "check the file")
    store = Store(experiment.run.store)
    models = _models(resolve_bases(store, experiment).experiment, store, name, command)
    device = open_device(experiment.run.device, experiment.run.threads)
    for direction, ref in models.items():
        artifact = store.open(ref)
        with reserved(device, store.root / "locks", experiment.run.device_share):
            trained = load_language_model(artifact.path, device.torch)
            score = score_text(trained, (sentence.tokens for sentence in read_text(files)))
        yield DirectionScore(direction, score, artifact.manifest.metrics)


def _choose(experiment: Experiment, wanted: str | None) -> str:
    names = list(experiment.language_models)
    if wanted is None and len(names) == 1:
        return names[0]
    if wanted not in names:
        found = "none is named" if wanted is None else f"there is no {wanted!r}"
        raise ConfigError(f"--lm: {found}; the language models of the experiment are {', '.join(names) or 'none'}")
    return wanted


def _models(experiment: Experiment, store: Store, name: str, command: str) -> dict[Direction, Ref]:
    """The trained models by direction; only what they depend on is looked at."""
    graph = build_graph(experiment)
    steps = {way: language_model_name(name, way) for way in experiment.language_models[name].directions}
    needed = set(steps.values()).union(*(graph.above(step) for step in steps.values()))
    decisions = plan(store, Graph([step for step in graph.values() if step.name in needed]))
    missing = [step for step in steps.values() if decisions[step].ref is None]
    if missing:
        raise MissingObject(
            f"not trained yet: {', '.join(missing)} ({decisions[missing[0]].reason}); train with `{command}`"
        )
    return {way: ref for way, step in steps.items() if (ref := decisions[step].ref) is not None}
