"""What Prefect and MLflow cost: seconds until work begins, seconds of a run with nothing to do, share of a whole run.

    python orchestration.py start              first task, and reruns with nothing to do, with and without a server
    python orchestration.py share [EXPERIMENT] [--set KEY=VALUE] [--home FOLDER]   one run, by default of the demo

Everything runs in a folder of its own that is removed at the end (with --home it stays, and what is in its store is
reused); the services are those of `make up`, on free ports.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from record import OUT, write

ROOT = Path(__file__).parents[1]
PYTHON = sys.executable
DEMO = ROOT / "experiments" / "demo.yaml"
TINY = ("demo={train_sentences: 20, dev_sentences: 10, test_sentences: 10, unlabelled_sentences: 200}",
        "language_models.main.steps=20", "tagger.max_epochs=1", "tagger.annealing=[]", "seeds=[1]")  # fmt: skip
RUNS = 3
ENDS = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
START_NOTE = """Medians of {runs}. The time starts with the command or the creation of the deployment's run. It stops at
the first line of work or at the end of the run. `own server` is `taglm run` as `make run` calls it, with a Prefect
server of its own. `server up` uses the services of `make up`. The tiny experiment has all stages and one seed; its
rerun reuses all objects."""
SHARE_NOTE = """Tracked runs without the services of `make up`. `no step at work` is the share of the wall time in which
no step of the core worked: process starts, planning, Prefect, MLflow, waiting. `processor` is the share of the
processor's seconds that the flow's own process and its Prefect server took; training runs in processes of its own."""


def environment(home: Path, ports: Mapping[str, int] | None = None) -> dict[str, str]:
    """Environment of a command whose Prefect and MLflow live in a folder; with ports, those of its services."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "MLFLOW_"))}
    found = {
        **kept, "PREFECT_HOME": str(home / "prefect"), "MLFLOW_TRACKING_URI": f"sqlite:///{home / 'mlflow.db'}",
        "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    if ports is not None:
        found |= {f"TAGLM_{name.upper()}_PORT": str(port) for name, port in ports.items()}
        found["PREFECT_API_URL"] = f"http://127.0.0.1:{ports['prefect']}/api"
    return found


def command(store: Path, settings: Iterable[str], experiment: Path = DEMO) -> list[str]:
    """`taglm run` of an experiment with settings."""
    sets = [part for setting in (*settings, f"run.store={store}") for part in ("--set", setting)]
    return [PYTHON, "-m", "flows.cli", "run", str(experiment), *sets]


def first_task(home: Path, settings: Iterable[str], env: Mapping[str, str]) -> tuple[float, float]:
    """Seconds from the command to the first line of work, and to its end."""
    begun, first = time.perf_counter(), 0.0
    with subprocess.Popen(
        command(home / "store", settings), env=dict(env), cwd=home, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    ) as process:  # fmt: skip
        said = []
        for line in process.stdout or ():
            said.append(line)
            if not first and ": started" in line:
                first = time.perf_counter() - begun
    if process.returncode:
        raise RuntimeError("".join(said[-20:]))
    return first, time.perf_counter() - begun


@contextmanager
def services(home: Path) -> Iterator[dict[str, int]]:
    """What `make up` starts, on ports of its own."""
    with socket.socket() as one, socket.socket() as two:
        for probe in (one, two):
            probe.bind(("127.0.0.1", 0))
        ports = {"prefect": one.getsockname()[1], "mlflow": two.getsockname()[1]}
    env = environment(home, ports)
    call = [PYTHON, str(ROOT / "ops" / "services.py")]
    subprocess.run([*call, "up", "--data", str(home)], env=env, check=True, stdout=subprocess.DEVNULL)
    try:
        yield ports
    finally:
        subprocess.run([*call, "down", "--data", str(home)], env=env, check=True, stdout=subprocess.DEVNULL)


def ask(url: str, body: object | None = None) -> Any:
    """Answer of Prefect's server."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read() or "null")


def deployment_run(api: str, parameters: Mapping[str, Any]) -> tuple[float, float]:
    """Seconds from the creation of a run to its start by the worker, and to its end."""
    deployment = ask(f"{api}/deployments/name/pipeline/demo-nightly")["id"]
    begun, started = time.perf_counter(), 0.0
    body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
    run = ask(f"{api}/deployments/{deployment}/create_flow_run", body)["id"]
    while True:
        state = ask(f"{api}/flow_runs/{run}")["state_type"]
        if state == "RUNNING" and not started:
            started = time.perf_counter() - begun
        if state in ENDS:
            break
        time.sleep(0.1)
    if state != "COMPLETED":
        raise RuntimeError(f"the deployment's run ended {state}")
    return started, time.perf_counter() - begun


def start() -> None:
    """First task, and reruns with nothing to do."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="taglm-") as folder:
        home = Path(folder)
        env = environment(home)
        first_task(home, TINY, env)  # databases are made once
        fresh = [first_task(home, (*TINY, f"language_models.main.seed={10 + run}"), env)[0] for run in range(RUNS)]
        rows.append({"what": "first task, taglm run, own server", "seconds": statistics.median(fresh)})
        noop = [first_task(home, TINY, env)[1] for _ in range(RUNS)]
        rows.append({"what": "nothing to do, taglm run", "seconds": statistics.median(noop)})
        with services(home) as ports:
            env = environment(home, ports)
            fresh = [first_task(home, (*TINY, f"language_models.main.seed={20 + run}"), env)[0] for run in range(RUNS)]
            rows.append({"what": "first task, taglm run, server up", "seconds": statistics.median(fresh)})
            runs = [deployment_run(env["PREFECT_API_URL"], _parameters(home)) for _ in range(RUNS + 1)][1:]
            rows.append({"what": "worker starts a deployment's run", "seconds": statistics.median(r[0] for r in runs)})
            rows.append({"what": "nothing to do, deployment", "seconds": statistics.median(r[1] for r in runs)})
    write("orchestration", "Orchestration: until work begins", rows, START_NOTE.format(runs=RUNS))


def _parameters(home: Path) -> dict[str, Any]:
    """The tiny experiment as a deployment's parameters."""
    from taglm_core.config.load import load_experiment

    settings = [*TINY, f"run.store={home / 'store'}", f"run.tracking_uri=sqlite:///{home / 'mlflow.db'}"]
    return {"experiment": load_experiment(DEMO, settings).model_dump(mode="json")}


class Processor:
    """Seconds of processor time that a process and its Prefect server have taken, and those of its trainings.

    A thread looks at /proc twice a second: what a process took after the last look is missing.
    """

    def __init__(self, pid: int) -> None:
        self._pid, self._ended = pid, threading.Event()
        self._seconds: dict[int, tuple[str, float]] = {}
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> dict[str, float]:
        """Seconds by role: `orchestration` and `work`."""
        self._ended.set()
        self._thread.join()
        found = {"orchestration": 0.0, "work": 0.0}
        for role, seconds in self._seconds.values():
            found[role] += seconds
        return found

    def _watch(self) -> None:
        while not self._ended.wait(0.5):
            for pid in _family(self._pid):
                try:
                    line = Path(f"/proc/{pid}/cmdline").read_bytes()
                    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                role = "work" if b"taglm_core.stages" in line else "orchestration"
                ticks = int(stat[11]) + int(stat[12])
                self._seconds[pid] = (role, ticks / os.sysconf("SC_CLK_TCK"))


def _family(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        for path in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += [int(child) for child in path.read_text().split()]
            except OSError:
                continue
    return found


def share(experiment: Path, settings: Iterable[str], kept: Path | None) -> None:
    """One tracked run; its row is added to those of earlier calls."""
    with tempfile.TemporaryDirectory(prefix="taglm-") as folder:
        home = kept or Path(folder)
        first_task(home, (*TINY, "name=warm"), environment(home))  # databases are made once
        begun = time.time()
        with subprocess.Popen(
            command(home / "store", settings, experiment), env=environment(home), cwd=ROOT, stdout=subprocess.DEVNULL
        ) as process:
            processor = Processor(process.pid)
            process.wait()
        ended = time.time()
        seconds = processor.stop()
        if process.returncode:
            raise RuntimeError("the run failed")
        working = _at_work(home / "store", begun)
    wall = ended - begun
    row = {
        "run": experiment.stem, "minutes": wall / 60, "no step at work": f"{100 * (1 - working / wall):.1f} %",
        "seconds": wall - working, "processor": f"{100 * seconds['orchestration'] / sum(seconds.values()):.1f} %",
    }  # fmt: skip
    path = OUT / "orchestration_share.json"
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    write("orchestration_share", "Orchestration: share of a run", [*rows, row], SHARE_NOTE)


def _at_work(store: Path, begun: float) -> float:
    """Seconds since `begun` in which one step at least worked."""
    spans = []
    for path in store.glob("objects/*/*/manifest.json"):
        manifest = json.loads(path.read_text())
        ended = manifest["made"]["time"]
        if ended > begun:
            spans.append((ended - manifest["seconds"], ended))
    total, until = 0.0, begun
    for first, last in sorted(spans):
        total += max(0.0, last - max(first, until))
        until = max(until, last)
    return total


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("start", "share"))
    parser.add_argument("experiment", type=Path, nargs="?", default=DEMO, help="share: what runs")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="share: settings of the run")
    parser.add_argument("--home", type=Path, help="share: folder that stays")
    given = parser.parse_args()
    if given.what == "start":
        start()
    else:
        share(given.experiment.absolute(), given.set, given.home and given.home.absolute())


if __name__ == "__main__":
    main()
