"""The formats of an experiment's sources: `auto` becomes a format."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from taglm_core.config.data import DEMO_PREFIX, LabelledConfig, LabelledFormat, TextFormat, UnlabelledConfig
from taglm_core.config.experiment import Experiment
from taglm_core.corpus.paths import resolve_files
from taglm_core.errors import InputError


def resolve_formats(experiment: Experiment) -> Experiment:
    """Return an experiment with the formats of its files in place of `auto`.

    CoNLL columns and tokenised lines stay `auto`, so that keys and settings of experiments with such files are what
    they always were. Files that are missing stay `auto` too: the step that reads them names them.

    Raises:
        InputError: the splits, or the files of the text, are in different formats.
    """
    labelled, text = experiment.labelled, experiment.unlabelled
    found: dict[str, LabelledConfig | UnlabelledConfig] = {}
    if labelled is not None and labelled.format is LabelledFormat.AUTO:
        kind = _labelled_format(labelled)
        if kind is not LabelledFormat.CONLL:
            found["labelled"] = labelled.model_copy(update={"format": kind})
    if text is not None and text.format is TextFormat.AUTO:
        text_kind = _text_format(text)
        if text_kind is not TextFormat.TOKENISED:
            found["unlabelled"] = text.model_copy(update={"format": text_kind})
    return experiment.model_copy(update=found) if found else experiment


def _labelled_format(labelled: LabelledConfig) -> LabelledFormat:
    paths = _files(path for path in labelled.splits().values() if path is not None)
    if not paths:
        return LabelledFormat.CONLL
    from taglm_core.formats.detect import detect_labelled

    return detect_labelled(paths, labelled.columns.word, labelled.columns.tag)


def _text_format(text: UnlabelledConfig) -> TextFormat:
    paths = _files([text.path])
    if not paths:
        return TextFormat.TOKENISED
    from taglm_core.formats.detect import detect_text

    return detect_text(paths)


def _files(patterns: Iterable[str]) -> list[Path]:
    """Return the files that exist, those of the demo aside."""
    paths: list[Path] = []
    for pattern in patterns:
        if not pattern.startswith(DEMO_PREFIX):
            with contextlib.suppress(InputError):
                paths += resolve_files(pattern)
    return paths
