"""Experiment files: defaults, overrides, and errors a person can act on."""

from __future__ import annotations

from pathlib import Path

import pytest

from taglm_core.config.language_model import LanguageModelConfig
from taglm_core.config.load import load_experiment
from taglm_core.errors import ConfigError


def refusal(*overrides: str) -> str:
    """The message with which overrides are refused."""
    with pytest.raises(ConfigError) as caught:
        load_experiment(None, overrides)
    return str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("langage_models.main.steps=3", "langage_models: unknown key; did you mean language_models?"),
        ("language_models.main.stepps=3", "did you mean language_models.main.steps?"),
        ("tagger.unts=[1, 2]", "did you mean tagger.units?"),
        ("variants=[{name: a, tagger: {untis: [1, 2]}}]", "variants.0.tagger: untis: unknown key; did you mean units?"),
        ("variants=[{name: a, lm: x}]", "no language model 'x'; language_models has: main"),
        ("labelled.dev=null", "either dev (a path) or dev_sentences"),
        ("labelled.columns.word=x", "labelled.columns.word: Input should be a valid integer"),
        ("language_models.full={unts: 3}", "did you mean language_models.full.units?"),
        ("language_models.main.softmax={kind: full, full: 1}", "language_models.main.softmax.full: unknown key"),
        ("tagger.characters={kind: gru, unts: 3}", "did you mean tagger.characters.units?"),
        ("tagger.characters={kind: cnn, width: 0}", "tagger.characters.width: Input should be greater"),
        ("tagger.annealing=[{epochs: 1, rate: 2}]", "tagger.annealing.0.rate: unknown key; valid here: epochs"),
        ("tagger.words=none", "tagger.words: Input should be"),
        ("run.threads=0", "run.threads: Input should be greater than or equal to 1"),
        ("seeds=[1, 1]", "seeds: must differ"),
        ("language_models.main.projection=4096", "must not be larger than units"),
        ("language_models.main={units: 8, projection: 8}", "leave nothing of projection 8"),
        ("no-equals-sign", "expected dotted.path=value"),
        ("a=[", "not valid YAML"),
    ],
)
def test_refusals_name_path_and_remedy(override: str, message: str) -> None:
    """Every refusal gives the dotted path and what is valid."""
    assert message in refusal(override)


def test_all_problems_are_reported_at_once() -> None:
    """Two mistakes, two lines."""
    text = refusal("tagger.unts=1", "run.treads=1")
    assert "tagger.units" in text
    assert "run.threads" in text


def test_unreadable_files_are_explained(tmp_path: Path) -> None:
    """No file, no YAML, no mapping: three different messages."""
    with pytest.raises(ConfigError, match="cannot be read"):
        load_experiment(tmp_path / "none.yaml")
    path = tmp_path / "x.yaml"
    path.write_text("a: [")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_experiment(path)
    path.write_text("- a")
    with pytest.raises(ConfigError, match="expected a mapping"):
        load_experiment(path)


def test_files_hold_differences_and_overrides_win(tmp_path: Path) -> None:
    """Defaults < file < --set; list items by number."""
    path = tmp_path / "x.yaml"
    path.write_text("name: mine\nseeds: [5, 6]\ntagger: {batch_size: 4}\n")
    experiment = load_experiment(path, ["tagger.units=[10, 20]", "seeds.1=9"])
    assert (experiment.name, experiment.seeds) == ("mine", (5, 9))
    assert (experiment.tagger.batch_size, experiment.tagger.units, experiment.tagger.cell) == (4, (10, 20), "gru")


def test_variant_differences_are_laid_over_the_tagger_section() -> None:
    """A variant changes its own fields only; another kind of section replaces it whole."""
    experiment = load_experiment(
        None, ["tagger.dropout=0.4", "variants=[{name: a, tagger: {characters: {kind: gru, units: 7}}}, {name: b}]"]
    )
    first, second = (experiment.tagger_of(variant) for variant in experiment.variants)
    assert first.dropout == second.dropout == 0.4
    assert (first.characters.kind, second.characters.kind) == ("gru", "cnn")


@pytest.mark.parametrize("value", ["none", "null", "[]"])
def test_the_baseline_has_no_language_model(value: str) -> None:
    """`lm: none` is the baseline."""
    experiment = load_experiment(None, [f"variants=[{{name: a, lm: {value}}}]"])
    assert experiment.variants[0].lm == ()


def test_shipped_experiments_are_valid(repository: Path) -> None:
    """Every YAML under experiments/ loads, and is named like its file."""
    paths = sorted((repository / "experiments").glob("*.yaml"))
    assert len(paths) >= 3
    for path in paths:
        assert load_experiment(path).name == path.stem


def test_a_preset_is_a_starting_point() -> None:
    """What is given lies over it, inside sections of the same kind too; the name itself is in no key."""
    config = LanguageModelConfig.model_validate({"preset": "lstm-2048-512", "steps": 7, "input": {"size": 300}})
    assert (config.units, config.projection, config.steps, config.optimizer) == (2048, 512, 7, "adagrad")
    assert (config.input.kind, config.input.size, config.unknown) == ("word", 300, "single")
    assert config.softmax.kind == "sampled"
    assert "preset" not in config.model_dump()
    assert LanguageModelConfig.model_validate(config.model_dump(mode="json")) == config
    other = LanguageModelConfig.model_validate({"preset": "lstm-512-256", "softmax": {"kind": "full"}})
    assert (other.softmax.kind, other.input.size, other.unknown) == ("full", 256, "shape")
    assert LanguageModelConfig.model_validate({"preset": "char-cnn-small"}) == LanguageModelConfig()


def test_an_unknown_preset_names_those_there_are() -> None:
    """Before anything runs."""
    with pytest.raises(ConfigError, match=r"no preset 'big'; there are char-cnn-small, lstm-512-256"):
        load_experiment(None, ["language_models.main.preset=big"])
