"""Requests per second of `taglm serve`, with the same sentences tagged in one process beside it.

    python serve.py EXPORT --test eng.testb [--clients 1 8 32] [--seconds 10] [--threads 2]

Each client sends one sentence, waits for its answer, and sends the next, over one connection.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from predict import gold, taglm
from record import write

PORT = 8_765
NOTE = """Sentences of the test file as in `predict`. `requests` are those of `taglm serve` in a second, `p50` and `p99`
milliseconds of one request; `alone` are calls of `Tagger.tag` with one sentence in a second, and `together` sentences
in a second of one call with all of them, both in a process without HTTP, with as many threads."""


def client(texts: list[str], first: int, until: float, times: list[float]) -> None:
    """Send sentences until it is time to stop."""
    connection, number = http.client.HTTPConnection("127.0.0.1", PORT), first
    while time.monotonic() < until:
        begun = time.perf_counter()
        body = json.dumps({"text": texts[number % len(texts)]})
        connection.request("POST", "/tag", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise RuntimeError(f"status {answer.status}")
        times.append(1000 * (time.perf_counter() - begun))
        number += 1


def measured(texts: list[str], clients: int, seconds: float) -> dict[str, float]:
    """Requests per second and their times."""
    times: list[float] = []
    begun = time.monotonic()
    threads = [
        threading.Thread(target=client, args=(texts, 97 * place, begun + seconds, times)) for place in range(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times.sort()
    return {
        "requests": round(len(times) / (time.monotonic() - begun), 1),
        "p50": round(statistics.median(times), 1), "p99": round(times[int(0.99 * len(times))], 1),
    }  # fmt: skip


def direct(export: str, texts: list[str], threads: int) -> dict[str, float]:
    """The same in this process."""
    tag, _ = taglm(export, threads)
    tag(texts)
    begun = time.perf_counter()
    for text in texts[:300]:
        tag([text])
    alone = 300 / (time.perf_counter() - begun)
    begun = time.perf_counter()
    tag(texts)
    return {"alone": round(alone, 1), "together": round(len(texts) / (time.perf_counter() - begun), 1)}


def main() -> None:
    """Start the server, measure, stop it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("export")
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    texts = [text for text, _ in gold(given.test)]
    rows: list[dict[str, Any]] = []
    within = direct(given.export, texts, given.threads)
    command = [sys.executable, "-m", "flows.cli", "serve", given.export, "--port", str(PORT),
               "--threads", str(given.threads)]  # fmt: skip
    server = subprocess.Popen(command, cwd=Path(__file__).parents[1], stderr=subprocess.DEVNULL)
    try:
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", PORT)
            try:
                connection.request("GET", "/healthz")
                connection.getresponse().read()
                break
            except OSError:
                time.sleep(0.2)
        measured(texts, 8, 3)  # words are met, threads are started
        for clients in given.clients:
            rows.append({"clients": clients, **measured(texts, clients, given.seconds), **within})
            sys.stdout.write(f"{rows[-1]}\n")
            sys.stdout.flush()
    finally:
        server.terminate()
        server.wait()
    write("serve", "Requests to `taglm serve`", rows, NOTE)


if __name__ == "__main__":
    main()
