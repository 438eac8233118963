"""A sweep for real: cells share what they can, one that fails loses no other, and the table compares them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from flows.cli import app
from flows.sweep import sweep as sweep_flow
from taglm_core.analysis.sweep_plan import plan_sweep
from taglm_core.analysis.sweep_table import TABLE, read_rows, sweep_result, table_of
from taglm_core.config.sweep import Sweep, expand, load_sweep
from taglm_core.errors import CellsFailed, ConfigError
from taglm_core.evaluation.report import read_report
from taglm_core.pipeline.context import PipelineContext
from taglm_core.store.store import Store
from tests.services import ROOT

TINY = {
    "name": "tiny", "run": {"store": "store", "tracking": False, "workers": 2},
    "demo": {"train_sentences": 40, "dev_sentences": 12, "test_sentences": 30, "unlabelled_sentences": 3000},
    "language_models": {"main": {"input": {"kind": "word", "size": 8}, "units": 8, "projection": 8, "steps": 4,
                                 "softmax": {"kind": "full"}, "streams": 4}},
    "tagger": {"units": [8, 8], "max_epochs": 2, "annealing": [], "batch_size": 8}, "seeds": [1],
    "significance": {"rounds": 200},
}  # fmt: skip


def tiny(**settings: object) -> Sweep:
    return Sweep.model_validate({"name": "s", "base": TINY, **settings})


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_cells_share_steps_and_fail_alone(tmp_path: Path) -> None:
    """Run, correct what failed, run again; the rows are those of the cells' own reports."""
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("no vectors at all\n")
    sweep = tiny(
        cells={"a": {}, "bad": {"tagger.words.vectors": str(vectors), "variants": [{"name": "baseline"}]},
               "wide": {"tagger.units": [12, 12]}},
        claims=[{"claim": "c", "better": "wide/TagLM", "worse": "a/TagLM"}], paper={"a/TagLM": 91.93},
    )  # fmt: skip
    cells = expand(sweep)
    planned = plan_sweep(cells)
    assert (planned.cells, planned.rows, planned.reused) == (3, 5, 0)
    assert planned.distinct < planned.steps
    models = [one for one in planned.to_run.values() if one.step.kind == "language-model"]
    assert [one.cells for one in models] == [3, 3]
    with pytest.raises(CellsFailed, match=r"(?s)1 of 3 cells failed.*bad: .*vectors\.txt"):
        sweep_flow(sweep)
    rows = {row.name: row for row in read_rows(Path("sweeps/s") / TABLE)}
    assert list(rows) == ["a/baseline", "a/TagLM", "wide/baseline", "wide/TagLM"]
    store = Store(Path("store"))
    assert sum(kind == "language-model" for kind, _ in store.objects()) == 2  # built once for all cells
    vectors.write_text("".join(f"{word} {' '.join(['0.5'] * 8)}\n" for word in ("the", "a", "of")))
    again = plan_sweep(cells)
    assert {one.step.variant for one in again.to_run.values() if one.step.kind == "tagger"} == {"baseline"}
    assert all(one.seconds is not None and one.bytes > 0 for one in again.to_run.values() if one.step.kind == "tagger")
    assert sweep_flow(sweep) == {"cells": 3, "rows": 5, "failed": 0}
    assert not plan_sweep(cells).to_run
    result = sweep_result(sweep, cells)
    assert [row.name for row in result.rows] == [row for cell in cells for row in cell.rows]
    for cell in cells:
        context = PipelineContext.resolve(cell.experiment)
        ref = context.plan()["report"].ref
        assert ref is not None
        report = read_report(store.open(ref).path)
        for variant in report.variants:
            row = next(one for one in result.rows if one.name == f"{cell.name}/{variant.variant}")
            assert (row.f1, row.seeds, row.parameters) == (variant.f1_by_seed, variant.seeds, variant.parameters)
        for one in report.differences:
            row = next(each for each in result.rows if each.name == f"{cell.name}/{one.variant}")
            assert (row.difference, row.p) == (one.difference, one.p_value)
    taglm = next(row for row in result.rows if row.name == "a/TagLM")
    assert taglm.paper == 91.93 / 100
    assert taglm.perplexity is not None
    assert result.claims[0].verdict in ("holds", "fails", "open")
    assert "Holm's p" in table_of(result)[0]
    with pytest.raises(ConfigError, match="no cell x"):
        sweep_flow(sweep, only=("x",))


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_fail_fast_stops_the_others(tmp_path: Path) -> None:
    """The cells that wait do not begin, and those that run end early."""
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("no vectors at all\n")
    others = {f"c{number}": {"tagger.units": [number + 4]} for number in range(6)}
    sweep = tiny(cells={"bad": {"tagger.words.vectors": str(vectors)}, **others})
    with pytest.raises(CellsFailed, match=r"(?s)7 of 7 cells failed.*c5: the sweep has stopped"):
        sweep_flow(sweep, fail_fast=True)
    assert not any(kind == "report" for kind, _ in Store(Path("store")).objects())


def test_the_command_plans_without_prefect(tmp_path: Path) -> None:
    """`--plan` shows cells and shared steps; nothing is made."""
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(TINY))
    path = tmp_path / "s.yaml"
    path.write_text("name: s\nbase: base.yaml\naxes: {labelled.train_fraction: [0.5, 1.0]}\n")
    done = CliRunner().invoke(app, ["sweep", str(path), "--plan"])
    assert done.exit_code == 0, done.output
    assert "2 cells, 4 rows" in done.output
    assert "built once for several cells: 1 demo-corpus, " in done.output
    assert "2 language-model" in done.output
    assert not Path("store", "objects").exists()
    code = f"import sys; from flows.cli import main; sys.argv = ['taglm', 'sweep', {str(path)!r}, '--plan']\n" \
        "try: main()\nexcept SystemExit: pass\n" \
        "assert not {'prefect', 'mlflow', 'torch'} & sys.modules.keys()"  # fmt: skip
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert CliRunner().invoke(app, ["sweep", str(path), "--only", "x"]).exit_code != 0


@pytest.mark.real
def test_killed_five_times_gives_the_same_bits(tmp_path: Path) -> None:
    """20 cells; `kill -9` after some seconds each time, then to the end: as a sweep that was never killed."""
    path = tmp_path / "s.yaml"
    axes = {"tagger.units": [[size] for size in (6, 7, 8, 9, 10)], "tagger.batch_size": [2, 4, 8, 16]}
    path.write_text(yaml.safe_dump({"name": "s", "base": TINY, "axes": axes}))
    results = []
    for folder, kills in (("killed", 5), ("whole", 0)):
        command = [sys.executable, "-c", "from flows.cli import main; main()", "sweep", str(path), "--set",
                   f"run.store={tmp_path / folder / 'store'}"]  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        for number in range(kills):
            process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
            time.sleep(20 + 7 * number)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        rows = read_rows(tmp_path / folder / "sweeps" / "s" / TABLE)
        assert len(rows) == 40
        results.append([(row.name, row.f1, row.difference, row.p_holm, row.perplexity) for row in rows])
    assert json.dumps(results[0]) == json.dumps(results[1])


@pytest.mark.real
def test_the_estimate_is_near_the_truth(tmp_path: Path) -> None:
    """After one cell, the estimate of three more is within a factor of 1.5 of the time that they take."""
    demo = load_sweep(ROOT / "experiments" / "sweeps" / "demo.yaml", None, [f"run.store={tmp_path / 'store'}"])
    sizes = [{"tagger.max_epochs": 30, "tagger.patience": 30, "tagger.units": [size, size]} for size in (100, 101, 102)]
    sweep = demo.model_copy(update={"axes": {}, "claims": (), "cells": {str(n): one for n, one in enumerate(sizes)}})
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump({**sweep.model_dump(mode="json"), "paper": {}}))
    command = [sys.executable, "-c", "from flows.cli import main; main()", "sweep", str(path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([*command, "--only", "0"], env=environment, check=True)
    estimate, begun = plan_sweep(expand(sweep)).seconds, time.time()
    subprocess.run(command, env=environment, check=True)
    assert abs(np.log(estimate / (time.time() - begun))) < np.log(1.5)
