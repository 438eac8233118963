"""The sequence tagger: characters and words, bidirectional layers, LM embeddings among them, a CRF on top.

    x_k  = [c_k ; w_k]                                  characters, word embedding
    h_k1 = [ahead ; back ; h_k^LM]                      layer 1, LM embedding (TagLM) or nothing (baseline)
    h_k2 = [ahead ; back]                               layer 2
    s_k  = dense(h_k2)                                  emissions of the CRF

LM embeddings may also enter beside x_k, or beside the states of another layer, which the paper compares with the above.

Source: Peters et al. 2017, sections 3.1 and 3.3, equations 3 to 5; section 5.1 for other places.

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
from taglm_core.nn.lm_vectors import LmVectors
from taglm_core.nn.rnn import BiRnn, Cell


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
    """Bidirectional RNN tagger with a CRF; with `lm` the TagLM, without it its baseline.

    Word ids 0..V-1 are rows of the trainable table, V and above are rows of the frozen one (words that only the
    word-vector file knows: training never sees them, and so must not move them). Id 0 is the unknown word, trained
    where word dropout or `min_count` puts it into training sentences.

    Args:
        tags: K.
        characters: character encoder, or None.
        word_vectors: first values of the trainable word embeddings [V, D] (`random_word_vectors`, or read from a file);
            None for a tagger that reads no words.
        frozen_vectors: rows for ids V and above [V2, D], not saved with the weights, or None.
        units: state size of one direction of each layer; none for a dense layer on what is read.
        cell: "gru" or "lstm".
        dropout: rate on the input of each layer, LM embeddings included unless they have a rate of their own; never on
            recurrent connections.
        locked_dropout: rate at the same places, with one mask [D] for all tokens of a sentence (Gal and Ghahramani
            2016), after the other.
        dropout_output: whether the dense layer's input is dropped out as well (the chunking preset).
        word_dropout: chance that a token's word vector is zero in training (not scaled up otherwise, as in Flair).
        lm: how LM embeddings are prepared, or None for the baseline.
        lm_layer: layers below the place where LM embeddings enter: 0 beside characters and words, n beside the states
            of layer n.
        start_end: whether the CRF scores first and last tags.
        constraints: transitions that the CRF allows [K, K], bool, or None for all.
        allowed_start: first tags that the CRF allows [K], bool, or None for all.
        allowed_end: last tags that the CRF allows [K], bool, or None for all.

    Attributes:
        lm_size: L, length of the LM embeddings in a batch; 0 for the baseline.

    Initial values: RNNs as in `taglm_core.nn.rnn.init_rnn` (Xavier inputs, orthogonal recurrences, forget gates 1),
    Xavier dense layer without bias at first, CRF zero; all from torch's global generator, in the order characters,
    projection of LM embeddings, layers, dense.

    Raises:
        ValueError: a place for LM embeddings that is not there, or nothing to read.
    """

    frozen_vectors: Tensor | None

    def __init__(
        self,
        tags: int,
        *,
        characters: CharCnn | CharRnn | None,
        word_vectors: Tensor | None,
        frozen_vectors: Tensor | None = None,
        units: Sequence[int],
        cell: Cell,
        dropout: float,
        locked_dropout: float = 0.0,
        dropout_output: bool = False,
        word_dropout: float = 0.0,
        lm: LmVectors | None = None,
        lm_layer: int = 1,
        start_end: bool = False,
        constraints: Tensor | None = None,
        allowed_start: Tensor | None = None,
        allowed_end: Tensor | None = None,
    ) -> None:
        super().__init__()
        if lm is not None and not 0 <= lm_layer <= len(units):
            raise ValueError(f"lm_layer is {lm_layer}; expected 0 to {len(units)}, the number of layers")
        self.dropout, self.locked_dropout, self.word_dropout = dropout, locked_dropout, word_dropout
        self.dropout_output, self.lm_layer = dropout_output, lm_layer
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
        self.dense = nn.Linear(size + self._lm_at(len(units)), tags)
        nn.init.xavier_uniform_(self.dense.weight)
        nn.init.zeros_(self.dense.bias)
        self.crf = Crf(
            tags, start_end=start_end, constraints=constraints, allowed_start=allowed_start, allowed_end=allowed_end
        )

    def set_frozen_vectors(self, vectors: Tensor | None) -> None:
        """Put other vectors [V2, D] under the ids from V on (new text brings words that training did not have)."""
        if vectors is None:
            self.frozen_vectors = None
            return
        size = 0 if self.words is None else self.words.embedding_dim
        if self.words is None or vectors.dim() != 2 or vectors.shape[1] != size:
            raise ValueError(f"frozen vectors have shape {list(vectors.shape)}; expected [V2, {size}]")
        self.frozen_vectors = vectors.detach().to(self.words.weight)

    def emissions(self, batch: Batch) -> Tensor:
        """Score of each tag at each token [B, T, K]; what stands at padding is finite if the batch is.

        Under autocast the layers below the scores multiply in its type; scores and what the CRF does are not rounded.

        Raises:
            ValueError: LM embeddings that are missing, unexpected, or of another size than `lm_size`.
        """
        self._check_lm(batch)
        h = self._read_tokens(batch)  # [B, T, D]
        lm = None if self.lm is None or batch.lm is None else self.lm(batch.lm.to(h.dtype))
        for layer, rnn in enumerate(self.layers):
            h = rnn(self._join(h, lm, layer, drop=True), batch.lengths)
        with torch.autocast(h.device.type, enabled=False):  # scores are added up along a sentence: not rounded
            h = self._join(h, lm, len(self.layers), drop=self.dropout_output)
            scores: Tensor = self.dense(h.to(self.dense.weight.dtype))
        return scores

    def loss(self, batch: Batch) -> Tensor:
        """Negative log-likelihood of the gold tags, mean over the sentences: a scalar."""
        if batch.tags is None:
            raise ValueError(f"tags are missing; words {list(batch.words.shape)} need tags of the same shape")
        emissions = self.emissions(batch)
        with torch.autocast(emissions.device.type, enabled=False):
            return self.crf.loss(emissions, batch.tags, batch.mask).mean()

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

    def _lm_at(self, layer: int) -> int:
        """Length of what LM embeddings add above so many layers."""
        return self.lm.size if self.lm is not None and layer == self.lm_layer else 0

    def _read_tokens(self, batch: Batch) -> Tensor:
        """Characters and words [B, T, D], D = 0 where the tagger reads neither."""
        parts = []
        if self.characters is not None:
            encoded = self.characters(batch.distinct_chars)  # [N, D]
            parts.append(functional.embedding(batch.char_index, encoded))
        if self.words is not None:
            words = self._embed_words(self.words, batch.words)
            if self.training and self.word_dropout:
                words = words * (torch.rand_like(words[:, :, :1]) >= self.word_dropout)
            parts.append(words)
        return torch.cat(parts, dim=2) if parts else self.dense.weight.new_zeros((*batch.words.shape, 0))

    def _join(self, h: Tensor, lm: Tensor | None, layer: int, *, drop: bool) -> Tensor:
        """The states h [B, T, D] above so many layers, with LM embeddings if they enter here (equation 5)."""
        if lm is None or layer != self.lm_layer:
            return self._drop(h) if drop else h
        if self.lm is not None and self.lm.dropout is not None:  # they are dropped out already
            return torch.cat((self._drop(h) if drop else h, lm), dim=2)
        h = torch.cat((h, lm), dim=2)
        return self._drop(h) if drop else h

    def _drop(self, x: Tensor) -> Tensor:
        x = functional.dropout(x, self.dropout, self.training)
        if self.training and self.locked_dropout:
            x = x * functional.dropout(torch.ones_like(x[:, :1]), self.locked_dropout)  # [B, 1, D]
        return x

    def _embed_words(self, table: nn.Embedding, ids: Tensor) -> Tensor:
        """Rows [B, T, D] of the trainable table, or of the frozen one for ids from V on."""
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
    """Word vectors [V, D], uniform with variance 1 / D (Ma and Hovy 2016, section 3.1)."""
    bound = math.sqrt(3 / dim)
    return torch.empty(words, dim).uniform_(-bound, bound, generator=generator)
