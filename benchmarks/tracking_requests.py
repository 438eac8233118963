"""Requests that a tag stage sends to an MLflow server, and how long they take.

    python tracking_requests.py [--auth] [--set KEY=VALUE]

The demo's stages up to embed run first, reported to the same server, which starts empty. A hook on
`requests.Session.send` counts in the process that reports. Trainings are short: what models learn changes no request.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from record import write

ROOT = Path(__file__).parents[1]
QUICK = ("language_models.main.steps=60", "tagger.max_epochs=3", "tagger.annealing=[]")
ADMIN, PASSWORD = "admin", "a-password-1234"
FILES = "/mlflow-artifacts/"
NOTE = """The demo's tag stage: 2 variants x 3 seeds, 12 evaluations, 1 report, the pipeline's run, the registration of
the best tagger. `requests` are calls of the tracking API, `files` are uploads of artifacts, counted in the process that
reports; `seconds` is the time both took. `first` is on an empty server, `again` trains the same taggers anew. Trainings
are short (3 epochs): a longer one also sends its curve in batches."""
Sent = tuple[str, float]


@contextmanager
def server(home: Path, *, auth: bool) -> Iterator[str]:
    """Address of an MLflow server that runs while the block does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1",
               "--backend-store-uri", f"sqlite:///{home / 'mlflow.db'}",
               "--artifacts-destination", str(home / "artifacts")]  # fmt: skip
    environment = dict(os.environ)
    if auth:
        config = home / "auth.ini"
        config.write_text(f"[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{home / 'auth.db'}\n"
                          f"admin_username = {ADMIN}\nadmin_password = {PASSWORD}\n")  # fmt: skip
        environment |= {"MLFLOW_AUTH_CONFIG_PATH": str(config), "MLFLOW_FLASK_SERVER_SECRET_KEY": "benchmark"}
        command += ["--app-name", "basic-auth"]
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=home)
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{address}/health", timeout=2)
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.5)
        else:
            raise RuntimeError((home / "server.log").read_text())
        yield address
    finally:
        process.terminate()
        process.wait(120)


@contextmanager
def counted() -> Iterator[list[Sent]]:
    """What is sent to the server inside the block: method and path, seconds."""
    sent, send = [], requests.Session.send

    def hooked(self: requests.Session, request: requests.PreparedRequest, **given: Any) -> requests.Response:
        begun = time.perf_counter()
        try:
            return send(self, request, **given)
        finally:
            path = re.sub(r"/[0-9a-f]{32}|/m-[0-9a-f]{32}|\?.*", "", str(request.path_url))
            path = path.partition(FILES)[0] + FILES if FILES in path else path
            sent.append((f"{request.method} {path}", time.perf_counter() - begun))

    requests.Session.send = hooked  # type: ignore[method-assign,assignment]
    try:
        yield sent
    finally:
        requests.Session.send = send  # type: ignore[method-assign]


def row(name: str, sent: list[Sent], wall: float) -> dict[str, Any]:
    """Figures of one tag stage."""
    files = [each for each in sent if FILES in each[0]]
    kinds = Counter(what for what, _ in sent)
    return {"run": name, "requests": len(sent) - len(files), "files": len(files),
            "seconds": round(sum(seconds for _, seconds in sent), 1), "wall": round(wall, 1),
            "which": ", ".join(f"{number} {what}" for what, number in kinds.most_common())}  # fmt: skip


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--auth", action="store_true", help="a server that asks for a password")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        os.environ |= {"PREFECT_HOME": str(home / "prefect")}
        for name in [name for name in os.environ if name in ("MLFLOW_TRACKING_URI", "PREFECT_API_URL")]:
            del os.environ[name]
        from tasks.environment import quiet_defaults

        quiet_defaults(home)
        with server(home, auth=given.auth) as address:
            if given.auth:
                os.environ |= {"MLFLOW_TRACKING_USERNAME": ADMIN, "MLFLOW_TRACKING_PASSWORD": PASSWORD}
            settings = [*QUICK, f"run.store={home / 'store'}", f"run.tracking_uri={address}", *given.set]
            write("tracking-requests-auth" if given.auth else "tracking-requests", "Requests of a tag stage",
                  measure(settings), NOTE)  # fmt: skip


def measure(settings: list[str]) -> list[dict[str, Any]]:
    """Rows of the stage on an empty server, and of the same stage computed again."""
    from flows.embed import embed
    from flows.tag import tag
    from taglm_core.config.load import load_experiment
    from taglm_core.pipeline.kinds import Stage
    from tasks.options import Options
    from tasks.own_server import start_own_server

    start_own_server()
    experiment, rows = load_experiment(ROOT / "experiments" / "demo.yaml", settings), []
    made = embed(experiment)
    for name, options in (("first", Options()), ("again", Options(refresh=(Stage.TAG,)))):
        with counted() as sent:
            begun = time.perf_counter()
            tag(experiment, options, dict(made))
        rows.append(row(name, sent, time.perf_counter() - begun))
    return rows


if __name__ == "__main__":
    main()
