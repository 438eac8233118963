"""An exported tagger: a plain folder with everything that tagging needs, for any machine and any version of torch.

tagger.json               format, tokenizer record, language models, word vectors, files with sizes and digests
tagger/                   settings, tags, trainable words, parameters
language-model-*/         each direction of each language model, without its softmax
vector-table.arrow        word vectors, if any
README.md                 model card
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from taglm_core.corpus.vector_table import TABLE_FILE, VectorTable
from taglm_core.corpus.word_vectors import VECTORS_FILE
from taglm_core.errors import ConfigError, DamagedObject, MismatchError
from taglm_core.lm.model import SOFTMAX, WEIGHTS
from taglm_core.store.digests import file_sha256
from taglm_core.store.durable import read_json, write_json
from taglm_core.tagging.online_vectors import TableVectors, VectorSource
from taglm_core.tagging.prediction import Predictor
from taglm_core.tagging.trained import load_spec
from taglm_core.text.segmenter import TokenizerRecord
from taglm_core.text.spelling import Spelling

FORMAT = 1
INDEX, TAGGER, CARD, BASELINE = "tagger.json", "tagger", "README.md", "baseline"
_TAGGER_FILES = ("config.json", "words.json", "weights.safetensors")
_MODEL_FILES = ("config.json", "vocabulary.parquet", "break_state.safetensors")


class VectorsIncluded(StrEnum):
    """Word vectors that an export includes."""

    TABLE = "table"  # all of the file
    NEEDED = "needed"  # those of words in the labelled corpora
    REFERENCE = "reference"  # none; who loads the tagger gives the file


@dataclass(frozen=True, slots=True)
class ExportedTagger:
    """What the index of an export says.

    Attributes:
        digest: digest of the tagger in its store.
        text: how raw text is tokenised.
        language_models: folder of each language model, in the order in which the tagger reads them.
        vectors: word vectors that are included, or None if the tagger reads no file.
        facts: facts for people: experiment, variant, seed, dev F1.
        files: bytes and SHA-256 of each file by path.
    """

    digest: str
    text: TokenizerRecord
    language_models: tuple[str, ...] = ()
    vectors: VectorsIncluded | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, tuple[int, str]] = field(default_factory=dict)


def spelling_of(tagger: Path) -> Spelling:
    """Return how the training data of a tagger writes quotation marks and brackets."""
    return Spelling.of(frozenset(load_spec(tagger)[0].words.words))


def model_folder(name: str, direction: str) -> str:
    """Return the folder of a direction of a language model in an export."""
    return f"language-model-{name}-{direction}"


def write_export(
    folder: Path,
    tagger: Path,
    language_models: Mapping[tuple[str, str], Path],
    *,
    digest: str,
    text: TokenizerRecord,
    table: Path | None = None,
    vectors: VectorsIncluded = VectorsIncluded.TABLE,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Write an export into a new folder; a model card is added by the caller before `seal_export`.

    Args:
        folder: a folder that does not exist, or is empty.
        tagger: folder of the tagger.
        language_models: folder of each language model by name and direction.
        digest: digest of the tagger.
        text: how raw text is tokenised.
        table: folder of the table of word vectors to include; None for none.
        vectors: which vectors the table holds.
        facts: facts for people.

    Raises:
        ConfigError: the folder has files.
        MismatchError: a language model that the tagger reads is not given.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder}: found files; give a folder that is new or empty")
    spec, known = load_spec(tagger)
    (folder / TAGGER).mkdir(parents=True, exist_ok=True)
    for name in _TAGGER_FILES:
        shutil.copyfile(tagger / name, folder / TAGGER / name)
    names = []
    for source in spec.lm:
        role = (source.name, source.direction)
        if role not in language_models:
            raise MismatchError(f"the tagger reads language model {' '.join(role)}, which is not given")
        names.append(model_folder(*role))
        _copy_model(language_models[role], folder / names[-1])
    if table is not None:
        shutil.copyfile(table / TABLE_FILE, folder / TABLE_FILE)
    index = ExportedTagger(
        digest, text, tuple(names), vectors if known.get("vector_samples") else None, facts or {}, {}
    )
    _write_index(folder, index)


def seal_export(folder: Path) -> ExportedTagger:
    """Record sizes and digests of all files of an export in its index."""
    index = read_index(folder)
    files = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != INDEX):
        if BASELINE not in path.relative_to(folder).parts:  # an export of its own
            files[path.relative_to(folder).as_posix()] = (path.stat().st_size, file_sha256(path))
    sealed = replace(index, files=files)
    _write_index(folder, sealed)
    return sealed


def read_index(folder: Path) -> ExportedTagger:
    """Read the index of an export.

    Raises:
        ConfigError: the folder is no export, or one of a later version.
    """
    data = read_json(folder / INDEX)
    if not isinstance(data, dict):
        raise ConfigError(
            f"{folder}: found no exported tagger (no {INDEX}); expected a folder that `taglm export` wrote, or a "
            "registered model such as models:/taglm-demo@champion"
        )
    if data.get("format") != FORMAT:
        raise ConfigError(
            f"{folder}: found format {data.get('format')}; expected {FORMAT}; another version of TagLM wrote it: "
            "export the tagger again, or use that version"
        )
    return ExportedTagger(
        data["digest"],
        TokenizerRecord.from_json(data["text"]),
        tuple(data["language_models"]),
        None if data["vectors"] is None else VectorsIncluded(data["vectors"]),
        data["facts"],
        {name: (size, digest) for name, (size, digest) in data["files"].items()},
    )


def check_files(folder: Path, index: ExportedTagger, *, digests: bool = False) -> None:
    """Compare the files of an export with its index.

    Args:
        folder: the export.
        index: its index.
        digests: whether to compare the bytes as well as the sizes.

    Raises:
        DamagedObject: a file is missing, truncated or changed; names it.
    """
    for name, (size, digest) in index.files.items():
        path = folder / name
        found = path.stat().st_size if path.is_file() else None
        if found != size:
            what = "no file" if found is None else f"{found:,} bytes"
            raise DamagedObject(f"{path}: found {what}, expected {size:,} bytes; export or copy the tagger again")
        if digests and file_sha256(path) != digest:
            raise DamagedObject(f"{path}: found other bytes than those exported; export or copy the tagger again")


def load_export(
    folder: Path, *, device: torch.device | None = None, vectors: Path | None = None, digests: bool = False
) -> tuple[Predictor, ExportedTagger]:
    """Open an export.

    Args:
        folder: the export.
        device: device for computing; the CPU if not given.
        vectors: the file of word vectors, in place of the included ones.
        digests: whether to compare the bytes of all files as well as their sizes.

    Raises:
        ConfigError: the folder is no export.
        DamagedObject: a file is missing or damaged.
        MismatchError: the file of word vectors is not that of training.
    """
    index = read_index(folder)
    check_files(folder, index, digests=digests)
    source: Path | VectorSource | None = vectors
    if vectors is None and (folder / TABLE_FILE).is_file():
        spec, known = load_spec(folder / TAGGER)
        samples = known.get("vector_samples", {})
        source = TableVectors(VectorTable(folder), spec.words, spec.word_size, samples)
    models = [folder / name for name in index.language_models]
    return Predictor.load(folder / TAGGER, models, device, source), index


def _write_index(folder: Path, index: ExportedTagger) -> None:
    data = {"format": FORMAT, **asdict(index), "text": index.text.to_json()}
    write_json(folder / INDEX, data, sort_keys=True)


def _copy_model(source: Path, target: Path) -> None:
    """Copy a language model without its softmax, the larger part of most."""
    target.mkdir()
    for name in _MODEL_FILES:
        shutil.copyfile(source / name, target / name)
    if (source / VECTORS_FILE).is_file():
        shutil.copyfile(source / VECTORS_FILE, target / VECTORS_FILE)
    with safe_open(source / WEIGHTS, framework="pt") as weights:
        names = [name for name in weights.keys() if not name.startswith(SOFTMAX)]  # noqa: SIM118
        save_file({name: weights.get_tensor(name) for name in names}, target / WEIGHTS)
