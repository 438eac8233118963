"""Word vectors of a file beside what a language model learns: looked up, read, kept with the model, never trained."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from flows.cli_doctor import check, resolved
from taglm_core.config.language_model import CharCnnInput, FullSoftmax, LanguageModelConfig, WordInput
from taglm_core.errors import InputError, MismatchError
from taglm_core.lm.lm_vocabulary import LmVocabulary
from taglm_core.lm.model import WordTable, build_network, load_language_model, save_language_model
from taglm_core.lm.pretrained import NO_ROW, PretrainedVectors
from taglm_core.nn.lm_network import WithVectors
from taglm_core.pipeline.plan import recipe_of
from tests.lm.conftest import VECTORS, WORDS, Small, small_config
from tests.lm.test_continuing import SHORT, Weeks
from tests.lm.test_continuing import VECTORS as BESIDE

pytestmark = pytest.mark.usefixtures("no_pictures")

FILE = "the 1 2 3\nParis 4 5 6\nparis 7 8 9\n00 1 1 1\nthe 9 9 9\n"


def test_all_rows_of_a_file_are_read(tmp_path: Path) -> None:
    """In its order, the first of several; a word is looked up as it stands, in lower case, then with digits as 0."""
    (tmp_path / "v.txt").write_text(FILE)
    vectors = PretrainedVectors.read(tmp_path / "v.txt")
    assert vectors.words == ("the", "Paris", "paris", "00")
    assert vectors.matrix.tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9], [1, 1, 1]]
    assert vectors.rows(["The", "Paris", "PARIS", "42", "nowhere", "the"]).tolist() == [0, 1, 2, 3, NO_ROW, 0]


def test_rows_beyond_the_limit_are_left_out_but_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taglm_core.lm.pretrained.MOST_ROWS", 2)
    (tmp_path / "v.txt").write_text(FILE)
    vectors = PretrainedVectors.read(tmp_path / "v.txt")
    assert (vectors.words, vectors.in_file) == (("the", "Paris"), 5)
    (tmp_path / "v.txt").write_text(FILE + "x 1 2\n")
    with pytest.raises(InputError, match=r"v\.txt.*6.*2 values"):
        PretrainedVectors.read(tmp_path / "v.txt")


@pytest.mark.parametrize("entry", [WordInput(size=12), CharCnnInput(dim=4, filters=((1, 4), (2, 8)), size=12)])
def test_they_are_projected_and_added_to_what_is_learnt(entry: WordInput | CharCnnInput) -> None:
    """Against the sum by hand; a word without a row has nothing added. Only the projection has a gradient."""
    config = small_config(entry.kind, vectors="a file")
    vocabulary = LmVocabulary(WORDS[:20], shapes=True)
    torch.manual_seed(1)
    encoder = build_network(config, len(vocabulary), vectors=VECTORS).encoder
    assert isinstance(encoder, WithVectors)
    words = ["w2", "W4", "w3", "w28", "w25"]  # known, by lower case, without a row, unknown, by digits
    beside = WordTable(words, vocabulary, config, VECTORS)
    alone = WordTable(words, vocabulary, small_config(entry.kind))
    numbers = np.array([4, 0, 1, 2, 3])
    found = encoder(beside.distinct(numbers))
    learnt = encoder.encoder(alone.distinct(numbers))
    for row, number in enumerate(numbers):
        place = VECTORS.rows([words[number]])[0]
        added = np.zeros(7, np.float32) if place == NO_ROW else VECTORS.matrix[place]
        expected = learnt[row] + encoder.projection.weight @ torch.from_numpy(added)
        assert torch.allclose(found[row], expected, atol=1e-6)
    assert VECTORS.rows(words).tolist() == [0, 1, NO_ROW, 13, 14]
    found.sum().backward()
    assert encoder.projection.weight.grad is not None
    assert not encoder.vectors.requires_grad
    assert all(parameter is not encoder.vectors for parameter in encoder.parameters())
    assert "encoder.vectors" not in encoder.state_dict()


def test_they_lie_with_the_model(small: Small, folder: Path) -> None:
    """A model that is opened again reads any word as before, words that its own text never had included."""
    save_language_model(small.lm, folder)
    again = load_language_model(folder, torch.device("cpu"), predicts=False)
    assert (folder / "vectors.arrow").exists() == (small.lm.vectors is not None)
    words = [*WORDS, "elsewhere", "W28", "w77"]
    numbers = np.arange(len(words))
    before = small.lm.network.encoder(small.lm.table(words).distinct(numbers))
    assert torch.equal(again.network.encoder(again.table(words).distinct(numbers)), before)


def test_settings_and_vectors_must_agree() -> None:
    with pytest.raises(ValueError, match="no vectors"):
        build_network(small_config("word", vectors="a file"), 40)
    with pytest.raises(ValueError, match="no vectors"):
        WordTable(WORDS, LmVocabulary(WORDS, shapes=True), small_config("char-cnn", vectors="a file"))
    with pytest.raises(ValueError, match="some vectors"):
        build_network(small_config("word"), 40, vectors=VECTORS)


def test_models_without_keep_their_settings() -> None:
    """And with them the keys they had before there were vectors; where the file lies says nothing of the shape."""
    plain, here, there = (LanguageModelConfig(vectors=path, softmax=FullSoftmax()) for path in (None, "a", "b"))
    assert "vectors" not in plain.model_dump(mode="json")
    assert here.shape() == there.shape() != plain.shape()


def test_a_model_that_goes_on_has_the_vectors_of_its_base(tmp_path: Path) -> None:
    """The file is not looked for again, and the same settings without vectors are another shape."""
    weeks = Weeks(tmp_path, BESIDE)
    first = weeks.run("a", SHORT)
    (tmp_path / "vectors.txt").unlink()
    experiment = weeks.experiment("b", SHORT)
    rows = check(experiment, resolved(experiment).graph)
    assert [row.found for row in rows if "vectors.txt" in row.found] == []
    second = weeks.run("b", SHORT)
    assert second.manifest.recipe.inputs["base"] == first.ref.digest
    base, now = (load_language_model(artifact.path, torch.device("cpu")) for artifact in (first, second))
    assert base.vectors is not None
    assert now.vectors is not None
    assert now.vectors.words == base.vectors.words == tuple(f"w{number}" for number in range(40))
    assert np.array_equal(now.vectors.matrix, base.vectors.matrix)
    assert first.manifest.counts["words_with_vectors"] == first.manifest.counts["words"] - 1  # but the boundary mark
    apart = weeks.run("c", SHORT, "language_models.main.vectors=null")
    assert "base" not in apart.manifest.recipe.inputs
    base_of = f"language_models.main.continue_from={{forward: '{first.ref.digest}'}}"
    with pytest.raises(MismatchError, match=r"main\.vectors is none, in the base a file"):
        weeks.experiment("c", SHORT, base_of, "language_models.main.vectors=null")


def test_the_bytes_of_the_file_count_not_its_place(tmp_path: Path) -> None:
    """A moved file is the same model; another file is another one."""
    weeks = Weeks(tmp_path, BESIDE)

    def key(path: Path) -> str:
        step, inputs = weeks.inputs(weeks.experiment("a", SHORT, f"language_models.main.vectors={path}"))
        return recipe_of(weeks.store, step, {role: ref.digest for role, ref in inputs.items()}).key

    first, moved = tmp_path / "vectors.txt", tmp_path / "moved.txt"
    shutil.copy(first, moved)
    assert key(first) == key(moved)
    moved.write_text(moved.read_text() + "more 1 2 3\n")
    assert key(first) != key(moved)


def test_several_files_are_refused(tmp_path: Path) -> None:
    weeks = Weeks(tmp_path, BESIDE)
    (tmp_path / "more").mkdir()
    for name in "ab":
        (tmp_path / "more" / name).write_text(FILE)
    with pytest.raises(InputError, match=r"more: found 2 files.*of them a; expected one file"):
        weeks.run("a", SHORT, f"language_models.main.vectors={tmp_path / 'more'}")
