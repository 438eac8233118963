"""Transfer: a tagger starts from one that was trained on another labelled set, with other tags and other words."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from taglm_core.errors import MismatchError
from taglm_core.nn.tagger_network import Tagger
from taglm_core.tagging.trained import TaggerSpec, load_spec
from taglm_core.tagging.words import UNKNOWN_ID

_OWN = ("dense", "crf")  # depend on the tags
_FITTED = "lm"  # taken if all shapes fit
_TABLE = "words.weight"


@torch.no_grad()
def start_from(network: Tagger, spec: TaggerSpec, folder: Path, name: str) -> int:
    """Give a network the parameters of a trained tagger: everything but the dense layer and the CRF.

    Words that both taggers have, and the unknown word, get their trained rows [D]; other words keep their rows. The
    mixer of LM embeddings is taken if all its shapes fit. No random number is drawn.

    Args:
        network: the network, with its initial values.
        spec: its spec.
        folder: folder of the trained tagger.
        name: name of the trained tagger, for errors.

    Returns:
        The number of words that both taggers have.

    Raises:
        MismatchError: the words, characters or layers of the trained tagger have other shapes.
    """
    older, weights, own = load_spec(folder)[0], load_file(folder / "weights.safetensors"), network.state_dict()
    before, now = _shapes(weights), _shapes(own)
    different = [
        f"{part} is {now.get(part, 'missing')}, in that tagger {before.get(part, 'missing')}"
        for part in sorted(before.keys() | now.keys())
        if _part(part) != _FITTED and before.get(part) != now.get(part)
    ]
    if different:
        raise MismatchError(
            f"tagger.init_from: {'; '.join(different)}. A tagger keeps the shapes of the one that it starts from "
            f"({name}); give words, characters, layers and language models the sizes of its own, or leave init_from out"
        )
    taken = {part: tensor for part, tensor in weights.items() if part in now and part != _TABLE}
    if before != now:  # in the mixer alone
        taken = {part: tensor for part, tensor in taken.items() if _part(part) != _FITTED}
    shared = [(row, older.words.ids[word]) for word, row in spec.words.ids.items() if word in older.words.ids]
    if _TABLE in own:
        rows, trained = zip((UNKNOWN_ID, UNKNOWN_ID), *shared, strict=True)
        table = own[_TABLE].clone()
        table[list(rows)] = weights[_TABLE][list(trained)]
        taken[_TABLE] = table
    network.load_state_dict({**own, **taken})
    return len(shared)


def _part(name: str) -> str:
    return name.partition(".")[0]


def _shapes(weights: dict[str, Tensor]) -> dict[str, list[int]]:
    """Return the shapes of the parameters that are independent of tags and words; of the word table, the size alone."""
    kept = {name: list(tensor.shape) for name, tensor in weights.items() if _part(name) not in _OWN}
    return {name: shape[1:] if name == _TABLE else shape for name, shape in kept.items()}
