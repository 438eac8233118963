"""One of two ranks: trains what `test_ranks.py` compares, and writes down what it came to.

python -m tests.lm.rank_worker FOLDER cpu|cuda    (started by a test, with torchrun's environment variables)
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from taglm_core.config.language_model import AdaptiveSoftmax, LanguageModelConfig, SampledSoftmax
from taglm_core.errors import Interrupted, NonFiniteLoss
from taglm_core.lm.lm_training import LmTraining
from taglm_core.training.ranks import Ranks, StepStatus, joined_ranks
from taglm_core.training.stopping import StopRequest
from tests.lm.conftest import small_config
from tests.lm.test_training import StopAfter, run

# The last cluster holds so few words that a rank, or both, often has no target in it.
RARE_CLUSTER = AdaptiveSoftmax(cutoffs=(20, 48), shrink=2.0)
CONFIGS: dict[str, LanguageModelConfig] = {
    "adaptive": small_config("char-cnn", steps=20, learning_rate=0.01, softmax=RARE_CLUSTER, average=0.9),
    "sampled": small_config(
        "word", steps=20, learning_rate=0.1, optimizer="adagrad", softmax=SampledSoftmax(samples=20)
    ),
    "accumulated": small_config("word", steps=10, learning_rate=0.01, accumulate=2, layers=2, residual=True),
}
DROPPED = small_config("word", steps=14, dropout=0.3, learning_rate=0.01, softmax=SampledSoftmax(samples=20))


def main(folder: Path, where: str) -> None:
    with joined_ranks() as ranks:
        facts: dict[str, object] = {"lacking": 0}
        average = Ranks.average_gradients

        def counted(self: Ranks, model: torch.nn.Module, status: StepStatus) -> None:
            parameters = [p for p in model.parameters() if p.requires_grad]
            lacking = sum(some and p.grad is None for p, some in zip(parameters, status.used, strict=True))
            facts["lacking"] = int(str(facts["lacking"])) + lacking
            facts["unused"] = int(str(facts.get("unused", 0))) + status.used.count(False)
            average(self, model, status)

        Ranks.average_gradients = counted  # type: ignore[method-assign]
        for name, config in CONFIGS.items():
            keep(run(folder / name, config, StopRequest(), ranks, where), folder, name, ranks)
        Ranks.average_gradients = average  # type: ignore[method-assign]

        keep(run(folder / "whole", DROPPED, StopRequest(), ranks, where), folder, "whole", ranks)
        for looks in (1, 5):  # the second rank alone is asked to stop
            try:
                run(folder / "parts", DROPPED, StopAfter(looks) if not ranks.is_main else StopRequest(), ranks, where)
            except Interrupted as error:
                facts.setdefault("interrupted", []).append(str(error))  # type: ignore[attr-defined]
        training = run(folder / "parts", DROPPED, StopRequest(), ranks, where)
        keep(training, folder, "parts", ranks)
        facts["dropout"] = torch.rand(1).item()

        original = LmTraining.loss
        LmTraining.loss = lambda training: (  # type: ignore[method-assign]
            original(training) * (float("nan") if training.step == 3 and not ranks.is_main else 1.0)
        )
        try:
            run(folder / "nan", DROPPED, StopRequest(), ranks, where)
        except NonFiniteLoss as error:
            facts["nan"] = str(error)
        (folder / f"facts-{ranks.rank}.json").write_text(json.dumps(facts), encoding="utf-8")


def keep(training: LmTraining, folder: Path, name: str, ranks: Ranks) -> None:
    """The weights of a rank, and what the held-out text says."""
    perplexity = torch.tensor([training.heldout_perplexity()])
    save_file({"perplexity": perplexity, **training.model.state_dict()}, folder / f"{name}-{ranks.rank}.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
    os._exit(0)  # as stages/child.py does
