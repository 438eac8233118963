"""flair's tagger in an environment of its own, started by tagger_training.py: a line of JSON in, a line of JSON out.

The first line holds the sentences; each one after it names what to do, and is answered by a line with seconds. A step
is that of flair's ModelTrainer without its logging: forward, backward, clip, Adam, embeddings forgotten.
"""

from __future__ import annotations

import json
import logging
import random
import sys
import time
from typing import Any

import flair
import torch
from flair.data import Dictionary, Sentence
from flair.embeddings import CharacterEmbeddings, OneHotEmbeddings, StackedEmbeddings, TokenEmbeddings
from flair.models import SequenceTagger
from flair.training_utils import store_embeddings


def read_sentences(given: dict[str, Any]) -> list[Sentence]:
    """Sentences with their spans (type, start, end)."""
    sentences = []
    for tokens, spans in zip(given["tokens"], given["spans"], strict=True):
        sentence = Sentence(tokens)
        for label, start, end in spans:
            sentence[start:end].add_label("ner", label)
        sentences.append(sentence)
    return sentences


def build(given: dict[str, Any], *, characters: bool) -> SequenceTagger:
    """The tagger; each word has the row that it has on our side, so both tables are of one size."""
    words = Dictionary()
    words.idx2item += [row.encode() for row in given["rows"]]
    words.item2idx |= {token.encode(): row for token, row in given["row_of"].items()}
    parts: list[TokenEmbeddings] = [OneHotEmbeddings(words, embedding_length=given["word_size"])]
    if characters:
        symbols = Dictionary()
        for symbol in sorted({symbol for token in given["row_of"] for symbol in token}):
            symbols.add_item(symbol)
        parts.append(CharacterEmbeddings(symbols, given["character_size"], given["character_units"]))
    labels = Dictionary(add_unk=False)
    labels.span_labels = True
    for label in given["labels"]:
        labels.add_item(label)
    return SequenceTagger(
        StackedEmbeddings(parts), labels, "ner", hidden_size=given["units"], rnn_layers=1, use_crf=True,
        reproject_embeddings=False, dropout=0.0, word_dropout=given["word_dropout"],
        locked_dropout=given["locked_dropout"],
    )  # fmt: skip


class Side:
    """What is kept between requests.

    Args:
        given: the first line.
    """

    def __init__(self, given: dict[str, Any]) -> None:
        self._sentences, self._clip, self._size = read_sentences(given), given["clip"], given["batch_size"]
        self._taggers = {name: build(given, characters=name == "characters") for name in ("words", "characters")}
        rate = given["learning_rate"]
        self._adams = {name: torch.optim.Adam(one.parameters(), lr=rate) for name, one in self._taggers.items()}

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what was asked for."""
        tagger = self._taggers[request["tagger"]]
        if request["do"] == "count":
            return {"parameters": sum(parameter.numel() for parameter in tagger.parameters())}
        batches = request["batches"] or self._shuffled() if request["do"] == "train" else []
        begun = time.process_time()
        if request["do"] == "train":
            self._train(request["tagger"], [[self._sentences[number] for number in batch] for batch in batches])
        else:
            tagger.eval()
            tagger.predict(self._sentences, mini_batch_size=request["batch_size"], label_name="predicted")
        return {"seconds": time.process_time() - begun}

    def _shuffled(self) -> list[list[int]]:
        """An epoch as flair draws it."""
        order = random.sample(range(len(self._sentences)), len(self._sentences))
        return [order[start : start + self._size] for start in range(0, len(order), self._size)]

    def _train(self, name: str, batches: list[list[Sentence]]) -> None:
        tagger, adam = self._taggers[name], self._adams[name]
        tagger.train()
        for batch in batches:
            adam.zero_grad()
            loss, _ = tagger.forward_loss(batch)
            loss.item()
            loss.backward()
            store_embeddings(batch, "none")
            torch.nn.utils.clip_grad_norm_(tagger.parameters(), self._clip)
            adam.step()


def main() -> None:
    """Answer until there are no more requests."""
    logging.getLogger("flair").setLevel(logging.ERROR)  # it writes to the standard output
    torch.set_num_threads(1)
    flair.set_seed(1)
    side = Side(json.loads(sys.stdin.readline()))
    for line in sys.stdin:
        sys.stdout.write(json.dumps(side.answer(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
