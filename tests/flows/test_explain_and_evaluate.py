"""A stored tagger in use: evaluated on a file, explained, described by its model card."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from flows.cli import app
from taglm import Tagger
from taglm.evaluating import evaluate
from taglm.explained_html import to_html
from taglm.explaining import explain
from taglm_core.analysis.exporting import export_tagger
from taglm_core.analysis.model_card import model_card
from taglm_core.config.experiment import Experiment
from taglm_core.config.load import load_experiment
from taglm_core.config.raw_text import TextConfig
from taglm_core.config.shortest import shortest_settings
from taglm_core.errors import ConfigError, MissingObject
from taglm_core.evaluation.evaluated import CONLLEVAL, PREDICTIONS
from taglm_core.evaluation.predictions import read_predictions
from taglm_core.evaluation.report import EvaluationRow, build_comparison
from taglm_core.evaluation.tables import format_difference
from taglm_core.formats.labelled import read_labelled
from taglm_core.pipeline.context import PipelineContext
from taglm_core.pipeline.graph import build_graph, evaluation_name, tagger_name
from taglm_core.store.durable import read_json
from taglm_core.store.records import Ref
from taglm_core.store.store import Artifact, Store
from taglm_core.tagging.exported import BASELINE, CARD, check_files, read_index
from tests.building import build_up_to
from tests.tagging.test_tagging import corpus

TINY = {
    "name": "tiny",
    "language_models": {
        "main": {
            "input": {"kind": "char-cnn", "filters": [[1, 4], [2, 4]], "dim": 4, "size": 8},
            "units": 8, "projection": 4, "softmax": {"kind": "full"}, "vocabulary_size": 200, "steps": 8,
            "streams": 4, "window": 5, "warmup_steps": 2, "break_sentences": 10,
        }
    },
    "embedding": {"context": "document"},
    "tagger": {
        "characters": {"kind": "cnn", "dim": 4, "filters": 6}, "words": {"size": 6}, "units": [8, 8], "batch_size": 4,
        "max_epochs": 5, "patience": 5, "learning_rate": 0.02, "annealing": [],
    },
    "variants": [{"name": "baseline", "tagger": {"max_epochs": 2}}, {"name": "TagLM", "lm": ["main"]}],
    "seeds": [1],
}  # fmt: skip


def sources(root: Path) -> dict[str, object]:
    """Write labelled sentences, three a document, and a text; return the settings that name them."""
    for split, count, seed in (("train", 60, 1), ("dev", 20, 2), ("test", 30, 3)):
        lines = []
        for number, (tokens, tags) in enumerate(zip(*corpus(count, seed), strict=True)):
            lines += ["-DOCSTART- X O\n\n"] if number % 3 == 0 else []
            lines += [f"{token} X {tag}\n" for token, tag in zip(tokens, tags, strict=True)]
            lines.append("\n")
        (root / f"{split}.conll").write_text("".join(lines), encoding="utf-8")
    (root / "text.txt").write_text("".join(f"{' '.join(tokens)}\n" for tokens in corpus(300, 4)[0]), encoding="utf-8")
    labelled = {split: str(root / f"{split}.conll") for split in ("train", "dev", "test")}
    text = {"name": "plain", "path": str(root / "text.txt"), "heldout_fraction": 0.1, "shards": 2}
    return {"labelled": {"name": "people", **labelled}, "unlabelled": text}


pytestmark = pytest.mark.filterwarnings("ignore:.*LSTM with projections.*", "ignore:.*oneDNN.*")


@dataclass(frozen=True)
class Trained:
    """A store with a TagLM and its baseline, both evaluated on test; the TagLM exported with its baseline."""

    experiment: Experiment
    refs: dict[str, Ref]
    export: Path
    test: Path  # the test split as CoNLL

    @property
    def context(self) -> PipelineContext:
        return PipelineContext.resolve(self.experiment)

    def open(self, step: str) -> Artifact:
        return Store(self.experiment.run.store).open(self.refs[step])

    def invoke(self, *arguments: str, text: str | None = None) -> Result:
        store = f"run.store={self.experiment.run.store}"
        return CliRunner().invoke(app, [*arguments, "--set", store], input=text, env={"COLUMNS": "160"})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    root = tmp_path_factory.mktemp("trained")
    run = {"store": str(root / "store"), "tracking": False}
    experiment = Experiment.model_validate({**TINY, **sources(root), "run": run})
    refs = {}
    for variant in ("baseline", "TagLM"):
        refs |= build_up_to(experiment, evaluation_name(variant, 1, "test"))
    context, store = PipelineContext.resolve(experiment), Store(experiment.run.store)
    export = root / "export"
    export_tagger(context, store.open(refs[tagger_name("TagLM", 1)]), export, text=experiment.text)
    export_tagger(context, store.open(refs[tagger_name("baseline", 1)]), export / BASELINE, text=experiment.text)
    return Trained(experiment, refs, export, root / "test.conll")


def test_a_file_is_scored_as_the_evaluation_of_its_split(trained: Trained, tmp_path: Path) -> None:
    """The same tags and scores, also of a tagger that reads documents; confidences agree within 1e-4."""
    stored = trained.open(evaluation_name("TagLM", 1, "test"))
    done = trained.invoke("evaluate", str(trained.export), str(trained.test), "--to", str(tmp_path / "out"))
    assert done.exit_code == 0, done.output
    one, other = (read_predictions(folder / PREDICTIONS) for folder in (stored.path, tmp_path / "out"))
    assert (one.tokens, one.gold, one.predicted) == (other.tokens, other.gold, other.predicted)
    assert any(tag != "O" for tags in one.predicted for tag in tags)
    for column in ("confidence", "span_confidence"):
        pairs = zip(getattr(one, column), getattr(other, column), strict=True)
        assert all(np.allclose(mine, theirs, atol=1e-4) for mine, theirs in pairs)
    assert (stored.path / CONLLEVAL).read_bytes() == (tmp_path / "out" / CONLLEVAL).read_bytes()
    before, after = (read_json(folder / "scores.json") or {} for folder in (stored.path, tmp_path / "out"))
    assert before["scores"] == after["scores"]
    assert f"{100 * before['scores']['micro']['f1']:.2f}" in done.output
    assert "new, with an unknown word" in done.output  # the store has the training sentences


def test_documents_of_the_file_are_read_whole(trained: Trained, tmp_path: Path) -> None:
    """Without the documents of the file, a tagger that reads documents is less or more sure."""
    tagger, labelled = Tagger.load(trained.export), read_labelled([trained.test])
    assert len(set(labelled.documents)) > 1
    evaluate(tagger, labelled, tmp_path, "test")
    alone = [one.marginals for one in tagger.predict_sentences(labelled.tokens)]
    whole = [one.marginals for one in tagger.predict_sentences(labelled.tokens, labelled.documents)]
    assert any(not np.allclose(one, other) for one, other in zip(alone, whole, strict=True) if one is not None)


def test_two_taggers_are_compared_as_stored_evaluations_are(trained: Trained) -> None:
    """The difference, its interval and its p-value are those of the evaluations in the store."""
    rows = [
        EvaluationRow.read(name, 1, trained.open(evaluation_name(name, 1, "test")).path)
        for name in ("baseline", "TagLM")
    ]
    expected = build_comparison(rows, reference="baseline", rounds=200, seed=1).differences[0]
    its = [trained.refs[tagger_name(name, 1)].digest for name in ("TagLM", "baseline")]
    done = trained.invoke("evaluate", its[0], str(trained.test), "--against", its[1], "--rounds", "200")
    assert done.exit_code == 0, done.output
    assert format_difference(expected) in done.output
    assert isinstance(trained.invoke("evaluate", its[0], "x", "--scheme", "none").exception, ConfigError)


def test_what_a_file_has_and_a_tagger_lacks_is_said(trained: Trained, tmp_path: Path) -> None:
    """Other columns are read; unknown labels are named with their numbers; a folder with files is left alone."""
    (tmp_path / "other.conll").write_text("B-SHIP Titanic\nO sank\n\nB-SHIP Argo\nI-SHIP II\nO sailed\n")
    options = ["--word-column", "1", "--tag-column", "0", "--scheme", "bio", "--mistakes", "2"]
    done = trained.invoke("evaluate", str(trained.export / BASELINE), str(tmp_path / "other.conll"), *options)
    assert done.exit_code == 0, done.output
    assert "does not know, counted as errors: SHIP (2 entities)" in done.output
    assert "Titanic (SHIP)" in done.output
    refused = trained.invoke("evaluate", str(trained.export), str(trained.test), "--to", str(tmp_path))
    assert isinstance(refused.exception, ConfigError)
    assert "found files" in str(refused.exception)


def test_without_training_sentences_seen_entities_are_not_told_apart(trained: Trained, tmp_path: Path) -> None:
    """On another machine the command says what is missing, and gives everything else."""
    done = CliRunner().invoke(app, ["evaluate", str(trained.export / BASELINE), str(trained.test)])
    assert done.exit_code == 0, done.output
    assert "has no training sentences of this tagger" in " ".join(done.output.split())
    assert "new, with an unknown word" not in done.output
    assert "wrong boundaries" in done.output
    assert not (tmp_path / "data" / "store" / "objects").exists()


def sentence_of(trained: Trained) -> str:
    """The first sentences of the test split as raw text."""
    labelled = read_labelled([trained.test])
    return " ".join(f"{' '.join(tokens)} ." for tokens in labelled.tokens[:6])


def test_an_explanation_says_what_tagger_and_baseline_say(trained: Trained) -> None:
    """Tags and probabilities are those of the marginals; the baseline is the other tagger, token by token."""
    tagger, text = Tagger.load(trained.export), sentence_of(trained)
    baseline = tagger.baseline(trained.export)
    assert baseline is not None
    found = explain(tagger, text, baseline, n_best=2)
    analyses, others = (one.analyse(text, marginals=True) for one in (tagger, baseline))
    for sentence, analysis, other in zip(found, analyses, others, strict=True):
        assert analysis.marginals is not None
        assert [token.tag for token in sentence.tokens] == list(analysis.tags)
        assert [token.baseline for token in sentence.tokens] == list(other.tags)
        assert [token.differs for token in sentence.tokens] == [
            a != b for a, b in zip(analysis.tags, other.tags, strict=True)
        ]
        assert [token.known for token in sentence.tokens] == list(analysis.known)
        for token, row in zip(sentence.tokens, analysis.marginals, strict=True):
            ranked = sorted(row.tolist(), reverse=True)
            assert {token.probability, token.next_probability} <= set(row.tolist())
            assert token.next_tag != token.tag
            assert token.next_probability in ranked[:2]
        assert len(sentence.paths) == 2
        assert sentence.paths[0][1] >= sentence.paths[1][1]
    assert any(token.differs for sentence in found for token in sentence.tokens)
    assert any(
        not sentence.is_shared(one) for sentence in found for one in sentence.entities + (sentence.baseline or ())
    )


def test_a_baseline_with_another_tokenizer_reads_the_tokens_of_the_tagger(trained: Trained, tmp_path: Path) -> None:
    """Its entities stand at their places in the text."""
    text = TextConfig.model_validate({"tokenizer": "whitespace"})
    export_tagger(trained.context, trained.open(tagger_name("baseline", 1)), tmp_path / "b", text=text, card=False)
    tagger, whole = Tagger.load(trained.export), sentence_of(trained).replace(" .", ".")
    found = explain(tagger, whole, Tagger.load(tmp_path / "b"))
    assert len(found) > 1
    entities = [entity for sentence in found for entity in sentence.baseline or ()]
    assert entities
    assert all(whole[entity.start : entity.end] == entity.text for entity in entities)
    tokens = [token.token for sentence in found for token in sentence.tokens]
    assert all(" ".join(tokens[one.token_start : one.token_end]) == one.text for one in entities)


def test_the_command_explains_with_the_baseline_of_the_store(trained: Trained, tmp_path: Path) -> None:
    """Named by digest or folder, from the argument or standard input, the same table; HTML beside it if asked for."""
    digest, text = trained.refs[tagger_name("TagLM", 1)].digest, sentence_of(trained)
    page = tmp_path / "page.html"
    by_digest = trained.invoke("explain", digest[:12], text, "--n-best", "3", "--html", str(page))
    by_folder = trained.invoke("explain", str(trained.export), "-", "--n-best", "3", text=text)
    assert (by_digest.exit_code, by_folder.exit_code) == (0, 0), by_digest.output + by_folder.output
    assert by_digest.output.replace(f"{page}\n", "") == by_folder.output
    assert "≠" in by_folder.output
    assert page.read_text(encoding="utf-8").count("<tbody>") == by_folder.output.count("\nsentence ")
    alone = trained.invoke("explain", str(trained.export / BASELINE), text)
    assert alone.exit_code == 0
    assert "reads no language model" in alone.output
    missing = trained.invoke("explain", str(trained.export), text, "--baseline", "abcdef")
    assert isinstance(missing.exception, MissingObject)


def test_the_page_shows_any_text_literally(trained: Trained) -> None:
    """Markup in text, names and labels is escaped, and nothing is loaded from elsewhere."""
    tagger = Tagger.load(trained.export)
    text = "<script>alert('x')</script> & <img src=x onerror=y> Orikan."
    page = to_html(explain(tagger, text, tagger, n_best=1), "<b>model</b>", "<i>other</i>", tagger.labels)
    for markup in ("<script", "<img", "<b>model", "<i>other"):
        assert markup not in page
    assert "&lt;b&gt;model" in page
    assert not re.search(r"\b(src|href|url)\b\s*[=(]\s*['\"]?(http|//)", page)
    assert "The text is empty." in to_html([], "m", None, tagger.labels)


def test_a_model_card_says_what_the_store_knows(trained: Trained) -> None:
    """Every figure is that of a manifest or of the stored evaluation; the file is part of the sealed export."""
    card = (trained.export / CARD).read_text(encoding="utf-8")
    tagger, evaluation = trained.open(tagger_name("TagLM", 1)), trained.open(evaluation_name("TagLM", 1, "test"))
    entities = (read_json(trained.open("corpus/train").path / "counts.json") or {})["entities"]
    for kind, number in entities.items():
        assert f"| {kind} | {number:,} |" in card
    for name in ("corpus/train", "corpus/dev", "corpus/test", "corpus/text"):
        data_set = "plain" if name == "corpus/text" else "people"
        manifest = trained.open(name).manifest
        row = f"{manifest.counts['sentences']:,} | {manifest.counts['tokens']:,} | `{manifest.digest[:12]}` |"
        assert f"| {data_set} | {row}" in card
    for direction in ("forward", "backward"):
        model = trained.open(f"language-model/main/{direction}").manifest
        figures = f"{model.counts['training_tokens_total']:,} | {model.metrics['heldout/perplexity']:.2f}"
        assert f"{figures} | `{model.digest[:12]}` |" in card
    data = read_json(evaluation.path / "scores.json") or {}
    for name, found in [("all", data["scores"]["micro"]), *data["scores"]["per_type"].items()]:
        shares = " | ".join(f"{100 * found[share]:.2f}" for share in ("precision", "recall", "f1"))
        line = re.search(rf"\| {name} \| {found['gold']} \| {re.escape(shares)} \| ([\d.]+) to ([\d.]+) \|", card)
        assert line is not None
        assert float(line[1]) <= 100 * found["f1"] <= float(line[2])
    assert f"{100 * data['calibration']['spans']['error']:.2f} of spans" in card
    assert tagger.ref.digest in card
    assert f"torch {tagger.manifest.made['libraries']['torch']}" in card
    assert "read a document at a time" in card
    assert "### dev" not in card  # the store has no evaluation on dev
    assert CARD in read_index(trained.export).files
    check_files(trained.export, read_index(trained.export), digests=True)


def test_a_model_card_gives_the_settings_that_build_the_tagger_again(trained: Trained) -> None:
    """What the card says to save plans the very same objects."""
    card = (trained.export / CARD).read_text(encoding="utf-8")
    block = re.search(r"```yaml\n(.*?)```", card, re.DOTALL)
    assert block is not None
    again = Experiment.model_validate({**yaml.safe_load(block[1]), "run": {"store": str(trained.experiment.run.store)}})
    decision = PipelineContext.resolve(again).plan()[tagger_name("TagLM", 1)]
    assert decision.ref is not None
    assert decision.ref.digest == trained.refs[tagger_name("TagLM", 1)].digest


@pytest.mark.parametrize(
    "overrides",
    [[], ["labelled.train=a", "labelled.dev=b", "labelled.test=null", "variants=[{name: baseline}]"],
     ["labelled.train=demo:train", "labelled.name=mine", "labelled.test=null",
      "labelled.dev_sentences=5", "unlabelled.path=text.txt"],
     ["tagger.characters={kind: none}", "name=x", "language_models.main.softmax={kind: sampled}"]],
)  # fmt: skip
def test_shortest_settings_give_the_experiment_again(overrides: list[str]) -> None:
    """For every kind of source, also where defaults depend on what else is given."""
    experiment = load_experiment(None, overrides)
    settings = yaml.safe_load(yaml.safe_dump(shortest_settings(experiment)))
    assert Experiment.model_validate(settings) == experiment.model_copy(update={"run": Experiment().run})


def test_licences_are_in_the_card_and_in_no_key(trained: Trained) -> None:
    """A licence is named in the settings, now or in training; without one the card says that it is not recorded."""
    assert trained.experiment.labelled is not None
    labelled = trained.experiment.labelled.model_copy(update={"licence": "CC BY 4.0"})
    now = trained.experiment.model_copy(update={"labelled": labelled})
    tagger, index = trained.open(tagger_name("TagLM", 1)), read_index(trained.export)
    card = model_card(PipelineContext.resolve(now), tagger, index)
    assert "| labelled data | CC BY 4.0 |" in card
    assert "| text of the language models | not recorded;" in card
    before, after = build_graph(trained.experiment), build_graph(now)
    assert {name: step.config for name, step in before.items()} == {name: step.config for name, step in after.items()}
    other = trained.experiment.model_copy(update={"labelled": labelled.model_copy(update={"name": "other"})})
    assert "CC BY 4.0" not in model_card(PipelineContext.resolve(other), tagger, index)


def test_a_model_card_calls_unknown_what_is_gone(trained: Trained, tmp_path: Path) -> None:
    """Without corpora, language models and evaluations in the store there are no figures, and no guesses."""
    empty = Experiment.model_validate({**TINY, "run": {"store": str(tmp_path / "store")}})
    tagger, index = trained.open(tagger_name("TagLM", 1)), read_index(trained.export)
    card = model_card(PipelineContext.resolve(empty), tagger, index)
    assert "The store has no evaluation of this tagger." in card
    assert "There are no test figures." in card
    assert "numbers of entities are unknown" in card
    assert "| main, forward | unknown | unknown | unknown | unknown |" in card
    assert "Training of the language models: unknown" in card
