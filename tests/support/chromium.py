"""Headless Chromium, driven over its own protocol: pages of servers on this machine, as a user has them.

Installed when it is not there and this is a machine where one may (root, with apt), as the servers of `store_servers` are.
"""

from __future__ import annotations

import base64
import itertools
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from store_servers import installed
from websockets.sync.client import connect

START_S = 30.0
WITHIN_S = 15.0

SWITCHES = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
)

CUTTABLE = """
(() => {
  const own = window.fetch.bind(window);
  const open = new Set();
  window.fetch = (url, options) => {
    const cut = new AbortController();
    open.add(cut);
    return own(url, { ...options, signal: cut.signal });
  };
  window.cutConnections = () => open.forEach(one => one.abort());
})()
"""
"""Lets a test cut the connections of a page."""


class Browser:
    """A browser of its own, with its own folder; use it with `with`."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="streamflow-chromium-"))
        command = [installed("chromium", "chromium"), *SWITCHES, f"--user-data-dir={self._folder}", "about:blank"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def __enter__(self) -> Self:
        told = self._folder / "DevToolsActivePort"
        end = time.monotonic() + START_S
        while not (told.exists() and len(lines := told.read_text().split()) == 2):
            assert self._process.poll() is None, "chromium did not start"
            assert time.monotonic() < end, "chromium did not start in time"
            time.sleep(0.05)  # noqa: TID251 - outside of any event loop
        self._address = f"127.0.0.1:{lines[0]}"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def open(self, url: str) -> Tab:
        """Return a new tab that shows a page."""
        asked = urllib.request.Request(f"http://{self._address}/json/new?about:blank", method="PUT")
        with urllib.request.urlopen(asked, timeout=WITHIN_S) as answer:
            tab = Tab(json.load(answer)["webSocketDebuggerUrl"])
        tab.call("Runtime.enable")
        tab.call("Log.enable")
        tab.call("Page.enable")
        tab.call("Page.addScriptToEvaluateOnNewDocument", source=CUTTABLE)
        tab.go(url)
        return tab


class Tab:
    """One page."""

    def __init__(self, url: str) -> None:
        self._stack = ExitStack()
        self._socket = self._stack.enter_context(connect(url, max_size=None))
        self._ids = itertools.count(1)
        self.complaints: list[str] = []

    def call(self, method: str, **params: Any) -> Any:
        """Ask the browser, and return its answer. What the page complains of meanwhile is kept."""
        id = next(self._ids)
        self._socket.send(json.dumps({"id": id, "method": method, "params": params}))
        while True:
            told = json.loads(self._socket.recv(timeout=WITHIN_S))
            self._note(told)
            if told.get("id") == id:
                assert "error" not in told, told
                return told["result"]

    def _note(self, told: dict[str, Any]) -> None:
        match told.get("method"):
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(told["params"]["exceptionDetails"])[:500])
            case "Log.entryAdded" if told["params"]["entry"]["level"] == "error":
                self.complaints.append(told["params"]["entry"]["text"])
            case _:
                pass

    def go(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete'")

    def reload(self) -> None:
        self.run("window.before = true")
        self.call("Page.reload")
        self.until("!window.before && document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """Return the value of an expression in the page."""
        told = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def until(self, script: str) -> Any:
        """Return the value of an expression once it is true."""
        end = time.monotonic() + WITHIN_S
        while not (value := self.run(script)):
            assert time.monotonic() < end, f"never true: {script}; the page has {self.text()!r}"
            time.sleep(0.02)  # noqa: TID251 - outside of any event loop
        return value

    def text(self) -> str:
        return str(self.run("document.body ? document.body.innerText : ''"))

    def say(self, text: str) -> None:
        """Type a message, and send it with the Enter key."""
        self.until("!document.getElementById('send').hidden")
        self.run("document.getElementById('said').focus()")
        self.call("Input.insertText", text=text)
        key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13}
        self.call("Input.dispatchKeyEvent", type="keyDown", text="\r", **key)
        self.call("Input.dispatchKeyEvent", type="keyUp", **key)

    def press(self, id: str) -> None:
        """Press a button, as a mouse does."""
        box = f"document.getElementById({id!r}).getBoundingClientRect()"
        place = self.run(f"(box => [box.x + box.width / 2, box.y + box.height / 2])({box})")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def picture(self, path: Path, *, dark: bool = False, width: int = 1100, height: int = 800) -> None:
        """Keep what the page looks like."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def close(self) -> None:
        self.call("Page.close")
        self._stack.close()
