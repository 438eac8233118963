"""The sequence tagger: characters and words, two bidirectional layers, LM embeddings between them, a CRF on top.

    x_k  = [c_k ; w_k]                                  characters, word embedding
    h_k1 = [ahead ; back ; h_k^LM]                      layer 1, LM embedding (TagLM) or nothing (baseline)
    h_k2 = [ahead ; back]                               layer 2
    s_k  = dense(h_k2)                                  emissions of the CRF

Source: Peters et al. 2017, sections 3.1 and 3.3, equations 3 to 5.

Axes: B sentences, T tokens, N distinct words of the batch, C characters, D features, L features of the LM, K tags,
V words with trainable vectors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from taglm_core.nn.characters import CharCnn, CharRnn
from taglm_core.nn.crf import Crf
from taglm_core.nn.rnn import BiRnn, Cell

LmPosition = Literal["layer-1-output"]


@dataclass(frozen=True, eq=False)
class Batch:
    """Sentences as tensors, padded on the right; what stands at padding changes nothing, if finite.

    Attributes:
        words: word ids [B, T], int64; see `Tagger` for their meaning.
        distinct_chars: characters of the distinct words [N, C], int64, 0 = padding (see `taglm_core.nn.characters`).
        char_index: row in `distinct_chars` of each token [B, T], int64.
        lengths: tokens of each sentence [B], int64, 1..T.
        mask: True on tokens [B, T], bool.
        tags: gold tags [B, T], int64, or None.
        lm: LM embeddings [B, T, L], float32, or None.

    Raises:
        ValueError: shapes that do not fit each other, or lengths that are not those of the mask.
    """

    words: Tensor
    distinct_chars: Tensor
    char_index: Tensor
    lengths: Tensor
    mask: Tensor
    tags: Tensor | None = None
    lm: Tensor | None = None

    def __post_init__(self) -> None:
        shape = list(self.words.shape)
        if len(shape) != 2 or self.distinct_chars.dim() != 2:
            raise ValueError(
                f"words {shape}, distinct_chars {list(self.distinct_chars.shape)}; expected [B, T], [N, C]"
            )
        for name, tensor in (("char_index", self.char_index), ("mask", self.mask), ("tags", self.tags)):
            if tensor is not None and list(tensor.shape) != shape:
                raise ValueError(f"{name} has shape {list(tensor.shape)}; words {shape} need {shape}")
        if self.lm is not None and (self.lm.dim() != 3 or list(self.lm.shape[:2]) != shape):
            raise ValueError(f"lm has shape {list(self.lm.shape)}; words {shape} need [{shape[0]}, {shape[1]}, L]")
        if not torch.equal(self.mask.sum(1), self.lengths):
            raise ValueError(f"lengths {self.lengths.tolist()}; the mask has {self.mask.sum(1).tolist()} tokens")

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on a device."""
        present = {f.name: value.to(device) for f in fields(self) if (value := getattr(self, f.name)) is not None}
        return Batch(**present)


class Tagger(nn.Module):
    """Bidirectional RNN tagger with a CRF; with `lm_size` the TagLM, without it its baseline.

    Word ids 0..V-1 are rows of the trainable table, V and above are rows of the frozen one (words that only the
    word-vector file knows: training never sees them, and so must not move them). Id 0 is the unknown word, and trained.

    Args:
        tags: K.
        characters: character encoder, or None.
        word_vectors: first values of the trainable word embeddings [V, D] (`random_word_vectors`, or read from a file).
        frozen_vectors: rows for ids V and above [V2, D], not saved with the weights, or None.
        units: state size of one direction, of layer 1 and of layer 2.
        cell: "gru" or "lstm".
        dropout: rate on the input of each layer, LM embeddings included; never on recurrent connections.
        dropout_output: whether the output of layer 2 is dropped out as well (the chunking preset).
        lm_size: L, length of an LM embedding; 0 for the baseline.
        lm_position: where LM embeddings enter.
        start_end: whether the CRF scores first and last tags.
        constraints: transitions that the CRF allows [K, K], bool, or None for all.
        allowed_start: first tags that the CRF allows [K], bool, or None for all.
        allowed_end: last tags that the CRF allows [K], bool, or None for all.

    Initial values: RNNs as in `taglm_core.nn.rnn.init_rnn` (Xavier inputs, orthogonal recurrences, forget gates 1),
    Xavier dense layer without bias at first, CRF zero; all from torch's global generator, in the order characters,
    layer 1, layer 2, dense.
    """

    frozen_vectors: Tensor | None

    def __init__(
        self,
        tags: int,
        *,
        characters: CharCnn | CharRnn | None,
        word_vectors: Tensor,
        frozen_vectors: Tensor | None = None,
        units: tuple[int, int],
        cell: Cell,
        dropout: float,
        dropout_output: bool = False,
        lm_size: int = 0,
        lm_position: LmPosition = "layer-1-output",
        start_end: bool = False,
        constraints: Tensor | None = None,
        allowed_start: Tensor | None = None,
        allowed_end: Tensor | None = None,
    ) -> None:
        super().__init__()
        if lm_position != "layer-1-output":
            raise ValueError(f"lm_position is {lm_position!r}; expected 'layer-1-output'")
        self.dropout, self.dropout_output, self.lm_size = dropout, dropout_output, lm_size
        self.characters = characters
        self.words = nn.Embedding.from_pretrained(word_vectors.detach().clone(), freeze=False)
        self.register_buffer("frozen_vectors", None, persistent=False)
        self.set_frozen_vectors(frozen_vectors)
        inputs = word_vectors.shape[1] + (0 if characters is None else characters.size)
        self.layer1 = BiRnn(inputs, units[0], cell=cell)
        self.layer2 = BiRnn(self.layer1.size + lm_size, units[1], cell=cell)
        self.dense = nn.Linear(self.layer2.size, tags)
        nn.init.xavier_uniform_(self.dense.weight)
        nn.init.zeros_(self.dense.bias)
        self.crf = Crf(
            tags, start_end=start_end, constraints=constraints, allowed_start=allowed_start, allowed_end=allowed_end
        )

    def set_frozen_vectors(self, vectors: Tensor | None) -> None:
        """Put other vectors [V2, D] under the ids from V on (new text brings words that training did not have)."""
        size = self.words.embedding_dim
        if vectors is not None and (vectors.dim() != 2 or vectors.shape[1] != size):
            raise ValueError(f"frozen vectors have shape {list(vectors.shape)}; expected [V2, {size}]")
        self.frozen_vectors = None if vectors is None else vectors.detach().to(self.words.weight)

    def emissions(self, batch: Batch) -> Tensor:
        """Score of each tag at each token [B, T, K]; at padding the dense layer's bias.

        Raises:
            ValueError: LM embeddings that are missing, unexpected, or of another size than `lm_size`.
        """
        self._check_lm(batch)
        x = self._embed_words(batch.words)  # [B, T, D]
        if self.characters is not None:
            encoded = self.characters(batch.distinct_chars)  # [N, D]
            x = torch.cat((functional.embedding(batch.char_index, encoded), x), dim=2)
        h = self.layer1(self._drop(x), batch.lengths)
        if batch.lm is not None:  # the one place where LM embeddings enter (equation 5)
            h = torch.cat((h, batch.lm.to(h.dtype)), dim=2)
        h = self.layer2(self._drop(h), batch.lengths)
        if self.dropout_output:
            h = self._drop(h)
        return self.dense(h)

    def loss(self, batch: Batch) -> Tensor:
        """Negative log-likelihood of the gold tags, mean over the sentences: a scalar."""
        if batch.tags is None:
            raise ValueError(f"tags are missing; words {list(batch.words.shape)} need tags of the same shape")
        return self.crf.loss(self.emissions(batch), batch.tags, batch.mask).mean()

    @torch.no_grad()
    def decode(self, batch: Batch) -> list[list[int]]:
        """Best tags of each sentence, as many as it has tokens."""
        tags, _ = self.crf.decode(self.emissions(batch), batch.mask)
        return [row[:length] for row, length in zip(tags.tolist(), batch.lengths.tolist(), strict=True)]

    @torch.no_grad()
    def marginals(self, batch: Batch) -> Tensor:
        """Probability of each tag at each token [B, T, K], zero at padding."""
        return self.crf.marginals(self.emissions(batch), batch.mask)

    @torch.no_grad()
    def path_log_probs(self, batch: Batch, path: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities of the tags of a path [B, T], alone and after the tag before; see `crf_path_log_probs`."""
        return self.crf.path_log_probs(self.emissions(batch), path, batch.mask)

    def _drop(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.dropout, self.training)

    def _embed_words(self, ids: Tensor) -> Tensor:
        """Rows [B, T, D] of the trainable table, or of the frozen one for ids from V on."""
        if self.frozen_vectors is None:
            return self.words(ids)
        count = self.words.num_embeddings
        frozen = functional.embedding((ids - count).clamp(min=0), self.frozen_vectors)
        return torch.where((ids >= count).unsqueeze(-1), frozen, self.words(ids.clamp(max=count - 1)))

    def _check_lm(self, batch: Batch) -> None:
        expected = f"[{batch.words.shape[0]}, {batch.words.shape[1]}, {self.lm_size}]"
        if self.lm_size and batch.lm is None:
            raise ValueError(f"LM embeddings are missing; this tagger needs lm of shape {expected}")
        if batch.lm is not None and not self.lm_size:
            raise ValueError(f"lm has shape {list(batch.lm.shape)}, but this tagger was made without LM (lm_size 0)")
        if batch.lm is not None and batch.lm.shape[2] != self.lm_size:
            raise ValueError(f"lm has shape {list(batch.lm.shape)}; this tagger needs {expected}")


def random_word_vectors(words: int, dim: int, generator: torch.Generator) -> Tensor:
    """Word vectors [V, D], uniform with variance 1 / D (Ma and Hovy 2016, section 3.1)."""
    bound = math.sqrt(3 / dim)
    return torch.empty(words, dim).uniform_(-bound, bound, generator=generator)
