"""The generator of load: `python -m benchmarks.chats._load <port>`; one wave per line of JSON read, one line of figures written.

Above: `bench_chats` starts it. Below: nothing of ours.
As many connections as clients, kept open from wave to wave. Each client asks, reads its answer to the end, and asks again until the
wave has no requests left. An answer counts if its status is 200 and every word is in it, in order.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from . import WORDS

__all__: list[str] = []

_WORDS = [word.encode() for word in WORDS]
_END = b"0\r\n\r\n"


class _Wave:
    """What is left to ask, and what came of it."""

    def __init__(self, requests: int, done: asyncio.Future[None]) -> None:
        self.left = self.open = requests
        self.first_s: list[float] = []
        self.whole_s: list[float] = []
        self.errors: list[str] = []
        self._done = done

    def ended(self, error: str | None = None) -> None:
        if error is not None:
            self.errors.append(error)
        self.open -= 1
        if not self.open:
            self._done.set_result(None)


class _Client(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self.wave: _Wave | None = None
        self.request = b""
        self._began_s = 0.0
        self._seen = False
        self._answer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self.wave is not None:
            self._end("the connection was lost")

    @property
    def is_lost(self) -> bool:
        return self._transport is None

    def ask(self, wave: _Wave) -> None:
        self.wave = wave
        if not wave.left:
            self.wave = None
            return
        wave.left -= 1
        self._answer.clear()
        self._seen = False
        if self._transport is None:
            self._end("the connection was lost")
            return
        self._began_s = time.perf_counter()
        self._transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        answer += data
        if self.wave is None:
            return
        if not self._seen and _WORDS[0] in answer:
            self._seen = True
            self.wave.first_s.append(time.perf_counter() - self._began_s)
        if answer.endswith(_END):
            self.wave.whole_s.append(time.perf_counter() - self._began_s)
            self._end(_wrong(bytes(answer)))

    def _end(self, error: str | None) -> None:
        wave, self.wave = self.wave, None
        assert wave is not None
        wave.ended(error)
        if not self.is_lost:
            self.ask(wave)


def _wrong(answer: bytes) -> str | None:
    """Return what is wrong with an answer."""
    if not answer.startswith(b"HTTP/1.1 200"):
        return answer[:200].decode(errors="replace")
    at = -1
    for word in _WORDS:
        found = answer.find(word, at + 1)
        if found < 0:
            return f"{word!r} is missing or late in {answer[-300:]!r}"
        at = found
    return None


async def _wave(clients: list[_Client], told: dict[str, Any]) -> dict[str, Any]:
    body = json.dumps({"message": "What is the weather in Vienna today?"}).encode()
    head = (
        f"POST {told['path']} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    )
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    wave = _Wave(told["requests"], done)
    began_s, cpu_s = time.perf_counter(), time.process_time()
    for client in clients:
        client.request = f"{head}\r\n\r\n".encode() + body
        client.ask(wave)
    await done
    return {
        "wall_s": time.perf_counter() - began_s,
        "cpu_s": time.process_time() - cpu_s,
        "first_s": wave.first_s,
        "whole_s": wave.whole_s,
        "errors": wave.errors[:5],
        "failed": len(wave.errors),
    }


async def _main() -> None:
    loop = asyncio.get_running_loop()
    port = int(sys.argv[1])
    clients: list[_Client] = []
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        told = json.loads(line)
        clients = [one for one in clients if not one.is_lost]
        while len(clients) < told["clients"]:
            client = _Client()
            await loop.create_connection(lambda one=client: one, "127.0.0.1", port)  # type: ignore[misc]
            clients.append(client)
        print(json.dumps(await _wave(clients, told)), flush=True)


if __name__ == "__main__":
    try:
        import uvloop
    except ImportError:
        asyncio.run(_main())
    else:
        uvloop.run(_main())
