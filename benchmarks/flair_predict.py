"""flair's tagger in an environment of its own: trained in place by this program, then measured by predict.py.

    ../.venv-flair/bin/python flair_predict.py TRAIN DEV VECTORS FOLDER [--epochs 5]

The tagger has the parts of TagLM's baseline: frozen GloVe vectors and a character BiLSTM, a BiLSTM of 256 units a
direction, a CRF. The folder then holds `final-model.pt`.
"""

from __future__ import annotations

import argparse
import gzip
import tempfile
from pathlib import Path

import flair
import torch
from flair.data import Corpus, Dictionary
from flair.datasets import ColumnCorpus
from flair.embeddings import CharacterEmbeddings, StackedEmbeddings, TokenEmbeddings, WordEmbeddings
from flair.models import SequenceTagger
from flair.trainers import ModelTrainer


def vectors_of(path: Path) -> WordEmbeddings:
    """GloVe's text format as flair keeps it, with a row of zeros for other words."""
    opened = gzip.open if path.suffix == ".gz" else open
    vocabulary, rows = {}, []
    with opened(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            word, *values = line.rstrip().split(" ")
            vocabulary[word] = len(rows)
            rows.append([float(value) for value in values])
    found = WordEmbeddings(None, vocab=vocabulary, embedding_length=len(rows[0]), name=path.name)
    found.embedding.weight.data[:-1] = torch.tensor(rows)
    return found


def characters_of(corpus: Corpus) -> Dictionary:
    """The characters of the training sentences."""
    found = Dictionary()
    for character in sorted({c for sentence in corpus.train for token in sentence for c in token.text}):
        found.add_item(character)
    return found


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser()
    for name in ("train", "dev", "vectors", "folder"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--epochs", type=int, default=5)
    given = parser.parse_args()
    flair.set_seed(1)
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        for name in ("train", "dev"):
            (work / name).write_bytes(getattr(given, name).read_bytes())
        corpus: Corpus = ColumnCorpus(
            work,
            {0: "text", 3: "ner"},
            train_file="train",
            dev_file="dev",
            test_file="dev",
            sample_missing_splits=False,
        )
        parts: list[TokenEmbeddings] = [vectors_of(given.vectors), CharacterEmbeddings(characters_of(corpus))]
        labels = corpus.make_label_dictionary("ner", add_unk=False)
        tagger = SequenceTagger(StackedEmbeddings(parts), labels, "ner", hidden_size=256, use_crf=True)
        ModelTrainer(tagger, corpus).train(
            given.folder, optimizer=torch.optim.Adam, learning_rate=1e-3, mini_batch_size=32, max_epochs=given.epochs,
            monitor_test=False, train_with_dev=False, embeddings_storage_mode="none",
        )  # fmt: skip


if __name__ == "__main__":
    main()
