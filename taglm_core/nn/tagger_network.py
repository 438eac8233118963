"""The sequence tagger: characters and words, bidirectional layers, LM embeddings between them, a CRF on top.

    x_k  = [c_k ; w_k]                                  characters, word embedding
    h_k1 = [forward ; backward ; h_k^LM]                layer 1, LM embedding (TagLM) or nothing (baseline)
    h_k2 = [forward ; backward]                         layer 2
    s_k  = dense(h_k2)                                  emissions of the CRF

LM embeddings may also enter beside x_k or beside the states of another layer. The paper compares these positions.

Source: Peters et al. 2017, sections 3.1 and 3.3, equations 3 to 5; section 5.1 for the other positions.

Axes: B sentences, T tokens, N distinct words of the batch, C characters, D features, L features of the LM, K tags,
V words with trainable vectors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn
from torch.nn import functional

from taglm_core.nn.characters import CharCnn, CharRnn
from taglm_core.nn.crf import Crf
from taglm_core.nn.lm_embedding_mixer import LmEmbeddingMixer
from taglm_core.nn.rnn import BiRnn, Cell


@dataclass(frozen=True, eq=False)
class Batch:
    """Sentences as tensors, padded on the right. Values at padding change nothing, if finite.

    Attributes:
        words: word ids [B, T], int64; see `Tagger` for their meaning.
        distinct_chars: characters of the distinct words [N, C], int64, 0 = padding (see `taglm_core.nn.characters`).
        char_index: row in `distinct_chars` of each token [B, T], int64.
        lengths: tokens of each sentence [B], int64, 1..T.
        mask: True on tokens [B, T], bool.
        tags: gold tags [B, T], int64, or None.
        lm: LM embeddings [B, T, L], float32, or None.
        encoded_chars: output of the character encoder for `distinct_chars` [N, D], where it is known already, or None.

    Raises:
        ValueError: shapes do not fit each other, or the lengths are not those of the mask.
    """

    words: Tensor
    distinct_chars: Tensor
    char_index: Tensor
    lengths: Tensor
    mask: Tensor
    tags: Tensor | None = None
    lm: Tensor | None = None
    encoded_chars: Tensor | None = None

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
        """Return the batch on a device."""
        present = {f.name: value.to(device) for f in fields(self) if (value := getattr(self, f.name)) is not None}
        return Batch(**present)


@dataclass(frozen=True, slots=True)
class Dropout:
    """Dropout of a tagger, in training only and never on recurrent connections.

    Attributes:
        inputs: rate on the input of each layer, LM embeddings included unless they have a rate of their own.
        locked: rate of a second dropout there, one mask [D] for all tokens of a sentence (Gal and Ghahramani 2016).
        output: whether both also apply to the input of the dense layer (the chunking preset).
        words: chance that a token's word vector is zero; the other vectors are not scaled up (as in Flair).
    """

    inputs: float = 0.0
    locked: float = 0.0
    output: bool = False
    words: float = 0.0


class Tagger(nn.Module):
    """Bidirectional RNN tagger with a CRF: TagLM if it has `lm`, otherwise its baseline.

    Word ids 0..V-1 are rows of the trainable table. Ids from V on are rows of the frozen table: words that only the
    file of word vectors has, so training never sees them and must not move them. Id 0 is the unknown word; word dropout
    and `min_count` put it into training sentences.

    Args:
        crf: the CRF over K tags.
        characters: character encoder, or None.
        word_vectors: initial word embeddings of the trainable table [V, D] (random or from a file); None for a tagger
            without words.
        frozen_vectors: rows of the frozen table [V2, D], or None; not saved with the weights.
        units: state size of one direction of each layer; empty for a dense layer on the inputs.
        cell: "gru" or "lstm".
        dropout: all dropout but that of the character encoder and of the LM embeddings.
        lm: mixer of the LM embeddings, or None for the baseline.
        lm_layer: number of layers below the LM embeddings: 0 beside characters and words, n beside the states of
            layer n.

    Attributes:
        lm_size: L, length of the LM embeddings in a batch; 0 for the baseline.

    Initial values: RNNs as in `taglm_core.nn.rnn.init_rnn` (Xavier inputs, orthogonal recurrences, forget gates 1),
    Xavier dense layer with zero bias; all from torch's global generator, in the order characters, projection of LM
    embeddings, layers, dense.

    Raises:
        ValueError: `lm_layer` is above the highest layer, or the lowest layer has no input.
    """

    frozen_vectors: Tensor | None

    def __init__(
        self,
        crf: Crf,
        *,
        characters: CharCnn | CharRnn | None,
        word_vectors: Tensor | None,
        frozen_vectors: Tensor | None = None,
        units: Sequence[int],
        cell: Cell,
        dropout: Dropout,
        lm: LmEmbeddingMixer | None = None,
        lm_layer: int = 1,
    ) -> None:
        super().__init__()
        if lm is not None and not 0 <= lm_layer <= len(units):
            raise ValueError(f"lm_layer is {lm_layer}; expected 0 to {len(units)}, the number of layers")
        self.dropout, self.lm_layer = dropout, lm_layer
        self.characters = characters
        self.words = None
        if word_vectors is not None:
            self.words = nn.Embedding.from_pretrained(word_vectors.detach().clone(), freeze=False)
        self.register_buffer("frozen_vectors", None, persistent=False)
        self.set_frozen_vectors(frozen_vectors)
        self.lm = lm
        self.lm_size = 0 if lm is None else lm.inputs
        size = (0 if self.words is None else self.words.embedding_dim) + (0 if characters is None else characters.size)
        if size + self._lm_at(0) == 0:
            raise ValueError("the lowest layer has nothing to read; expected characters, words, or lm at lm_layer 0")
        self.layers = nn.ModuleList()
        for layer, layer_units in enumerate(units):
            self.layers.append(BiRnn(size + self._lm_at(layer), layer_units, cell=cell))
            size = 2 * layer_units
        self.dense = nn.Linear(size + self._lm_at(len(units)), len(crf.transitions))
        nn.init.xavier_uniform_(self.dense.weight)
        nn.init.zeros_(self.dense.bias)
        self.crf = crf

    def set_frozen_vectors(self, vectors: Tensor | None) -> None:
        """Replace the frozen table by vectors [V2, D] (new text brings words that training did not have)."""
        if vectors is None:
            self.frozen_vectors = None
            return
        size = 0 if self.words is None else self.words.embedding_dim
        if self.words is None or vectors.dim() != 2 or vectors.shape[1] != size:
            raise ValueError(f"frozen vectors have shape {list(vectors.shape)}; expected [V2, {size}]")
        self.frozen_vectors = vectors.detach().to(self.words.weight)

    def emissions(self, batch: Batch) -> Tensor:
        """Return the score of each tag at each token [B, T, K]; values at padding are finite if the batch is.

        Under autocast the layers below the scores multiply in its type; the scores and the CRF are not rounded.

        Raises:
            ValueError: LM embeddings are missing, unexpected, or of another size than `lm_size`.
        """
        self._check_lm(batch)
        h = self._read_tokens(batch)  # [B, T, D]
        lm = None if self.lm is None or batch.lm is None else self.lm(batch.lm.to(h.dtype))
        for layer, rnn in enumerate(self.layers):
            h = rnn(self._join(h, lm, layer, drop=True), batch.lengths)
        with torch.autocast(h.device.type, enabled=False):  # scores are added up along a sentence: do not round
            h = self._join(h, lm, len(self.layers), drop=self.dropout.output)
            scores: Tensor = self.dense(h.to(self.dense.weight.dtype))
        return scores

    def loss(self, batch: Batch) -> Tensor:
        """Return the negative log-likelihood of the gold tags, a scalar: the mean over the sentences."""
        if batch.tags is None:
            raise ValueError(f"tags are missing; words {list(batch.words.shape)} need tags of the same shape")
        emissions = self.emissions(batch)
        with torch.autocast(emissions.device.type, enabled=False):
            return self.crf.loss(emissions, batch.tags, batch.mask).mean()

    @torch.no_grad()
    def decode(self, batch: Batch) -> list[list[int]]:
        """Return the best tags of each sentence, one for each token."""
        tags, _ = self.crf.decode(self.emissions(batch), batch.mask)
        return [row[:length] for row, length in zip(tags.tolist(), batch.lengths.tolist(), strict=True)]

    @torch.no_grad()
    def marginals(self, batch: Batch) -> Tensor:
        """Return the probability of each tag at each token [B, T, K], zero at padding."""
        return self.crf.marginals(self.emissions(batch), batch.mask)

    @torch.no_grad()
    def path_log_probs(self, batch: Batch, path: Tensor) -> tuple[Tensor, Tensor]:
        """Return the log-probabilities of the tags of a path [B, T], as `crf_path_log_probs` does."""
        return self.crf.path_log_probs(self.emissions(batch), path, batch.mask)

    def _lm_at(self, layer: int) -> int:
        """Return the length that LM embeddings add above the first `layer` layers."""
        return self.lm.size if self.lm is not None and layer == self.lm_layer else 0

    def _read_tokens(self, batch: Batch) -> Tensor:
        """Return characters and words [B, T, D]; D = 0 for a tagger that reads neither."""
        parts = []
        if self.characters is not None:
            known = batch.encoded_chars
            encoded = self.characters(batch.distinct_chars) if known is None else known  # [N, D]
            parts.append(functional.embedding(batch.char_index, encoded))
        if self.words is not None:
            words = self._embed_words(self.words, batch.words)
            if self.training and self.dropout.words:
                words = words * (torch.rand_like(words[:, :, :1]) >= self.dropout.words)
            parts.append(words)
        return torch.cat(parts, dim=2) if parts else self.dense.weight.new_zeros((*batch.words.shape, 0))

    def _join(self, h: Tensor, lm: Tensor | None, layer: int, *, drop: bool) -> Tensor:
        """Return states h [B, T, D] above the first `layer` layers, with LM embeddings if they enter here (eq. 5)."""
        if lm is None or layer != self.lm_layer:
            return self._drop(h) if drop else h
        if self.lm is not None and self.lm.dropout is not None:  # the mixer has dropped them out
            return torch.cat((self._drop(h) if drop else h, lm), dim=2)
        h = torch.cat((h, lm), dim=2)
        return self._drop(h) if drop else h

    def _drop(self, x: Tensor) -> Tensor:
        x = functional.dropout(x, self.dropout.inputs, self.training)
        if self.training and self.dropout.locked:
            x = x * functional.dropout(torch.ones_like(x[:, :1]), self.dropout.locked)  # [B, 1, D]
        return x

    def _embed_words(self, table: nn.Embedding, ids: Tensor) -> Tensor:
        """Return rows [B, T, D] of the trainable table, and of the frozen table for ids from V on."""
        if self.frozen_vectors is None:
            return table(ids)
        count = table.num_embeddings
        frozen = functional.embedding((ids - count).clamp(min=0), self.frozen_vectors)
        return torch.where((ids >= count).unsqueeze(-1), frozen, table(ids.clamp(max=count - 1)))

    def _check_lm(self, batch: Batch) -> None:
        expected = f"[{batch.words.shape[0]}, {batch.words.shape[1]}, {self.lm_size}]"
        if self.lm_size and batch.lm is None:
            raise ValueError(f"LM embeddings are missing; this tagger needs lm of shape {expected}")
        if batch.lm is not None and not self.lm_size:
            raise ValueError(f"lm has shape {list(batch.lm.shape)}, but this tagger was made without LM")
        if batch.lm is not None and batch.lm.shape[2] != self.lm_size:
            raise ValueError(f"lm has shape {list(batch.lm.shape)}; this tagger needs {expected}")


def random_word_vectors(words: int, dim: int, generator: torch.Generator) -> Tensor:
    """Return word vectors [V, D], uniform with variance 1 / D (Ma and Hovy 2016, section 3.1)."""
    bound = math.sqrt(3 / dim)
    return torch.empty(words, dim).uniform_(-bound, bound, generator=generator)
