"""Headless Chromium, driven over its own protocol: pages of servers on this machine, as a user has them.

Installed when it is not there and this is a machine where one may (root, with apt), as the servers of `store_servers` are.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
import shutil
import subprocess
import tempfile
import threading
import urllib.request
from collections.abc import Callable
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

LISTENING = re.compile(r"DevTools listening on ws://([^/]+)/")

UNTIL = """
new Promise(done => {
  const look = () => { const value = (%s); if (value) end(value); };
  const watcher = new MutationObserver(look);
  const timer = setInterval(look, 100);
  const end = value => { watcher.disconnect(); clearInterval(timer); done(value); };
  watcher.observe(document, {subtree: true, childList: true, attributes: true, characterData: true});
  setTimeout(() => end(null), %d);
  look();
})
"""
"""Waits in the page: looks at an expression whenever something in the document changes, and by a timer for what is not in it."""

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
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        self._address = ""
        self._listens = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)

    def _read(self) -> None:
        """Find the address in what the browser says, and read on to the end, so that it never waits for a reader."""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if told := LISTENING.match(line):
                self._address = told[1]
                self._listens.set()
        self._listens.set()

    def __enter__(self) -> Self:
        self._reader.start()
        assert self._listens.wait(START_S), "chromium did not start in time"
        assert self._address, "chromium did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join(START_S)
        assert self._process.stderr is not None
        self._process.stderr.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def open(self, url: str) -> Tab:
        """Return a new tab that shows a page."""
        asked = urllib.request.Request(f"http://{self._address}/json/new?about:blank", method="PUT")
        with urllib.request.urlopen(asked, timeout=WITHIN_S) as answer:
            tab = Tab(json.load(answer)["webSocketDebuggerUrl"])
        tab.call("Runtime.enable")
        tab.call("Log.enable")
        tab.call("Page.enable")
        tab.call("Page.setLifecycleEventsEnabled", enabled=True)
        tab.call("Page.addScriptToEvaluateOnNewDocument", source=CUTTABLE)
        tab.go(url)
        return tab


class Tab:
    """One page."""

    def __init__(self, url: str) -> None:
        self._stack = ExitStack()
        self._socket = self._stack.enter_context(connect(url, max_size=None))
        self._ids = itertools.count(1)
        self._loaded = ""
        self.complaints: list[str] = []

    def call(self, method: str, **params: Any) -> Any:
        """Ask the browser, and return its answer. What the page complains of meanwhile is kept."""
        id = next(self._ids)
        self._socket.send(json.dumps({"id": id, "method": method, "params": params}))
        while True:
            told = json.loads(self._socket.recv(timeout=2 * WITHIN_S))  # `until` waits in the page
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
            case "Page.lifecycleEvent" if told["params"]["name"] == "load":
                self._loaded = told["params"]["loaderId"]
            case _:
                pass

    def go(self, url: str) -> None:
        loader = self.call("Page.navigate", url=url)["loaderId"]
        self._wait(lambda: self._loaded == loader)

    def reload(self) -> None:
        before = self._loaded
        self.call("Page.reload")
        self._wait(lambda: self._loaded != before)

    def _wait(self, is_so: Callable[[], bool]) -> None:
        """Wait until what the browser tells makes something so."""
        while not is_so():
            self._note(json.loads(self._socket.recv(timeout=WITHIN_S)))

    def run(self, script: str) -> Any:
        """Return the value of an expression in the page."""
        told = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def until(self, script: str) -> Any:
        """Return the value of an expression once it is true."""
        value = self.run(UNTIL % (script, int(WITHIN_S * 1000)))
        assert value, f"never true: {script}; the page has {self.text()!r}"
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
