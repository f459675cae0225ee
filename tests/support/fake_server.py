"""The process of `streamflow fake-llm`, for tests over real sockets."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import anthropic
import anyio.to_thread
import openai

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPT = Path(__file__).parents[1] / "servers" / "answers.json"
TEXT = "Hello, wörld — 你好 🌍!"
KEY = "sk-planted-0123456789"
_numbers = count()


def warm_sdks() -> None:
    """Let the SDKs look once, outside an event loop, at which system they run on."""
    assert openai.AsyncOpenAI(api_key=KEY).default_headers
    assert anthropic.AsyncAnthropic(api_key=KEY).default_headers


@contextmanager
def serving(*arguments: str) -> Iterator[str]:
    """Start a server process, and yield its address, as `http://127.0.0.1:port`."""
    command = [sys.executable, "-m", "streamflow", "fake-llm", "--port", "0", "--script", str(SCRIPT), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://[^/ ]+", process.stdout.readline())
            assert found is not None
            yield found[0]
        finally:
            process.terminate()


def model(faults: str = "") -> str:
    """Return the name of a model with these faults, which no other call has."""
    return f"m?{faults}{'&' * bool(faults)}id={next(_numbers)}"


def told(address: str, what: str, name: str) -> dict:
    """Ask the server what became of a call, by another client than the one that is tested."""
    with urllib.request.urlopen(f"{address}/fake/{what}?model={quote(name, safe='')}", timeout=10) as response:
        return json.load(response)


async def told_later(address: str, what: str, name: str) -> dict:
    """Do the same inside an event loop."""
    return await anyio.to_thread.run_sync(told, address, what, name)
