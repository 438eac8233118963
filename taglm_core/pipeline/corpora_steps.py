"""Steps of an experiment's corpora.

The config of a corpus in CoNLL columns or tokenised lines says nothing about other formats, so that keys stay.
"""

from __future__ import annotations

from typing import Any

from taglm_core.config.data import DEMO_FILES, DEMO_PREFIX, LabelledConfig, LabelledFormat, TagScheme
from taglm_core.config.experiment import Experiment
from taglm_core.config.raw_text import TextConfig
from taglm_core.errors import ConfigError
from taglm_core.pipeline.formats import resolve_formats
from taglm_core.pipeline.steps import Step

TEXT = "corpus/text"
STATISTICS = "statistics"
_COLUMNS = (LabelledFormat.AUTO, LabelledFormat.CONLL)  # `auto` that is not resolved: files that are missing
_SPANS_ALONE = (LabelledFormat.BRAT, LabelledFormat.DOCBIN)
_WITH_TEXT = (LabelledFormat.JSONL, *_SPANS_ALONE)


def corpora_steps(experiment: Experiment) -> list[Step]:
    """Return the steps of all corpora, and their statistics."""
    experiment = resolve_formats(experiment)
    labelled, text = experiment.labelled, experiment.unlabelled
    steps: list[Step] = []
    paths = [*(labelled.splits().values() if labelled else ()), text.path if text else None]
    if any(path and path.startswith(DEMO_PREFIX) for path in paths):
        steps.append(Step("demo", "demo-corpus", experiment.demo.model_dump(mode="json"), group="demo"))
    if labelled is not None:
        steps += _labelled_corpora(labelled, experiment.text)
    if text is not None:
        inputs, files, config = _source("file", text.path)
        config = {**experiment.text_reading(), **config}
        steps.append(Step(TEXT, "corpus", config, inputs, files, text.name, split="text"))
    every = {name: f"corpus/{name}" for name in (*experiment.splits, *(["text"] if text else []))}
    return [*steps, Step(STATISTICS, "corpus-statistics", {}, every, group=experiment.data_set)]


def _labelled_corpora(labelled: LabelledConfig, text: TextConfig) -> list[Step]:
    steps, group = [], labelled.name
    if _scheme_is_found(labelled):
        steps.append(_scheme_step(labelled))
    drawn = labelled.dev is None or labelled.train_fraction < 1
    source = "corpus/train-source" if drawn else "corpus/train"
    steps.append(_labelled_step(source, "train", labelled.train, labelled, text))
    if labelled.dev is None:
        draw: dict[str, Any] = {"count": labelled.dev_sentences, "fraction": None, "seed": labelled.sample_seed}
        steps.append(drawn_step("corpus/dev", "dev", {**draw, "complement": False}, source, group))
        rest = "corpus/train-rest" if labelled.train_fraction < 1 else "corpus/train"
        steps.append(drawn_step(rest, "train", {**draw, "complement": True}, source, group))
        source = rest
    else:
        steps.append(_labelled_step("corpus/dev", "dev", labelled.dev, labelled, text))
    if labelled.train_fraction < 1:
        draw = {"count": None, "fraction": labelled.train_fraction, "seed": labelled.sample_seed, "complement": False}
        steps.append(drawn_step("corpus/train", "train", draw, source, group))
    if labelled.test is not None:
        steps.append(_labelled_step("corpus/test", "test", labelled.test, labelled, text))
    return steps


def drawn_step(name: str, split: str, draw: dict[str, Any], source: str, group: str) -> Step:
    """Return the step of a corpus that is made from another one."""
    return Step(name, "corpus", draw, {"source": source}, group=group, split=split)


def _scheme_is_found(labelled: LabelledConfig) -> bool:
    return labelled.scheme is TagScheme.AUTO and labelled.format not in _SPANS_ALONE


def _scheme_step(labelled: LabelledConfig) -> Step:
    inputs: dict[str, str] = {}
    files: dict[str, str] = {}
    demo: dict[str, Any] = {}
    for split, path in labelled.splits().items():
        if path is not None:
            its_inputs, its_files, config = _source(split, path)
            inputs |= its_inputs
            files |= its_files
            if config:
                demo[split] = config["demo_file"]
    config = {"columns": labelled.columns.model_dump(mode="json"), "demo_files": demo, **labelled.reading()}
    if labelled.format not in _COLUMNS:
        config["format"] = str(labelled.format)
    return Step("scheme", "tag-scheme", config, inputs, files, labelled.name)


def _labelled_step(name: str, split: str, path: str, labelled: LabelledConfig, text: TextConfig) -> Step:
    inputs, files, config = _source("file", path)
    config = {"format": "conll", "columns": labelled.columns.model_dump(mode="json"), **labelled.reading(), **config}
    if labelled.format not in _COLUMNS:
        config["format"] = str(labelled.format)
    if labelled.format in _WITH_TEXT:
        config |= {**labelled.spans(), **text.segmenting()}
    if labelled.format in _SPANS_ALONE:
        del config["columns"]
    elif _scheme_is_found(labelled):
        inputs = {**inputs, "scheme": "scheme"}
    else:
        config["scheme"] = str(labelled.scheme)
    return Step(name, "corpus", config, inputs, files, labelled.name, split=split)


def _source(role: str, path: str) -> tuple[dict[str, str], dict[str, str], dict[str, Any]]:
    """Return inputs, raw files and config of a source path: raw files, or a file of the demo corpus."""
    if not path.startswith(DEMO_PREFIX):
        return {}, {role: path}, {}
    name = path.removeprefix(DEMO_PREFIX)
    if name not in DEMO_FILES:
        raise ConfigError(f"{path!r}: the demo corpus has {', '.join(DEMO_PREFIX + known for known in DEMO_FILES)}")
    return {"demo": "demo"}, {}, {"demo_file": DEMO_FILES[name]}
