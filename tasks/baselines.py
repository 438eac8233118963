"""The baseline of a tagger: in its export, in the store, or named by the user."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from taglm import Tagger
from taglm_core.analysis.exporting import baseline_of
from taglm_core.config.experiment import Experiment
from taglm_core.errors import ConfigError, MissingObject
from tasks.models import StoredTagger, find_stored, load_stored


def open_baseline(name: str, tagger: Tagger, experiment: Experiment, overrides: Sequence[str] = ()) -> Tagger:
    """Open the baseline of a tagger: the one in its export, or the stored one of its experiment and seed.

    Args:
        name: name of the tagger, as the user wrote it.
        tagger: the tagger.
        experiment: experiment that gives store and tracking store.
        overrides: settings as in `taglm run --set`.

    Raises:
        MissingObject: there is no baseline.
    """
    if not tagger.index.language_models:
        raise MissingObject(f"{name} reads no language model; --baseline names another tagger to compare it with")
    if Path(name).is_dir():
        inside = tagger.baseline(name) or tagger.baseline(Path(name) / "artifacts" / "export")
        if inside is not None:
            return inside
    try:
        found = find_stored(tagger.index.digest if Path(name).is_dir() else name, experiment, overrides)
    except (ConfigError, MissingObject):
        raise MissingObject(
            f"{name} includes no baseline, and {experiment.run.store} does not have this tagger; export it "
            "--with-baseline, or name a tagger with --baseline"
        ) from None
    return load_stored(StoredTagger(baseline_of(found.context, found.tagger), found.experiment))
