"""An evaluation holds all the tokens of its split, or there is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from taglm_core.config.load import load_experiment
from taglm_core.errors import MismatchError
from taglm_core.evaluation.predictions import Predictions, write_predictions
from taglm_core.stages import tag
from taglm_core.stages.building import build
from taglm_core.stages.graph import build_graph, evaluation_name
from taglm_core.store.records import Ref
from taglm_core.store.store import Store

SMALL = ["demo.train_sentences=5", "demo.dev_sentences=5", "demo.test_sentences=5", "variants=[{name: baseline}]",
         "seeds=[1]", "tagger={units: [4, 4], max_epochs: 1, annealing: []}"]  # fmt: skip


def test_gold_tokens_in_are_predicted_tokens_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that is lost on the way to the file is found before the object is published."""

    def lossy(path: Path, predictions: Predictions) -> None:
        columns = {name: [row[:-1] for row in getattr(predictions, name)] for name in ("tokens", "gold", "predicted")}
        write_predictions(path, replace(predictions, confidence=None, span_confidence=None, **columns))

    monkeypatch.setattr(tag, "write_predictions", lossy)
    experiment = load_experiment(None, [*SMALL, f"run.store={tmp_path / 'store'}"])
    store, graph = Store(experiment.run.store), build_graph(experiment)
    last = evaluation_name("baseline", 1, "test")
    refs: dict[str, Ref] = {}
    for name in [name for name in graph if name in graph.above(last)] + [last]:
        inputs = {role: refs[above] for role, above in graph[name].inputs.items()}
        if name == last:
            with pytest.raises(MismatchError, match="sentence 0, found"):
                build(store, graph[name], inputs, run=experiment.run, label=name)
        else:
            refs[name] = build(store, graph[name], inputs, run=experiment.run, label=name)
    assert not list((tmp_path / "store" / "objects").glob("evaluation/*"))
