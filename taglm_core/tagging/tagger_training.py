"""Training of a tagger: the task that the training loop runs; decoding and confidences."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from taglm_core.config.tagger import TaggerConfig
from taglm_core.evaluation.spans import SpanPair, conlleval_spans, encode_tags
from taglm_core.nn.tagger_network import Batch, Tagger
from taglm_core.tagging.dataset import Dataset, reading_batches, training_batches
from taglm_core.tagging.words import FIRST_WORD_ID, UNKNOWN_ID
from taglm_core.training.annealing import Annealing
from taglm_core.training.checkpoints import TrainingState, pack_optimizer, unpack_optimizer
from taglm_core.training.devices import PLAIN, Device
from taglm_core.training.journal import Journal
from taglm_core.training.randomness import numpy_generator

DECODING_BATCH = 64


class TaggerTraining:
    """Epochs of shuffled batches; dev F1 after each epoch drives the schedule. Without dev the epochs are given.

    Args:
        network: the tagger, on its device.
        train: training split, with tags.
        dev: development split and its gold tags (possibly with tags that training lacks); None if dev is trained on:
            then nothing is scored, and the last model is the result.
        tags: K tag names by code.
        config: settings.
        seed: seed of the batches.
        droppable: word rows [n] that word dropout may replace by the unknown word: seen once, without a vector.
        first_phase: number of epochs of the first phase; None with dev.
        device: device and training precision; dev is always scored in float32.
    """

    def __init__(
        self,
        network: Tagger,
        train: Dataset,
        dev: tuple[Dataset, Sequence[Sequence[str]]] | None,
        tags: Sequence[str],
        config: TaggerConfig,
        seed: int,
        droppable: Tensor,
        first_phase: int | None = None,
        device: Device = PLAIN,
    ) -> None:
        if (dev is None) != (first_phase is not None):
            raise ValueError(
                f"dev is {'missing' if dev is None else 'given'} and first_phase {first_phase}; expected one of them"
            )
        self.model: nn.Module = network
        self.optimizers: Sequence[torch.optim.Optimizer] = [torch.optim.Adam(network.parameters())]
        self.clip, self.loss_scale, self.accumulate, self.step = config.clip, 1.0, 1, 0
        self.schedule = Annealing(
            learning_rate=config.learning_rate,
            patience=config.patience if first_phase is None else first_phase,
            max_epochs=config.max_epochs if first_phase is None else first_phase,
            phases=[(phase.learning_rate, phase.epochs) for phase in config.annealing],
        )
        self._network, self._train, self._dev, self._tags = network, train, dev, tags
        self._config, self._seed, self._droppable = config, seed, droppable
        self._device = device
        self._finished, self._done = False, 0  # finished batches of the current epoch
        self._losses: list[float] = []
        self._best: dict[str, Tensor] = {}  # weights and moments of the best epoch
        self._seconds = 0.0  # training time of the epoch in this process
        self._start_epoch()

    def finished(self) -> bool:
        """Return whether the schedule has ended."""
        return self._finished

    def loss(self) -> Tensor:
        """Return the mean negative log-likelihood of the sentences of the next batch."""
        self._begun = time.monotonic()
        for group in self.optimizers[0].param_groups:
            group["lr"] = self.schedule.learning_rate
        batch = self._train.batch(self._batches[self._done].tolist())
        batch.words[self._forgotten(batch)] = UNKNOWN_ID
        with self._device.autocast():
            return self._network.loss(batch.to(self._device.torch))

    def where(self) -> str:
        """Return the position in the training split."""
        return f"epoch {self.schedule.epoch + 1}, batch {self._done + 1} of {len(self._batches)}"

    def after_step(self, loss: float, journal: Journal) -> None:
        """Count the batch; at the end of an epoch score dev and move the schedule on."""
        self._seconds += time.monotonic() - self._begun
        self._losses.append(loss)
        self._done += 1
        if self._done < len(self._batches):
            return
        metrics = {"train/loss": float(np.mean(self._losses)), "learning_rate": self.schedule.learning_rate}
        if self._dev is None:  # every epoch counts as better than the last
            verdict = self.schedule.observe(self.schedule.epoch + 1.0)
            text = f"loss {metrics['train/loss']:.4f}"
        else:
            f1 = metrics["dev/f1"] = self.dev_f1()
            verdict = self.schedule.observe(f1)
            best, best_epoch = self.schedule.best
            text = f"dev F1 {100 * f1:.2f} (best {100 * best:.2f} at {best_epoch})"
        if verdict.best:
            self._keep_best()
        epoch, speed = self.schedule.epoch, len(self._train) / max(1e-9, self._seconds)
        journal.metrics(epoch, metrics)
        text = f"epoch {epoch}: {text}, {speed:,.0f} sentences/s"
        journal.progress(epoch, epoch, self.schedule.most_epochs, text)
        if verdict.rewind or verdict.finished:
            self._restore_best(with_moments=verdict.rewind)
        self._finished = verdict.finished
        self._start_epoch()

    def dev_f1(self) -> float:
        """Compute span F1 on dev, by conlleval's rules on the mapped tags."""
        if self._dev is None:
            raise ValueError("this tagger is trained on dev; it has nothing to be scored on")
        data, gold = self._dev
        return SpanPair(encode_tags(gold, decode_all(self._network, data, self._tags))).counts().micro.f1

    def pack(self) -> TrainingState:
        """Return the schedule, the position in the epoch and the best model."""
        data: dict[str, Any] = {
            "schedule": self.schedule.pack(),
            "done": self._done,
            "losses": self._losses,
            "finished": self._finished,
        }
        return TrainingState({f"best.{name}": tensor for name, tensor in self._best.items()}, data)

    def unpack(self, state: TrainingState) -> None:
        """Restore what `pack` returned."""
        self.schedule.unpack(state.data["schedule"])
        self._start_epoch()
        self._done, self._losses = state.data["done"], list(state.data["losses"])
        self._finished = state.data["finished"]
        self._best = {name.removeprefix("best."): tensor for name, tensor in state.tensors.items()}

    def _start_epoch(self) -> None:
        generator = numpy_generator(self._seed, "batches", self.schedule.epoch)
        self._batches = training_batches(self._train.lengths, self._config.batch_size, generator)
        self._done, self._losses, self._seconds = 0, [], 0.0

    def _forgotten(self, batch: Batch) -> Tensor:
        """Draw the words [B, T] of a training batch that become unknown, by torch's generator like all dropout."""
        rate = self._config.words.dropout
        if rate == 0:
            return torch.zeros_like(batch.mask)
        return torch.isin(batch.words, self._droppable) & (torch.rand(batch.words.shape) < rate)

    def _keep_best(self) -> None:
        weights = {f"model.{name}": tensor for name, tensor in self._network.state_dict().items()}
        tensors = weights | pack_optimizer(self.optimizers[0], "moments")
        self._best = {name: tensor.detach().clone() for name, tensor in tensors.items()}

    def _restore_best(self, *, with_moments: bool) -> None:
        weights = {name: tensor for name, tensor in self._best.items() if name.startswith("model.")}
        self._network.load_state_dict({name.removeprefix("model."): tensor for name, tensor in weights.items()})
        if with_moments:
            unpack_optimizer(
                self.optimizers[0], "moments", {name: tensor.clone() for name, tensor in self._best.items()}
            )


def decode_all(network: Tagger, data: Dataset, tags: Sequence[str]) -> list[list[str]]:
    """Return the best tags of every sentence, in sentence order."""
    network.eval()
    device = next(network.parameters()).device
    predicted: list[list[str]] = [[]] * len(data)
    with torch.no_grad():
        for chosen in reading_batches(data.lengths, DECODING_BATCH):
            decoded = network.decode(data.batch(chosen.tolist()).to(device))
            for number, codes in zip(chosen.tolist(), decoded, strict=True):
                predicted[number] = [tags[code] for code in codes]
    return predicted


class Confidences(NamedTuple):
    """Posterior probabilities of predictions, by sentence.

    Attributes:
        tokens: probability of each tag.
        spans: probability of the tags of each span, in the order of `conlleval_spans`.
    """

    tokens: list[list[float]]
    spans: list[list[float]]


def confidences(network: Tagger, data: Dataset, predicted: Sequence[Sequence[str]], tags: Sequence[str]) -> Confidences:
    """Compute the tagger's confidence in its tags and spans, by forward-backward.

    Args:
        network: the tagger.
        data: the sentences.
        predicted: its tags of all sentences.
        tags: K tag names by code.
    """
    network.eval()
    device = next(network.parameters()).device
    codes = {tag: code for code, tag in enumerate(tags)}
    result = Confidences([[]] * len(data), [[]] * len(data))
    for chosen in reading_batches(data.lengths, DECODING_BATCH):
        rows = chosen.tolist()
        path = pad_sequence([torch.tensor([codes[tag] for tag in predicted[number]]) for number in rows], True)
        found = network.path_log_probs(data.batch(rows).to(device), path.to(device))
        alone, after = (x.double().cpu().numpy() for x in found)  # [B, T]
        for row, number in enumerate(rows):
            spans = conlleval_spans(predicted[number])
            sums = [alone[row, span.start] + after[row, span.start + 1 : span.end].sum() for span in spans]
            result.tokens[number] = np.exp(alone[row, : len(predicted[number])]).tolist()
            result.spans[number] = np.exp(sums).tolist()
    return result


def droppable_rows(single: int, rows: int, with_vector: set[int]) -> Tensor:
    """Return the rows of words seen once (the last `single` of the table) that have no vector."""
    first = max(FIRST_WORD_ID, rows - single)
    return torch.tensor([row for row in range(first, rows) if row not in with_vector], dtype=torch.int64)
