"""The command line without a server: plans, status, messages, exit codes."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from flows import cli_views
from taglm_core.gc.collect import Usage
from taglm_core.gc.garbage import ActiveBuild
from taglm_core.gc.reachability import users_by_digest
from taglm_core.pipeline.kinds import KINDS
from taglm_core.pipeline.plan import Action, Decision
from taglm_core.pipeline.steps import Step
from taglm_core.store.records import Manifest, Recipe, Ref
from taglm_core.store.store import Store, Work, list_files

ROOT = Path(__file__).parents[2]


def taglm(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `taglm` as a user would."""
    return subprocess.run([sys.executable, "-m", "flows.cli", *arguments], cwd=folder, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"})  # fmt: skip


def test_plan_says_what_would_run_and_why(tmp_path: Path) -> None:
    """On an empty store everything runs or depends on what runs."""
    done = taglm(tmp_path, "plan", str(ROOT / "experiments" / "demo.yaml"))
    assert done.returncode == 0, done.stderr
    assert "no demo-corpus in the store yet" in done.stdout
    assert "after" in done.stdout
    assert "0 steps reused" in done.stdout
    assert not (tmp_path / "data").exists()  # planning writes nothing


def test_a_configured_prefect_server_that_is_away_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No stack trace: which address, and what to do; nothing is begun."""
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    done = taglm(tmp_path, "run", str(ROOT / "experiments" / "demo.yaml"))
    assert done.returncode == 1
    said = " ".join((done.stdout + done.stderr).split())
    assert "PREFECT_API_URL is http://127.0.0.1:1/api, and nobody answers there" in said
    assert "Traceback" not in said


def test_plan_says_what_latest_is(tmp_path: Path) -> None:
    """With no model in the store yet: from random weights."""
    demo = str(ROOT / "experiments" / "demo.yaml")
    done = taglm(tmp_path, "plan", demo, "--set=language_models.main.continue_from=latest")
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "main backward, continue_from latest: no model of other text in the store; starts from random" in said


def test_status_of_an_empty_store(tmp_path: Path) -> None:
    """Every step is listed with the reason why it is not there."""
    done = taglm(tmp_path, "status", str(ROOT / "experiments" / "demo.yaml"))
    assert done.returncode == 0
    assert "report" in done.stdout
    assert "objects 0 B, unfinished work 0 B, damaged 0 B" in done.stdout
    assert not (tmp_path / "data").exists()


def publish(store: Store, kind: str, config: dict[str, Any], inputs: dict[str, str], **counts: int) -> Ref:
    """An object of the current version of its kind."""
    recipe = Recipe(kind, KINDS[kind].version, config, inputs)
    out = store.work(recipe) / "out"
    out.mkdir(parents=True)
    (out / "payload").write_text(recipe.key)
    made = {"time": time.time() - 7200}
    return store.publish(out, Manifest(f"demo/{kind}", recipe, list_files(out), counts=counts, made=made))


def test_gc_shows_asks_and_removes(tmp_path: Path) -> None:
    """Without a terminal it only shows; --yes removes; then nothing is left to remove."""
    store = Store(tmp_path / "data" / "store")
    kept = publish(store, "vocabulary", {}, {})
    lost = publish(store, "embeddings", {}, {"language-model": "gone", "corpus": "c"})
    shown = taglm(tmp_path, "gc", "--grace", "0")
    assert shown.returncode == 0, shown.stderr
    assert f"demo/embeddings {lost.digest[:12]}" in shown.stdout
    assert "made from what no key leads to any more" in shown.stdout
    assert "nothing was removed: there is no terminal" in shown.stdout
    assert "nothing to remove" in taglm(tmp_path, "gc").stdout  # young
    assert ("embeddings", lost.digest) in store.objects()
    assert "removed" in taglm(tmp_path, "gc", "--grace", "0", "--yes").stdout
    assert store.objects() == [("vocabulary", kept.digest)]
    assert "nothing to remove" in taglm(tmp_path, "gc", "--grace", "0", "--yes").stdout


def test_gc_refuses_when_mlflow_does_not_answer(tmp_path: Path) -> None:
    """Which taggers have an alias is not known then; --no-aliases goes on."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mlflow.db").write_text("no database")
    done = taglm(tmp_path, "gc", "--yes")
    assert done.returncode == 1
    assert "TrackingAway" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "nothing to remove" in taglm(tmp_path, "gc", "--yes", "--no-aliases").stdout


def test_status_shows_what_a_cache_holds_and_who_reads_it(tmp_path: Path) -> None:
    """Settings that older caches do not have read as their defaults; a running reader is named."""
    store = Store(tmp_path / "store")
    counts = {"tokens": 12_000, "rows": 9_000, "size": 64}
    old = publish(store, "embeddings", {}, {"language-model": "l", "corpus": "c"}, **counts)
    new = publish(store, "embeddings", {"precision": "int8", "layers": [1, 2], "context": "document"}, {"corpus": "c"})
    for seed in (1, 2):
        publish(store, "tagger", {"seed": seed}, {"train/embeddings/main/forward": old.digest})
    decisions = {
        name: Decision(Step(f"embeddings/{name}", "embeddings", {}), Action.REUSE, "", ref=ref)
        for name, ref in (("old", old), ("new", new))
    }
    work = Work(Recipe("tagger", 2, {"seed": 3}, {"train/embeddings/main/forward": old.digest}), "demo/tagger/x/seed-3")
    table = cli_views.caches_table(
        store, decisions, users_by_digest(store), [ActiveBuild("tagger", work.recipe.key, work)]
    )
    console = Console(width=250, file=io.StringIO())
    console.print(table)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    (first,) = (" ".join(line.split()) for line in lines if line.startswith("old"))
    (second,) = (" ".join(line.split()) for line in lines if line.startswith("new"))
    assert "12,000 9,000 64 float16 top sentence 2.0 h ago 2 taggers; now by demo/tagger/x/seed-3" in first
    assert "- - - int8 1, 2 document 2.0 h ago nobody" in second


def test_status_says_when_tidying_is_worth_while(tmp_path: Path) -> None:
    """More than a tenth of the store, or a gigabyte; below that it is not mentioned."""
    store = Store(tmp_path / "store")
    used = Usage(objects=50 * 10**9, work=0, damaged=0, free=10**9)
    assert "taglm gc" in cli_views.store_line(store, used, 2 * 10**9)
    assert "taglm gc" not in cli_views.store_line(store, used, 9 * 10**8)
    assert "taglm gc" in cli_views.store_line(store, Usage(1000, 0, 0, 0), 101)
    assert "taglm gc" not in cli_views.store_line(store, Usage(0, 0, 0, 0), 0)


@pytest.mark.server
def test_an_error_in_a_running_flow_is_said_once(tmp_path: Path) -> None:
    """Malformed input met in the middle of a flow: file, line and remedy, no stack trace of the engine around it."""
    (tmp_path / "bad").write_text("Ada B-PER\nsaw\n")
    splits = [f"--set=labelled.{split}=bad" for split in ("train", "dev", "test")]
    demo = str(ROOT / "experiments" / "demo.yaml")
    done = taglm(tmp_path, "ingest", demo, "--set=labelled.name=x", "--set=unlabelled.path=demo:text",
                 "--set=run.tracking=false", *splits)  # fmt: skip
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert said.count("bad:2: found 1 column ('saw'); expected 2 as in line 1; correct the line") == 1
    assert "Traceback" not in said


def test_help_lists_the_commands(tmp_path: Path) -> None:
    """All of them, with a line each."""
    done = taglm(tmp_path, "--help")
    for command in ("run", "ingest", "pretrain", "embed", "tag", "plan", "status", "gc", "perplexity", "doctor"):
        assert command in done.stdout
