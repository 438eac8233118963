"""Screenshots of MLflow's answers, for docs/tracking.md; made anew after an experiment.

    make mlflow                              # in another terminal; TAGLM_MLFLOW_PORT=... chooses the port
    .venv/bin/python docs/screenshots.py experiments/conll2003-quick.yaml --data data

writes docs/images/<link>.png for each link of `taglm links` that a page of docs/ shows. `--page NAME=URL` adds pages of
other UIs, Prefect's for example. The script needs Chromium (`--browser`) and controls it by its DevTools protocol. It
takes a page when it has loaded, without MLflow's assistant and without folders of this machine.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import re
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from PIL import Image
from websockets.sync.client import ClientConnection, connect

from taglm_core.config.load import load_experiment
from tasks.environment import quiet_defaults

HERE = Path(__file__).resolve().parent
WIDTH, HEIGHT = 1500, 980  # pixels of a page
LARGEST = 150_000  # bytes of a picture
START_SECONDS, PAGE_SECONDS, QUIET_SECONDS = 60.0, 60.0, 3.0
NO_ASSISTANT = "localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false')"
# A page is ready when it shows no spinner or skeleton and its text stays the same.
LOOK = "[document.querySelectorAll('[aria-busy=true], .ant-spin, [class*=skeleton]').length, document.body.innerText]"

HIDE_FOLDERS = r"""
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let node; (node = walker.nextNode()); )
  node.nodeValue = node.nodeValue.replace(/file:\/\/\/.*\/mlflow-artifacts/, "mlflow-artifacts");
"""


class Browser:
    """A headless Chromium with one page.

    Args:
        command: that starts it.
        profile: folder of its own.
    """

    def __init__(self, command: str, profile: Path) -> None:
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
                 "--remote-debugging-port=0", f"--user-data-dir={profile}",
                 f"--window-size={WIDTH},{HEIGHT}"]  # fmt: skip
        self._process = subprocess.Popen([command, *flags, "about:blank"], stderr=subprocess.DEVNULL)
        self._socket: ClientConnection = connect(self._page(profile / "DevToolsActivePort"), max_size=None)
        self._number = 0
        self._ask("Emulation.setDeviceMetricsOverride", width=WIDTH, height=HEIGHT, deviceScaleFactor=1, mobile=False)

    def close(self) -> None:
        """End it."""
        self._socket.close()
        self._process.terminate()
        self._process.wait()

    def png(self, url: str) -> bytes:
        """Picture of a page, once it stands still."""
        parts = urlsplit(url)
        self._ask("Page.navigate", url=f"{parts.scheme}://{parts.netloc}")
        time.sleep(QUIET_SECONDS)
        self._evaluate(NO_ASSISTANT)
        self._ask("Page.navigate", url="about:blank")  # an address that differs behind # alone would not be loaded
        self._ask("Page.navigate", url=url)
        self._wait()
        self._evaluate(HIDE_FOLDERS)
        picture = self._ask("Page.captureScreenshot", format="png")["data"]
        return base64.b64decode(picture)

    def _wait(self) -> None:
        seen, since, end = None, time.monotonic(), time.monotonic() + PAGE_SECONDS
        while time.monotonic() < end:
            time.sleep(0.5)
            now = self._evaluate(LOOK)
            if now != seen or now[0]:
                seen, since = now, time.monotonic()
            elif time.monotonic() - since > QUIET_SECONDS:
                return

    def _evaluate(self, code: str) -> Any:
        return self._ask("Runtime.evaluate", expression=code, returnByValue=True)["result"].get("value")

    def _ask(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            answer = json.loads(self._socket.recv(timeout=PAGE_SECONDS))
            if answer.get("id") == self._number:
                found: dict[str, Any] = answer["result"]
                return found

    @staticmethod
    def _page(file: Path) -> str:
        end = time.monotonic() + START_SECONDS
        while not file.exists() or not file.read_text():
            if time.monotonic() > end:
                raise SystemExit("the browser does not start; --browser names another one")
            time.sleep(0.2)
        port = file.read_text().splitlines()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
            pages = json.load(answer)
        return next(str(page["webSocketDebuggerUrl"]) for page in pages if page["type"] == "page")


def small(picture: bytes) -> bytes:
    """A picture with so few colours that it is no larger than `LARGEST`."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    for colours in (256, 128, 64, 32, 16):
        buffer = io.BytesIO()
        image.quantize(colours).save(buffer, format="png", optimize=True)
        if buffer.tell() <= LARGEST:
            break
    return buffer.getvalue()


def pages_of(experiment: Path, overrides: list[str]) -> dict[str, str]:
    """Addresses by name, as `taglm links` prints them, of what is shown."""
    quiet_defaults()
    from tasks.tracking.links import links

    found = {link.name: link.url for link in links(load_experiment(experiment, overrides))}
    return {name: url for name, url in found.items() if name in shown()}


def shown() -> set[str]:
    """Names of the pictures in the pages of docs/."""
    pages = (page.read_text(encoding="utf-8") for page in HERE.glob("*.md"))
    return {name for page in pages for name in re.findall(r"\(images/([\w-]+)\.png\)", page)}


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description="screenshots for docs/tracking.md")
    parser.add_argument("experiment", type=Path, help="YAML file of an experiment that has run")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder with mlflow.db (default: data)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as in taglm run")
    parser.add_argument("--page", action="append", default=[], metavar="NAME=URL", help="one more page")
    parser.add_argument("--out", type=Path, default=HERE / "images")
    parser.add_argument("--browser", default="chromium")
    given = parser.parse_args()
    uri = f"run.tracking_uri=sqlite:///{given.data.absolute() / 'mlflow.db'}"
    pages = pages_of(given.experiment, [uri, *given.set]) | dict(page.split("=", 1) for page in given.page)
    given.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(given.browser, Path(profile))
        try:
            for name, url in pages.items():
                (given.out / f"{name}.png").write_bytes(small(browser.png(url)))
        finally:
            browser.close()


if __name__ == "__main__":
    main()
