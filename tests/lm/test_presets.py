"""The named language models are networks that train; the largest at a 32nd of its width."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from taglm_core.config.language_model import PRESETS, CharCnnInput, LanguageModelConfig
from taglm_core.lm.model import build_network
from taglm_core.training.devices import open_device


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_take_a_step_at_reduced_width(name: str) -> None:
    """Layers, filter widths, softmax and tables as in the preset, sizes divided: finite losses, a gradient for all."""
    open_device("cpu", 1)
    config = LanguageModelConfig.model_validate({"preset": name})
    size = 32
    entry = config.input.model_copy(update={"size": size})
    if isinstance(config.input, CharCnnInput):
        filters = tuple((width, max(1, number // 32)) for width, number in config.input.filters)
        entry = config.input.model_copy(update={"filters": filters, "size": size})
    narrow = {"input": entry, "units": 128, "projection": 64, "streams": 2, "window": 3}
    network = build_network(config.model_copy(update=narrow), 12_000)
    distinct = torch.ones(4, 6, dtype=torch.int64) if isinstance(entry, CharCnnInput) else torch.arange(4)
    states, state = network(distinct, torch.tensor([[0, 1], [2, 3], [1, 1]]), network.zero_state(2))
    assert states.shape == (3, 2, 64)
    assert state.cell.shape == (config.layers, 2, 128)
    losses = network.softmax.training_losses(states.flatten(0, 1), torch.arange(6), np.random.default_rng(1))
    assert bool(losses.isfinite().all())
    losses.mean().backward()
    clusters = "softmax.clusters.tail"  # words of the tail were no targets here
    assert [n for n, p in network.named_parameters() if p.grad is None and not n.startswith(clusters)] == []
