"""The samples in data/README.md are files that its settings read."""

from __future__ import annotations

import re
import runpy
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from taglm_core.config.experiment import Experiment
from taglm_core.corpus.parquet import read_corpus
from taglm_core.corpus.schemes import to_spans
from taglm_core.pipeline.context import PipelineContext
from tests.building import build_up_to

README = Path(__file__).parents[2] / "data" / "README.md"
_FILE = re.compile(r"^`([^`\n]+)`:\n\n```\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXPECTED = {  # sentences and entities
    "CoNLL columns": (1, 2), "doccano": (2, 3), "Label Studio": (1, 1), "Prodigy": (2, 1),
    "Tokens with tags in JSON lines": (2, 2), "brat": (1, 2), "CoNLL-U and CoNLL-U Plus": (1, 1),
    "Parquet, Arrow, Feather": (2, 1), "spaCy's DocBin": (1, 1), "Unlabelled text, tokenised": (2, 0),
    "Unlabelled text, raw": (3, 0), "Unlabelled text in JSON, Parquet or CoNLL-U": (3, 0),
}  # fmt: skip


def sections() -> dict[str, str]:
    title, *parts = re.split(r"^### (.+)\n", README.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert title.startswith("# data/")
    return dict(zip(parts[::2], parts[1::2], strict=True))


def block(section: str, kind: str) -> str:
    found = re.search(rf"^```{kind}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return "" if found is None else found[1]


def test_every_format_has_a_sample() -> None:
    assert sections().keys() == EXPECTED.keys()


@pytest.mark.parametrize("name", EXPECTED)
def test_samples_are_read(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each sample is written to its file, and read with the settings beside it, the split into two parts aside."""
    section = sections()[name]
    if "extra `spacy`" in section and find_spec("spacy") is None:
        pytest.skip("the extra spacy")
    monkeypatch.chdir(tmp_path)
    files = _FILE.findall(section)
    for path, text in files:
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).write_text(text, encoding="utf-8")
        assert len(text.splitlines()) <= 5
    if code := block(section, "python"):
        Path("write.py").write_text(code, encoding="utf-8")
        runpy.run_path("write.py")
    assert files or code
    settings = yaml.safe_load(block(section, "yaml"))
    split = "train" if "labelled" in settings else "text"
    if split == "train":
        settings["labelled"]["dev"] = settings["labelled"]["train"]
        del settings["labelled"]["dev_sentences"]
        settings["variants"] = [{"name": "baseline"}]
    experiment = Experiment.model_validate({**settings, "run": {"store": "store", "tracking": False}})
    ref = build_up_to(experiment, f"corpus/{split}")[f"corpus/{split}"]
    stored = list(read_corpus(PipelineContext.resolve(experiment).store.folder(ref)))
    assert (len(stored), sum(len(to_spans(one.tags or ())) for one in stored)) == EXPECTED[name]
