"""The command line without a server: plans, status, messages, exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("plan", "nowhere.yaml"), "cannot be read"),
        (("plan", "DEMO", "--set", "tagger.unts=3"), "did you mean tagger.units?"),
        (("run", "DEMO", "--only", "tagg"), "the stages are ingest, pretrain, embed, tag"),
        (("run", "DEMO", "--from", "tag", "--to", "embed"), "comes after"),
        (("run", "DEMO", "--only", "tag", "--to", "tag"), "--only STAGE is short for"),
        (("tag", "DEMO", "--only"), "make it with `taglm embed"),
        (("perplexity", "DEMO", "no/such.txt"), "no/such.txt: found nothing there"),
        (("perplexity", "DEMO", os.devnull), "found nothing there"),
        (("perplexity", "DEMO", __file__), "train with `taglm pretrain"),
        (
            ("perplexity", "DEMO", __file__, "--lm", "large"),
            "no 'large'; the language models of",
        ),
        (("run", "DEMO", "--set", "labelled.train=no/such.conll"), "no/such.conll"),
    ],
)
def test_errors_are_one_message_without_a_stack_trace(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    """Exit status 1, the remedy, no traceback."""
    demo = str(ROOT / "experiments" / "demo.yaml")
    done = taglm(tmp_path, *(demo if argument == "DEMO" else argument for argument in arguments))
    assert done.returncode == 1
    assert message in " ".join(done.stdout.split())
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.server
def test_an_error_in_a_running_flow_is_said_once(tmp_path: Path) -> None:
    """Malformed input met in the middle of a flow: file, line and remedy, no stack trace of the engine around it."""
    (tmp_path / "bad").write_text("Ada B-PER\nsaw\n")
    splits = [f"--set=labelled.{split}=bad" for split in ("train", "dev", "test")]
    demo = str(ROOT / "experiments" / "demo.yaml")
    done = taglm(tmp_path, "ingest", demo, "--set=labelled.name=x", "--set=run.tracking=false", *splits)
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert said.count("bad:2: found 1 columns ('saw'); expected 2 as in line 1; correct the line") == 1
    assert "Traceback" not in said


def test_help_lists_the_commands(tmp_path: Path) -> None:
    """All of them, with a line each."""
    done = taglm(tmp_path, "--help")
    for command in ("run", "ingest", "pretrain", "embed", "tag", "plan", "status", "perplexity", "doctor"):
        assert command in done.stdout
