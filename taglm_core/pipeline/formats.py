"""The formats of an experiment's sources: `auto` becomes a format, once."""

from __future__ import annotations

import contextlib

from taglm_core.config.data import DEMO_PREFIX, Columns, LabelledConfig, LabelledFormat
from taglm_core.config.experiment import Experiment
from taglm_core.corpus.paths import resolve_files
from taglm_core.errors import InputError


def resolve_formats(experiment: Experiment) -> Experiment:
    """Return an experiment with the format of its labelled files in place of `auto`.

    CoNLL columns stay `auto`, so that keys and settings of experiments with such files are what they always were.
    Files that are missing stay `auto` too: the step that reads them names them.

    Raises:
        InputError: the splits are in different formats.
    """
    labelled = experiment.labelled
    if labelled is None or labelled.format is not LabelledFormat.AUTO:
        return experiment
    found = _labelled_format(labelled)
    if found is LabelledFormat.CONLL:
        return experiment
    return experiment.model_copy(update={"labelled": labelled.model_copy(update={"format": found})})


def _labelled_format(labelled: LabelledConfig) -> LabelledFormat:
    patterns = [path for path in labelled.splits().values() if path and not path.startswith(DEMO_PREFIX)]
    paths = []
    for pattern in patterns:
        with contextlib.suppress(InputError):
            paths += resolve_files(pattern)
    if not paths:
        return LabelledFormat.CONLL
    from taglm_core.formats.detect import detect_labelled

    numbers = (labelled.columns.word, labelled.columns.tag)
    is_configured = labelled.columns != Columns() and all(isinstance(number, int) for number in numbers)
    return detect_labelled(paths, has_columns=is_configured)
