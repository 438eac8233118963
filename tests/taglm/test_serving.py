"""`taglm serve`: a real server on a free port, many clients, limits, token, reload, and its page in a browser."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from flows import cli_serve
from taglm import Tagger
from taglm.serving.application import create_application
from taglm.serving.messages import Limits
from taglm.serving.models import CurrentModel, ServedModel
from taglm_core.errors import ConfigError, TrackingAway
from tests.exports import TEXT, tiny_export

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
TOKEN = "a-token-for-tests"


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An export with a baseline, and another export."""
    folder = tmp_path_factory.mktemp("exports")
    found = {name: tiny_export(folder / name, lm=lm, vectors=None) for name, lm in (("1", True), ("2", False))}
    shutil.copytree(found["2"], found["1"] / "baseline")
    return found


@pytest.fixture(scope="module")
def served(exports: dict[str, Path]) -> ServedModel:
    return ServedModel.of_folder("tiny", exports["1"], "1")


@contextlib.contextmanager
def running(current: CurrentModel, limits: Limits | None = None, token: str | None = None) -> Iterator[int]:
    """A server in a thread; gives its port."""
    listening = cli_serve._listen("127.0.0.1", 0)
    application = create_application(current, limits or Limits(), token)
    server = uvicorn.Server(uvicorn.Config(application, log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(30)
        listening.close()
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def port(served: ServedModel) -> Iterator[int]:
    with running(CurrentModel(served), Limits(characters=2_000, texts=4)) as port:
        yield port


def call(port: int, path: str, body: Any = None, token: str = "") -> tuple[int, Any]:
    """Status and body of an answer; `body` is sent as JSON, or as it is if it is bytes."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with contextlib.closing(connection):
        connection.request("GET" if body is None else "POST", path, data, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
    return answer.status, json.loads(text) if answer.getheader("content-type") == "application/json" else text


def test_answers_are_those_of_the_tagger(port: int, served: ServedModel) -> None:
    """For a text, several texts and tokens; with threshold, labels and the baseline."""
    tagger = served.tagger
    status, body = call(port, "/tag", {"text": TEXT, "baseline": True})
    assert status == 200
    assert body["results"][0]["entities"] == [entity.to_dict() for entity in tagger.tag(TEXT)]
    assert served.baseline is not None
    assert body["results"][0]["baseline"] == [entity.to_dict() for entity in served.baseline.tag(TEXT)]
    assert body["model"] == {"name": "tiny", "label": "tiny/tagger", "digest": "d" * 32, "version": "1"}
    texts = [TEXT, "", "Anna saw Rome."]
    results = call(port, "/tag", {"text": texts})[1]["results"]
    assert results == [{"entities": [one.to_dict() for one in found]} for found in tagger.tag(texts)]
    tokens = [["Anna", "saw", "New York", "."], ["Bert"]]
    results = call(port, "/tag", {"tokens": tokens})[1]["results"]
    assert results == [{"entities": [one.to_dict() for one in found]} for found in tagger.tag_tokens(tokens)]
    every = tagger.tag(TEXT)
    chosen = max(every, key=lambda entity: entity.confidence)
    body = call(port, "/tag", {"text": TEXT, "threshold": chosen.confidence - 1e-4, "labels": [chosen.label]})[1]
    assert chosen.to_dict() in body["results"][0]["entities"]
    assert len(body["results"][0]["entities"]) < len(every)


def test_a_hundred_clients_get_their_own_answers(served: ServedModel) -> None:
    """All at once, with other texts, thresholds and kinds of input; confidences within 1e-4."""
    texts = [f"Anna saw Rome {number} times. " * (1 + number % 3) + TEXT for number in range(100)]
    gate = threading.Barrier(100)

    def ask(number: int) -> list[dict[str, Any]]:
        gate.wait()
        given = {"tokens": [texts[number].split()]} if number % 2 else {"text": texts[number]}
        status, body = call(port, "/tag", {**given, "threshold": 0.3 if number % 5 else 0.0})
        assert status == 200
        found: list[dict[str, Any]] = body["results"][0]["entities"]
        return found

    with running(CurrentModel(served)) as port, ThreadPoolExecutor(100) as threads:
        answers = list(threads.map(ask, range(100)))
        assert call(port, "/healthz")[1]["requests"] == 100
    for number, found in enumerate(answers):
        tag: Callable[..., Any] = served.tagger.tag_tokens if number % 2 else served.tagger.tag
        given = texts[number].split() if number % 2 else texts[number]
        expected = [one.to_dict() for one in tag(given, threshold=0.3 if number % 5 else 0.0)]
        assert [{**one, "confidence": 0} for one in found] == [{**one, "confidence": 0} for one in expected]
        sure = [one["confidence"] for one in expected]
        assert [one["confidence"] for one in found] == pytest.approx(sure, abs=1e-4)


@pytest.mark.parametrize(
    ("body", "status", "found"),
    [
        (b"{", 400, "Invalid JSON"),
        (b'"\xff"', 400, "Invalid JSON"),
        (b'{"text": "\\ud800"}', 400, "Invalid JSON"),
        ({}, 422, "neither text nor tokens is given"),
        ({"text": "a", "tokens": [["a"]]}, 422, "text and tokens are both given"),
        ({"text": 5}, 422, "text"),
        ({"tokens": [["Anna", ""]]}, 422, "tokens.0.1"),
        ({"text": "a", "treshold": 0.5}, 422, "treshold"),
        ({"text": "a", "threshold": 1.5}, 422, "threshold"),
        ({"text": "a", "labels": ["DATE"]}, 422, 'labels ["DATE"]'),
        ({"text": ["a"] * 5}, 413, "5 texts"),
        ({"text": "a" * 2_001}, 413, "2,001 characters"),
        ({"tokens": [["a"] * 1_001]}, 413, "2,002 characters"),
        (b" " * 200_000, 413, "a body of more than 97,536 bytes"),
    ],
)  # fmt: skip
def test_refused_requests_say_why(port: int, body: Any, status: int, found: str) -> None:
    """What was found, what was expected, what to do; the server goes on."""
    answered, fault = call(port, "/tag", body)
    assert (answered, sorted(fault["error"])) == (status, ["expected", "found", "remedy"])
    assert fault["error"]["found"].startswith(found)
    assert call(port, "/tag", {"text": "Anna"})[0] == 200


def test_other_addresses_are_refused_as_json(port: int) -> None:
    """404 and 405 name the routes."""
    assert call(port, "/nothing")[0] == 404
    status, fault = call(port, "/tag")
    assert (status, fault["error"]["found"]) == (405, "GET /tag")
    assert "POST /tag" in fault["error"]["expected"]


@dataclass
class Slow:
    """A tagger that waits until it may go on."""

    tagger: Tagger
    begun: threading.Event = field(default_factory=threading.Event)
    free: threading.Event = field(default_factory=threading.Event)
    asked: list[str] = field(default_factory=list)

    def tag(self, texts: list[str]) -> Any:
        self.asked += texts
        self.begun.set()
        assert self.free.wait(30)
        return self.tagger.tag(texts)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tagger, name)


def test_late_answers_and_full_queues(served: ServedModel) -> None:
    """504 after the time, 503 when too many wait; what nobody waits for any more is not computed."""
    slow = Slow(served.tagger)
    model = ServedModel("slow", slow)  # type: ignore[arg-type]
    with running(CurrentModel(model), Limits(seconds=0.5, waiting=1)) as port, ThreadPoolExecutor(3) as threads:
        first = threads.submit(call, port, "/tag", {"text": "first"})
        assert slow.begun.wait(30)
        waiting = [threads.submit(call, port, "/tag", {"text": text}) for text in ("second", "third")]
        (_, full), (_, late) = sorted((found.result() for found in waiting), key=lambda found: found[0])
        assert full["error"]["found"] == "1 requests that wait"
        assert late["error"]["found"] == "no answer after 0.5 s"
        assert first.result()[0] == 504
        slow.free.set()
        until = time.monotonic() + 20
        while call(port, "/tag", {"text": "fourth"})[0] != 200:  # the queue is full until its late request is dropped
            assert time.monotonic() < until
    assert slow.asked == ["first", "fourth"]


def test_a_bug_is_reported_and_the_server_goes_on(served: ServedModel, caplog: pytest.LogCaptureFixture) -> None:
    """500 as JSON, the trace in the log."""

    class Broken(Slow):
        def tag(self, texts: list[str]) -> Any:
            if texts == ["broken"]:
                raise RuntimeError("a secret of the trace")
            return self.tagger.tag(texts)

    with running(CurrentModel(ServedModel("broken", Broken(served.tagger)))) as port:  # type: ignore[arg-type]
        status, fault = call(port, "/tag", {"text": "broken"})
        assert (status, fault["error"]["found"]) == (500, "RuntimeError")
        assert call(port, "/tag", {"text": "Anna"})[0] == 200
    assert "a secret of the trace" in caplog.text


def test_a_token_guards_all_but_health_and_page(served: ServedModel) -> None:
    """Neither no token nor a wrong one nor its beginning will do; the page holds nothing of the tagger."""
    with running(CurrentModel(served), token=TOKEN) as port:
        for path, body in (("/tag", {"text": "Anna"}), ("/openapi.json", None)):
            for wrong in ("", "wrong", TOKEN[:-1], "ü"):
                status, fault = call(port, path, body, wrong)
                assert (status, fault["error"]["remedy"]) == (401, "send the token that the server was started with")
            assert call(port, path, body, TOKEN)[0] == 200
        assert call(port, "/healthz")[1]["token"] is True
        assert call(port, "/")[0] == 200


def test_the_schema_describes_request_and_answers(port: int) -> None:
    """/openapi.json knows the fields of `/tag`; /docs leads to the page, which loads nothing from elsewhere."""
    schema = call(port, "/openapi.json")[1]
    operation = schema["paths"]["/tag"]["post"]
    fields = operation["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert set(fields) == {"text", "tokens", "threshold", "labels", "baseline"}
    assert {"200", "400", "401", "413", "422", "503", "504"} == set(operation["responses"])
    page = call(port, "/")[1]
    assert "innerHTML =" not in page
    assert "//" not in page.replace("location.origin", "").replace("  // ", "").replace("\n// ", "")
    assert call(port, "/docs")[0] == 307


@dataclass
class Alias:
    """A name whose version a test sets; versions are folders."""

    folders: dict[str, Path]
    now: str = "1"
    loads: int = 0

    def version(self) -> str:
        if self.now == "away":
            raise TrackingAway("the MLflow store does not answer")
        return self.now

    def load(self, version: str) -> ServedModel:
        self.loads += 1
        return ServedModel.of_folder("alias", self.folders.get(version, Path("gone")), version)


def test_a_moved_alias_is_followed(exports: dict[str, Path], caplog: pytest.LogCaptureFixture) -> None:
    """The new tagger answers within moments; a failure keeps the old one and is logged once."""
    alias = Alias(exports)
    current = CurrentModel(alias.load("1"), alias, 0.02)
    with running(current) as port:
        assert call(port, "/tag", {"text": TEXT})[1]["model"]["version"] == "1"
        alias.now = "2"
        until = time.monotonic() + 20
        while (body := call(port, "/tag", {"text": TEXT})[1])["model"]["version"] != "2":
            assert time.monotonic() < until
        expected = Tagger.load(exports["2"]).tag(TEXT)
        assert body["results"][0]["entities"] == [entity.to_dict() for entity in expected]
        assert call(port, "/healthz")[1]["baseline"] is False
    assert not current.look()
    for broken in ("3", "away"):
        alias.now = broken
        with caplog.at_level(logging.WARNING, "taglm"):
            caplog.clear()
            assert not any(current.look() for _ in range(3))
        (record,) = caplog.records
        assert record.getMessage().startswith("alias goes on with version 2: ")
        assert current.model.version == "2"


@pytest.mark.parametrize(
    ("host", "token", "message"),
    [
        ("0.0.0.0", None, "other machines could use this server"),
        ("example.org", None, "other machines could use this server"),
        ("::", None, "other machines could use this server"),
        ("127.0.0.1", "short", "8 or more printable ASCII"),
    ],
)
def test_other_machines_need_a_token(host: str, token: str | None, message: str) -> None:
    """Only loopback goes without."""
    with pytest.raises(ConfigError, match=message):
        cli_serve._require_safe(host, token)
    for loopback in ("127.0.0.1", "127.1.2.3", "::1", "localhost"):
        cli_serve._require_safe(loopback, None)
    cli_serve._require_safe(host, TOKEN)


def test_a_port_in_use_is_an_error() -> None:
    """The message names the port and the remedy."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        number = other.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"--port {number}: cannot listen there .*choose another --port"):
            cli_serve._listen("127.0.0.1", number)


def test_the_command_serves_and_ends_on_sigterm(exports: dict[str, Path]) -> None:
    """It prints its address, imports neither Prefect nor MLflow for a folder, and exits with 0."""
    program = (
        "import sys\nsys.argv = ['taglm', 'serve', sys.argv[1], '--port', '0', '--threads', '1']\n"
        "from flows.cli import main\ntry:\n    main()\nfinally:\n"
        "    print([name for name in ('prefect', 'mlflow') if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-c", program, str(exports["1"])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            described, address = process.stdout.readline(), process.stdout.readline()
            assert described.split()[1:] == ["tiny/tagger", "d" * 32]
            assert call(int(address.rpartition(":")[2]), "/tag", {"text": TEXT})[0] == 200
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert process.stdout.read().split("\n")[:2] == ["stopped", "[]"]


@pytest.mark.real
def test_the_page_in_a_browser(served: ServedModel, tmp_path: Path) -> None:
    """Entities stand in colour at their places, markup in a text stays text, and nothing comes from elsewhere."""
    if shutil.which("chromium") is None:
        pytest.skip("needs Chromium")
    from docs.screenshots import Browser

    text = f"😀 <img src=x onerror='window.broken = 1'> {TEXT}"
    browser = Browser("chromium", tmp_path)
    with contextlib.closing(browser), running(CurrentModel(served), token=TOKEN) as port:
        browser._ask("Page.navigate", url=f"http://127.0.0.1:{port}/")
        time.sleep(2)
        for token in ("wrong", TOKEN):
            browser._evaluate(
                f"document.getElementById('token').value = {token!r};"
                f"document.getElementById('text').value = {json.dumps(text)};"
                "document.getElementById('form').requestSubmit()"
            )
            time.sleep(2)
            error = browser._evaluate("document.getElementById('error').textContent")
            assert error.startswith("Found a wrong token") if token == "wrong" else error == ""
        marks = browser._evaluate(
            "[...document.querySelectorAll('#result mark')].map((mark) => mark.firstChild.textContent)"
        )
        assert marks == [entity.text for entity in served.tagger.tag(text)]
        assert browser._evaluate("document.querySelectorAll('#result img').length + (window.broken ?? 0)") == 0
        assert not browser._evaluate("document.getElementById('compared').hidden")
