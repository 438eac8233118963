"""Experiment files: defaults, overrides, and errors a person can act on."""

from __future__ import annotations

from pathlib import Path

import pytest

from taglm_core.config.experiment import Experiment
from taglm_core.config.language_model import LanguageModelConfig
from taglm_core.config.load import load_experiment
from taglm_core.config.tagger import LmEntryConfig, TaggerConfig
from taglm_core.errors import ConfigError
from tasks.tracking.address import resolve_uri


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
        ("language_models.main.fine_tune.step=3", "did you mean language_models.main.fine_tune.steps?"),
        ("tagger.unts=[1, 2]", "did you mean tagger.units?"),
        ("variants=[{name: a, tagger: {untis: [1, 2]}}]", "variants.0.tagger: untis: unknown key; did you mean units?"),
        ("variants=[{name: a, lm: x}]", "no language model 'x'; language_models has: main"),
        ("labelled.dev=null", "either dev (a path) or dev_sentences"),
        ("labelled.columns.word=[x]", "labelled.columns.word"),
        ("language_models.full={unts: 3}", "did you mean language_models.full.units?"),
        ("language_models.main.softmax={kind: full, full: 1}", "language_models.main.softmax.full: unknown key"),
        ("tagger.characters={kind: gru, unts: 3}", "did you mean tagger.characters.units?"),
        ("tagger.characters={kind: cnn, width: 0}", "tagger.characters.width: found 0; expected 1 or more"),
        ("tagger.annealing=[{epochs: 1, rate: 2}]", "tagger.annealing.0.rate: unknown key; valid here: epochs"),
        ("tagger.words=none", "tagger.words: found 'none'; expected a section"),
        ("run.threads=0", "run.threads: found 0; expected 1 or more"),
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


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("name=10", "name: found 10; expected text; put it into quotes: '10'"),
        ("name=a b", "name: found 'a b'; expected a name that begins with a letter"),
        ("run.store=3", "run.store: found 3; expected a path; put it into quotes: '3'"),
        ("run.store=$HOME/store", "run.store: found '$HOME/store'; shell variables are not expanded in settings"),
        ("run.store=~nobody-has-this-name/x", "whose home folder is unknown"),
        ("run.memory_limit=lots", "run.memory_limit: found 'lots'; expected a number and a unit, such as 2GB"),
        ("run.tracking=maybe", "run.tracking: found 'maybe'; expected true or false"),
        ("run.device=gpu", "run.device: found 'gpu'; expected one of 'auto', 'cpu', 'cuda'"),
        ("tagger.units='300'", "tagger.units: found '300'; expected a list, such as [a, b]; write [300]"),
        ("tagger.learning_rate=.inf", "tagger.learning_rate: found inf; expected a finite number"),
        ("labelled.scheme=iob3", "did you mean iob2?"),
        ("labelled.accept=[no-entity]", "did you mean no-entities?"),
        ("labelled.train=[a, b]", "expected text; write one text alone (for several files: a folder"),
        ("run.checkpoint_seconds=10 s", "run.checkpoint_seconds: found '10 s'; expected a number"),
        ("seeds=3", "seeds: found 3; expected a list, such as [a, b]; write [3]"),
        ("seeds=[1.5]", "seeds.0: found 1.5; expected a whole number"),
        ("tagger.batch_size=1,000", "found '1,000'; expected a whole number; write 1000"),
        ("tagger=null", "tagger: found nothing (null); expected a section"),
        ("variants=baseline", "variants: found 'baseline'; expected a list of sections"),
        ("variants.0.name=x", "variants: found a section with 0; expected a list of sections"),
        ("variants=[{lm: main}]", "variants.0.name: is missing"),
        ("variants=[{name: a, directions: [up]}]", "found 'up'; expected one of 'forward', 'backward'"),
        ("tagger.characters={dim: 3}", "tagger.characters.kind: is missing"),
        ("tagger.characters={kind: x}", "tagger.characters.kind: found 'x'; expected one of 'cnn', 'gru'"),
        ("language_models={}", "language_models has: nothing"),
        ("language_models.main.preset=[a]", "no preset ['a']; there are"),
        ("variants=&a [*a]", "refers to itself"),
        ("a..b=1", "expected dotted.path=value"),
    ],
)
def test_refusals_are_in_the_words_of_the_file(override: str, message: str) -> None:
    """What was found as YAML writes it, what was expected without Python's names for it."""
    said = refusal(override)
    assert message in said
    for word in ("Input should", "<class", "tuple", "Tuple", "dictionary", "integer", "instance of"):
        assert word not in said


@pytest.mark.parametrize(("name", "scheme"), [("BIO", "iob2"), ("IOB1", "iob1"), ("iobes", "bioes"), ("BMES", "bioes")])
def test_schemes_have_other_names(name: str, scheme: str) -> None:
    """The names by which people know a scheme give the same setting, and so the same recipe."""
    labelled = load_experiment(None, [f"labelled.scheme={name}"]).labelled
    assert labelled is not None
    assert str(labelled.scheme) == scheme


def test_a_wrong_name_is_said_once() -> None:
    """The labelled data has the experiment's name only where that is a name."""
    sources = [f"labelled.{split}=x" for split in ("train", "dev", "test")]
    assert "labelled.name" not in refusal("name=1.10", *sources)


def test_an_unknown_key_is_named_beside_the_missing_one() -> None:
    """Whoever writes `valid` for `dev` reads both."""
    assert "labelled.valid: unknown key" in refusal("labelled={train: a, valid: b, test: c}")


def test_a_list_with_a_wrong_item_is_not_called_short() -> None:
    """The item alone is named."""
    assert "items" not in refusal("seeds=[a]")


def test_an_override_below_a_value_replaces_it(tmp_path: Path) -> None:
    """An item or key that is no section becomes one: no trace of Python."""
    path = tmp_path / "x.yaml"
    path.write_text("name: x\nvariants: [a]\nseeds: [1, 2]\n")
    assert load_experiment(path, ["variants.0.name=b"]).variants[0].name == "b"
    with pytest.raises(ConfigError, match=r"seeds\.0: found a section with a"):
        load_experiment(path, ["variants.0.name=b", "seeds.0.a=3"])
    with pytest.raises(ConfigError, match=r"'²' is not an item number of a list of 2"):
        load_experiment(path, ["seeds.²=3"])


def test_home_is_expanded_in_what_runs_write_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No folder named `~` appears."""
    monkeypatch.setenv("HOME", str(tmp_path))
    run = load_experiment(None, ["run.store=~/store", "run.tracking_uri=sqlite:///~/ml.db"]).run
    assert run.store == tmp_path / "store"
    assert run.tracking_uri == f"sqlite:///{tmp_path}/ml.db"
    assert resolve_uri("sqlite:///~/ml.db") == f"sqlite:///{tmp_path}/ml.db"
    (tmp_path / "x.yaml").write_text("name: mine\n")
    assert load_experiment(Path("~/x.yaml")).name == "mine"


def test_all_problems_are_reported_at_once() -> None:
    """Two mistakes, two lines."""
    text = refusal("tagger.unts=1", "run.treads=1")
    assert "tagger.units" in text
    assert "run.threads" in text


def test_unreadable_files_are_explained(tmp_path: Path) -> None:
    """No file, no YAML, no settings: three different messages."""
    with pytest.raises(ConfigError, match="cannot be read"):
        load_experiment(tmp_path / "none.yaml")
    path = tmp_path / "x.yaml"
    path.write_text("a: [")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_experiment(path)
    path.write_text("- a")
    with pytest.raises(ConfigError, match="expected settings"):
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


def test_the_papers_taggers() -> None:
    """The presets are the settings of the paper's sections 3.3 and 4; what is given lies over them."""
    ner, chunking = (TaggerConfig.model_validate({"preset": name}) for name in ("paper-ner", "paper-chunking"))
    assert ner.characters.model_dump() == {"kind": "gru", "dim": 25, "units": 80, "layers": 2, "dropout": 0.25}
    assert (ner.cell, ner.units, ner.dropout, ner.dropout_output) == ("gru", (300, 300), 0.25, False)
    assert chunking.characters.model_dump() == {"kind": "cnn", "dim": 30, "filters": 30, "width": 3, "dropout": 0.5}
    assert (chunking.cell, chunking.units, chunking.dropout, chunking.dropout_output) == ("lstm", (200, 200), 0.5, True)
    for config in (ner, chunking):
        assert (config.learning_rate, config.clip, config.lm, config.words.dropout) == (1e-3, 5.0, LmEntryConfig(), 0.0)
        assert [(phase.learning_rate, phase.epochs) for phase in config.annealing] == [(1e-4, 5), (1e-5, 5)]
        assert (config.start_end, config.constraints, config.locked_dropout, config.word_dropout) == (
            False,
            False,
            0,
            0,
        )
        assert TaggerConfig.model_validate(config.model_dump(mode="json")) == config
    changed = TaggerConfig.model_validate({"preset": "paper-ner", "units": [300, 120], "characters": {"units": 9}})
    assert (changed.units, changed.characters.kind, changed.characters.units) == ((300, 120), "gru", 9)
    with pytest.raises(ConfigError, match="no preset 'paper'; there are paper-ner, paper-chunking"):
        load_experiment(None, ["tagger.preset=paper"])


def test_a_variants_preset_lies_between_the_section_and_its_own_settings() -> None:
    """What the preset does not name stays the experiment's, what the variant gives wins; unknown ones are refused."""
    arms = "[{name: a, tagger: {preset: paper-chunking, units: [9]}}, {name: b}]"
    experiment = load_experiment(
        None, ["tagger={preset: paper-ner, max_bytes: 30, words: {vectors: x}}", f"variants={arms}"]
    )
    first, second = (experiment.tagger_of(variant) for variant in experiment.variants)
    assert (first.cell, first.units, first.max_bytes, first.words.vectors) == ("lstm", (9,), 30, "x")
    assert (second.cell, second.units, second.max_bytes, second.words.vectors) == ("gru", (300, 300), 30, "x")
    assert "variants.0.tagger: no preset 'x'" in refusal("variants=[{name: a, tagger: {preset: x}}]")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("tagger={units: [9], lm: {position: layer-2-output}}", "lm.position is layer-2-output, but units [9] are 1"),
        ("tagger.units=[]", "tagger.units: found 0 items; expected at least 1"),
        ("tagger.units=[1, 2, 3, 4, 5]", "tagger.units: found 5 items; expected at most 4"),
        ("tagger.units=[3, 0]", "tagger.units.1: found 0; expected 1 or more"),
        ("tagger.lm={mix: true, scale: true}", "tagger.lm: mix has a learned scale already"),
        ("tagger.lm.activation=relu", "tagger.lm: activation relu comes after a projection"),
        ("tagger.lm.position=middle", "tagger.lm.position: found 'middle'; expected one of 'input', 'layer-1-output'"),
        ("tagger={output: softmax, constraints: true}", "tagger: output is softmax, but constraints need a CRF; set"),
        ("tagger={output: softmax, start_end: true, constraints: true}", "but start_end and constraints need a CRF"),
        ("tagger.output=sofmax", "tagger.output: found 'sofmax'; expected one of 'crf', 'softmax'"),
        ("tagger.characters={kind: lstm, unts: 3}", "did you mean tagger.characters.units?"),
        ("tagger.lm.position=only", "variants.0: tagger.lm.position is only, but the variant has no lm to read"),
    ],
)
def test_parts_of_a_tagger_that_do_not_fit(override: str, message: str) -> None:
    """Refused before anything runs, with the dotted path and what to do."""
    assert message in refusal(override)


MINE = ("labelled.train=train", "labelled.dev=dev", "labelled.test=test", "unlabelled.path=text")


@pytest.mark.parametrize("left_out", range(4))
def test_a_forgotten_source_is_named_and_never_the_demos(left_out: int) -> None:
    """Beside a source of the user's own each of the others is given, or null."""
    assert f"{MINE[left_out].partition('=')[0]}: missing" in refusal(*MINE[:left_out], *MINE[left_out + 1 :])


@pytest.mark.parametrize(
    ("overrides", "sources"),
    [
        ((), ("demo:train", "demo:dev", "demo:test", "demo:text")),
        (("name=mine",), ("demo:train", "demo:dev", "demo:test", "demo:text")),
        (("labelled.train_fraction=0.5", "unlabelled.shards=2"), ("demo:train", "demo:dev", "demo:test", "demo:text")),
        (MINE, ("train", "dev", "test", "text")),
        ((*MINE, "labelled.test=null"), ("train", "dev", None, "text")),
        (
            ("labelled.train=a", "labelled.dev_sentences=9", "labelled.test=c", "unlabelled.path=d"),
            ("a", None, "c", "d"),
        ),
        ((*MINE[:3], "variants=[{name: baseline}]"), ("train", "dev", "test", None)),
        ((*MINE[:3], "unlabelled=null", "variants=[{name: baseline}]"), ("train", "dev", "test", None)),
        (MINE[3:], (None, None, None, "text")),
    ],
)
def test_sources_are_the_demos_together_or_the_users(overrides: tuple[str, ...], sources: tuple[object, ...]) -> None:
    """The demo stands in only where no source is named; text alone pretrains, labels alone need no text.

    What a run is told of its experiment (all settings, written out) says the same.
    """
    experiment = load_experiment(None, overrides)
    for found in (experiment, Experiment.model_validate(experiment.model_dump(mode="json"))):
        labelled = found.labelled.splits() if found.labelled else dict.fromkeys(("train", "dev", "test"))
        text = found.unlabelled.path if found.unlabelled else None
        assert (*labelled.values(), text) == sources


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("labelled=null", "unlabelled=null"), "name one of them to learn from"),
        ((*MINE[:3], "unlabelled=null"), "variants.1 (TagLM) reads the language model main"),
        ((MINE[3], "variants=[{name: baseline}]"), "labelled=null to train language models alone"),
        ((MINE[3], "language_models.main.fine_tune.steps=9"), "language_models.main.fine_tune: reads the labelled"),
        (("labelled.accept=[nonsense]",), "labelled.accept.0"),
    ],
)
def test_sources_that_do_not_fit_are_refused(overrides: tuple[str, ...], message: str) -> None:
    """What reads a source that is null is named."""
    assert message in refusal(*overrides)


def test_labelled_data_without_a_name_has_the_experiments() -> None:
    """So that MLflow and the registry keep it apart from the demo."""
    assert load_experiment(None, ["name=mine", *MINE]).data_set == "mine"
    assert load_experiment(None, ["name=mine", *MINE, "labelled.name=other"]).data_set == "other"
    assert load_experiment(None, ["name=mine"]).data_set == "demo"
