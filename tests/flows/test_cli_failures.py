"""How commands end when something goes wrong, in this process: one message, an exit status, no trace."""

from __future__ import annotations

import errno
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from rich.console import Console

from flows import cli, cli_views
from flows.cli_invocation import Invocation
from taglm_core.errors import Interrupted, StoreError
from taglm_core.pipeline.plan import Action, Decision
from taglm_core.pipeline.steps import Step
from taglm_core.store.store import Store
from taglm_core.store.system_errors import system_error
from tests.building import DEMO_SOURCES
from tests.flows.test_cli import ROOT, publish


class Ended:
    """What a command printed, on one line, and its exit status."""

    def __init__(self, status: object, printed: str) -> None:
        self.status, self.printed = status, " ".join(printed.split())


Taglm = Callable[..., Ended]


@pytest.fixture
def taglm(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Taglm:
    """Run a command line."""

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr("sys.argv", ["taglm", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return Ended(ended.value.code, captured.out + captured.err)

    return run


def experiment(name: str = "x.yaml") -> str:
    Path(name).write_text("name: x\n")
    return name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("plan", "nowhere.yaml"), "cannot be read"),
        (("plan", "DEMO", "--set", "tagger.unts=3"), "did you mean tagger.units?"),
        (("run", "DEMO", "--only", "tagg"), "the stages are ingest, pretrain, embed, tag"),
        (("run", "DEMO", "--from", "tag", "--to", "embed"), "comes after"),
        (("run", "DEMO", "--only", "tag", "--to", "tag"), "--only STAGE is short for"),
        (("tag", "DEMO", "--only"), "build them with `taglm embed"),
        (("perplexity", "DEMO", "no/such.txt"), "no/such.txt: found nothing named 'no'"),
        (("perplexity", "DEMO", os.devnull), "found a device"),
        (("perplexity", "DEMO", __file__), "train with `taglm pretrain"),
        (
            ("perplexity", "DEMO", __file__, "--lm", "large"),
            "no 'large'; the language models of",
        ),
        (("run", "DEMO", "--set", "labelled.train=no/such.conll"), "labelled.test: missing"),
        (
            ("run", "DEMO", *(f"--set={one}" for one in DEMO_SOURCES), "--set=labelled.train=no/such.conll"),
            "no/such.conll",
        ),
    ],
)
def test_errors_are_one_message_without_a_stack_trace(taglm: Taglm, arguments: tuple[str, ...], message: str) -> None:
    """Exit status 1, the remedy, no traceback."""
    demo = str(ROOT / "experiments" / "demo.yaml")
    ended = taglm(*(demo if argument == "DEMO" else argument for argument in arguments))
    assert ended.status == 1
    assert message in ended.printed
    assert "Traceback" not in ended.printed


def test_an_unforeseen_error_is_one_message_and_a_file(
    taglm: Taglm,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """What it is, where the trace stands, how to report it; --debug shows it."""

    def broken(*_: object) -> None:
        raise KeyError("no [such] thing")

    monkeypatch.setattr(cli, "load", broken)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ended = taglm("plan", experiment(), "--set", "a b=c")
    assert ended.status == 1
    assert "unexpected error: KeyError: 'no [such] thing'; this is a bug in taglm" in ended.printed
    assert "please report it" in ended.printed
    assert "Traceback" not in ended.printed
    (kept,) = tmp_path.glob("taglm-error-*.txt")
    assert str(kept) in ended.printed
    text = kept.read_text()
    assert "Traceback (most recent call last)" in text
    assert "command: taglm plan x.yaml --set 'a b=c'" in text
    assert "Traceback" in taglm("plan", experiment(), "--debug").printed
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    assert "run the command again with --debug" in taglm("plan", experiment()).printed


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (StoreError("a [b] c"), 1, "StoreError: a [b] c"),
        (Interrupted("stopped"), 75, "Interrupted: stopped"),
        (MemoryError(), 1, "OutOfResources: the memory is full"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "OutOfResources: the disk is full"),
        (
            PermissionError(errno.EACCES, "", "s/objects"),
            1,
            "StoreError: s/objects: found no permission; give yourself",
        ),
        (OSError(errno.EROFS, "", "s/keys"), 1, "StoreError: s/keys: found a read-only file system; make it writable"),
        (NotADirectoryError(errno.ENOTDIR, "", "s/x"), 1, "s/x: found a file where a folder is needed; move it away"),
        (OSError(errno.EMFILE, "", "s/x"), 1, "too many open files; raise the limit (`ulimit -n 4096`)"),
        (httpx.ConnectError("refused"), 1, "Prefect's server does not answer (ConnectError: refused); run the same"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_common_errors_have_words_of_their_own(
    taglm: Taglm,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    status: int,
    message: str,
) -> None:
    """What was found, where, and what to do."""

    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr(cli, "load", broken)
    ended = taglm("plan", experiment())
    assert ended.status == status
    assert message in ended.printed
    assert "Traceback" not in ended.printed


def test_what_the_system_does_not_explain_stays_unforeseen() -> None:
    """An error without a file, or of a kind that nobody knows a remedy for."""
    assert system_error(ProcessLookupError(errno.ESRCH, "")) is None
    assert system_error(PermissionError(errno.EPERM, "")) is None


@pytest.mark.parametrize("make", [lambda path: path.touch(), lambda path: path.symlink_to("nowhere")])
def test_a_store_that_is_no_folder_is_refused_at_once(
    taglm: Taglm, make: Callable[[Path], None], tmp_path: Path
) -> None:
    """Planning says it, before anything runs."""
    make(tmp_path / "store")
    ended = taglm("plan", experiment(), "--set", "run.store=store")
    assert ended.status == 1
    assert re.search(r"StoreError: \S+/store: found a (file|broken symbolic link); expected the folder", ended.printed)


def test_a_store_that_cannot_be_written_to_is_refused_before_anything_starts(taglm: Taglm) -> None:
    """With why, and what to do; Prefect is not started."""
    ended = taglm("run", experiment(), "--set", "run.store=/proc/nowhere/store")
    assert ended.status == 1
    assert "/proc/nowhere/store: the store is not writable (" in ended.printed
    assert "another run.store" in ended.printed
    assert "Prefect" not in ended.printed


def test_doctor_takes_settings(taglm: Taglm) -> None:
    """And refuses wrong ones."""
    assert "run.threads: found 0" in taglm("doctor", experiment(), "--set", "run.threads=0").printed


def test_names_are_shown_as_they_are(taglm: Taglm) -> None:
    """No markup, no emoji: the hint is the command, with what was set, as a shell takes it."""
    name = experiment("mine[new] :smile:.yaml")
    printed = taglm("plan", name, "--set", "seeds=[1, 2]", "--refresh", "tag").printed
    assert "`taglm run 'mine[new] :smile:.yaml' --set 'seeds=[1, 2]' --refresh tag` runs them" in printed
    assert "found 'a[b]c'" in taglm("plan", name, "--set", "run.device=a[b]c").printed
    printed = taglm("tag", name, "--only", "--set", "seeds=[1, 2]").printed
    assert "build them with `taglm embed 'mine[new] :smile:.yaml' --set 'seeds=[1, 2]'`" in printed


def test_hints_repeat_what_was_given() -> None:
    """Each hint is a command that a shell takes as it stands."""
    given = Invocation(Path("a b.yaml"), ["name=c d", "seeds=[1]"], ["tag"])
    for command, refresh in ((given.command("run", refresh=True), ["--refresh", "tag"]), (given.command("links"), [])):
        words = shlex.split(command)
        assert [words[0], *words[2:]] == ["taglm", "a b.yaml", "--set", "name=c d", "--set", "seeds=[1]", *refresh]


def test_the_table_of_a_run_lists_what_it_did(tmp_path: Path) -> None:
    """Reused steps are counted, and their time is not."""
    store = Store(tmp_path / "store")
    decisions = {}
    for number, kind in enumerate(("vocabulary", "token-ids", "tagger")):
        ref = publish(store, kind, {"number": number}, {})
        step = Step(f"{kind}[x]", kind, {})
        decisions[step.name] = Decision(step, Action.REUSE, "", store.pointers(kind)[0].recipe, ref)
    begun = store.pointers("token-ids")[0].time
    console = Console(width=200)
    with console.capture() as captured:
        console.print(cli_views.stage_times(store, decisions, begun))
    rows = [line.split() for line in captured.get().splitlines()]
    assert ["pretrain", "1", "1", "0.0", "s", "token-ids[x]", "(0.0", "s)"] in rows
    assert ["tag", "1", "0", "0.0", "s", "tagger[x]", "(0.0", "s)"] in rows


def test_gc_hints_name_the_store() -> None:
    """`taglm gc` alone means the usual store."""
    assert cli_views._gc_command(Store(Path("data/store"))) == "taglm gc"
    assert cli_views._gc_command(Store(Path("my store"))) == f"taglm gc --set 'run.store={Path.cwd()}/my store'"


@pytest.mark.parametrize(
    ("output", "said"), [("> /dev/full", "the output cannot be written"), (">&-", ""), ("2>&- >&- <&-", "")]
)
def test_an_output_that_takes_nothing_gives_no_trace(output: str, said: str, tmp_path: Path) -> None:
    """A full disk is said once on standard error; without any output the command ends as usual."""
    command = f"{shlex.quote(sys.executable)} -m flows.cli status {experiment(str(tmp_path / 'x.yaml'))} {output}"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == (1 if said else 0), done.stderr
    assert said in done.stderr
    assert done.stderr.count("\n") == (1 if said else 0)


def test_a_folder_that_is_gone_is_said(taglm: Taglm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths would begin there; no bug in taglm."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    ended = taglm("plan", "x.yaml")
    assert ended.status == 1
    assert "ConfigError: the current folder cannot be used (No such file or directory); change to" in ended.printed
