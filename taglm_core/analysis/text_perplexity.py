"""Perplexity of a text under the trained language models of an experiment."""

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
    """Score of a text under one direction of a language model.

    Attributes:
        direction: forward or backward.
        text: score of the text.
        heldout: metrics of the model on its own held-out text, by name, from its manifest.
    """

    direction: Direction
    text: TextScore
    heldout: Mapping[str, float]


def text_perplexity(experiment: Experiment, text: str, lm: str | None, *, command: str) -> Iterator[DirectionScore]:
    """Yield the score of a text under each direction of one language model.

    Args:
        experiment: experiment of the language model.
        text: file, folder or glob of tokenised sentences, one per line; compressed files are read.
        lm: name of the language model; None if the experiment has only one.
        command: command that trains it, for a message.

    Raises:
        ConfigError: there is no such language model, or several and no name was given.
        InputError: the text is missing, unreadable, or without sentences.
        MissingObject: the language model is not trained yet.
    """
    name = _choose(experiment, lm)
    files = resolve_files(Path(text))
    if next(read_text(files), None) is None:
        raise InputError(text, None, "no sentence", "one tokenised sentence per line", "check the file")
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
        found = "no name given" if wanted is None else f"there is no {wanted!r}"
        raise ConfigError(f"--lm: {found}; the language models of the experiment are {', '.join(names) or 'none'}")
    return wanted


def _models(experiment: Experiment, store: Store, name: str, command: str) -> dict[Direction, Ref]:
    """Return the trained models by direction; plan only the steps that they depend on."""
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
