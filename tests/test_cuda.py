"""What a CUDA device computes is what the CPU computes, up to rounding; skipped where there is none.

Training of language models is compared in tests/lm/test_devices.py. What holds on each device by itself (resumed to the
same bits, learnt) is tested where it is for the CPU, on all of tests.devices.DEVICES.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from taglm_core.config.embedding import EmbeddingConfig
from taglm_core.config.tagger import TaggerConfig
from taglm_core.lm.model import load_language_model, save_language_model
from taglm_core.lm.online import embed_online
from taglm_core.nn import crf_chains
from taglm_core.nn.crf import crf_loss
from taglm_core.nn.crf_paths import crf_decode, crf_n_best, crf_path_log_probs
from taglm_core.tagging.tagger_training import TaggerTraining
from taglm_core.tagging.trained import FrozenVectors, LmInput, TaggerSpec, build_network, encode, start_vectors
from taglm_core.tagging.words import TaggerWords, tags_of
from taglm_core.training.devices import open_device
from taglm_core.training.randomness import seed_torch
from tests.lm.conftest import Small
from tests.lm.conftest import folder as folder  # fixtures
from tests.lm.conftest import small as small
from tests.tagging.test_tagging import KINDS, Noise, corpus

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


def case(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Emissions, gold tags, mask, transitions, start, end of a batch of some size."""
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(1, 31, (16,), generator=generator)
    lengths[0] = 30
    mask = torch.arange(30) < lengths[:, None]
    gold = torch.randint(9, (16, 30), generator=generator)
    emissions, transitions = (torch.randn(shape, generator=generator, dtype=dtype) for shape in ((16, 30, 9), (9, 9)))
    start, end = torch.randn(2, 9, generator=generator, dtype=dtype)
    return emissions, gold, mask, transitions, start, end


@pytest.mark.parametrize("safe_range", [30.0, -1.0], ids=["scaled", "log"])
def test_crf(safe_range: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses, gradients, best paths, n best paths and log-probabilities."""
    monkeypatch.setattr(crf_chains, "_SAFE_RANGE", safe_range)
    open_device("cuda", 1)
    found: dict[str, list[Tensor]] = {}
    for name in ("cpu", "cuda"):
        emissions, gold, mask, *links = (x.detach().to(name) for x in case(torch.float64))
        learnt = [x.requires_grad_() for x in (emissions, *links)]
        loss = crf_loss(emissions, gold, mask, *links)
        gradients = torch.autograd.grad(loss.sum(), learnt)
        paths, scores = crf_decode(emissions, mask, *links)
        several, their = crf_n_best(emissions, mask, *links, n=3)
        found[name] = [
            loss,
            *gradients,
            paths,
            scores,
            several,
            their,
            *crf_path_log_probs(emissions, paths, mask, *links),
        ]
    for ours, theirs in zip(found["cpu"], found["cuda"], strict=True):
        torch.testing.assert_close(theirs.detach().cpu(), ours.detach())


def losses_of(settings: dict[str, Any], where: str, precision: str) -> tuple[float, dict[str, Tensor]]:
    """Loss of one batch, no dropout, and the gradients."""
    (tokens, tags), lm = corpus(12, 1), (LmInput("main", "forward", 5), LmInput("main", "backward", 4))
    none = {"dropout": 0.0, "locked_dropout": 0.0, "word_dropout": 0.0, "words": {"size": 6, "dropout": 0.0}}
    given = TaggerConfig.model_validate({**settings, "batch_size": 12}).model_dump()
    for part in ("characters", "lm"):
        if "dropout" in given[part]:
            given[part]["dropout"] = 0.0
    config = TaggerConfig.model_validate({**given, **none})
    device = open_device(where, 1, precision=precision)
    spec = TaggerSpec(config, tags_of(tags), TaggerWords.count(tokens, 1), 6, lm)
    seed_torch(1, "tagger")
    network = build_network(spec, start_vectors(spec, [], 1, {})[0], FrozenVectors.none(6)).to(device.torch)
    states = [Noise(size, tuple(map(len, tokens))) for _, _, size, _ in lm]
    data = encode(spec, FrozenVectors.none(6), tokens, states, tags)
    nothing = torch.zeros(0, dtype=torch.int64)
    training = TaggerTraining(network, data, (data, tags), spec.tags, config, 1, nothing, device=device)
    network.train()
    loss = training.loss()
    loss.backward()
    gradients = {name: p.grad.to_dense().cpu() for name, p in network.named_parameters() if p.grad is not None}
    return loss.item(), gradients


@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_taggers(settings: dict[str, Any]) -> None:
    """Loss and gradients of every kind of tagger; in bfloat16, where the device has it, the loss is near."""
    loss, gradients = losses_of(settings, "cpu", "float32")
    found, its = losses_of(settings, "cuda", "float32")
    assert found == pytest.approx(loss, rel=1e-5)
    assert its.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(its[name], gradient, rtol=1e-3, atol=1e-5, msg=lambda s, name=name: f"{name}: {s}")
    if torch.cuda.get_device_capability() >= (8, 0):
        assert losses_of(settings, "cuda", "bfloat16")[0] == pytest.approx(loss, rel=0.02)


def test_embeddings(small: Small, folder: Path) -> None:
    """Read on the device they are those of the CPU, for each kind of language model."""
    save_language_model(small.lm, folder)
    sentences = [("w1", "w2"), ("w3",), ("unheard", "w4", "w5", "w6"), ("w9",) * 40]
    config = EmbeddingConfig.model_validate({"precision": "float32"})
    open_device("cuda", 1)
    on_cpu, on_cuda = (
        embed_online(load_language_model(folder, torch.device(name), predicts=False), sentences, config)
        for name in ("cpu", "cuda")
    )
    for ours, theirs in zip(on_cpu.states, on_cuda.states, strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-5)
