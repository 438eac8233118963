"""What MLflow's registry keeps in the store: aliases on a real tracking store, and stores that do not answer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from taglm_core.config.experiment import RunConfig
from taglm_core.errors import TrackingAway
from taglm_core.pipeline.steps import Step
from taglm_core.store.durable import write_json
from taglm_core.store.store import Store
from tasks.housekeeping import gc_roots
from tasks.tracking.receipts import Ledger, SyncState
from tasks.tracking.spec import RunSpec

ROOT = Path(__file__).parents[2]


def test_every_alias_of_every_model_counts(tracking_uri: str, tmp_path: Path) -> None:
    """Champion or any other name; versions without an alias, and models that are not ours, do not."""
    client = MlflowClient(tracking_uri, tracking_uri)
    for model in ("taglm-news", "taglm-legal", "theirs"):
        client.create_registered_model(model)
    for model, digest, alias in (("taglm-news", "aa", "champion"), ("taglm-news", "bb", "trial"),
                                 ("taglm-news", "cc", None), ("taglm-legal", "dd", "champion")):  # fmt: skip
        tags = {"taglm.object": digest, "taglm.report": f"r{digest}"}
        version = client.create_model_version(model, str(tmp_path), tags=tags)
        if alias is not None:
            client.set_registered_model_alias(model, alias, version.version)
    theirs = client.create_model_version("theirs", str(tmp_path))
    client.set_registered_model_alias("theirs", "champion", theirs.version)
    needs = gc_roots(RunConfig(store=tmp_path / "store", tracking_uri=tracking_uri))
    assert needs.objects.keys() == {"aa", "bb", "dd", "raa", "rbb", "rdd"}
    assert needs.objects["bb"] == "`trial` of the registered model taglm-news (version 2)"


@pytest.mark.parametrize("place", ["sqlite", "http"])
def test_a_tracking_store_that_does_not_answer_is_refused(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its aliases are not known, so nothing may go, unless the user says that there are none."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (tmp_path / "mlflow.db").write_text("no database")
    uri = f"sqlite:///{tmp_path}/mlflow.db" if place == "sqlite" else "http://127.0.0.1:1"
    run = RunConfig(store=tmp_path / "store", tracking_uri=uri)
    with pytest.raises(TrackingAway, match="--no-aliases"):
        gc_roots(run)
    assert gc_roots(run, aliases=False).objects == {}


def test_without_a_tracking_store_mlflow_is_not_imported(tmp_path: Path) -> None:
    """No database yet: no aliases, nothing waits, and nothing is made."""
    code = f"""
import sys
from tasks.housekeeping import append_due_end, end_orphans, has_pending, gc_roots
from taglm_core.config.experiment import Experiment, RunConfig
from taglm_core.store.records import Ref
run = RunConfig(store="{tmp_path}/store", tracking_uri="sqlite:///{tmp_path}/none.db")
end_orphans(run)
append_due_end(Experiment(run=run), {{"report": Ref("report", "k", "d")}})
print(has_pending(run), gc_roots(run).objects, [name for name in ("mlflow", "prefect", "torch") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False {} []"
    assert list(tmp_path.iterdir()) == []


def test_what_was_not_reported_yet_is_needed(tmp_path: Path) -> None:
    """Objects made while the tracking store was away stay until it has heard of them."""
    step = Step("tagger/TagLM/seed-1", "tagger", {"seed": 1})
    Ledger(Store(tmp_path), "sqlite:///x").save(SyncState("sqlite:///x", RunSpec("demo", step, "k" * 32, {})))
    write_json(tmp_path / "tracking" / "pending" / "other.json", {"of": "another version"})
    needs = gc_roots(RunConfig(store=tmp_path, tracking_uri=f"sqlite:///{tmp_path}/none.db"))
    assert needs.keys == {("tagger", "k" * 32)}
