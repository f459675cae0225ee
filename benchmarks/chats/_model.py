"""A model's server that costs next to nothing: chat completions over HTTP/1.1, every chunk encoded before the first request.

Above: `bench_chats` starts it. Below: nothing of ours.
A request with tools, and without a result of one, is answered with a call; every other one with the words.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from . import FIRST_S, GAP_S, WORDS

__all__: list[str] = []

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"


def _piece(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _event(delta: dict[str, Any], finish: str | None = None, *, usage: bool = False) -> bytes:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "bench"}
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    chunk = {**head, "system_fingerprint": "fp_1", "choices": [] if usage else [choice], "usage": None}
    if usage:
        chunk["usage"] = {"prompt_tokens": 20, "completion_tokens": len(WORDS), "total_tokens": 20 + len(WORDS)}
    return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"


def _call() -> dict[str, Any]:
    call = {
        "index": 0,
        "id": "call_1",
        "type": "function",
        "function": {"name": "lookup", "arguments": '{"city":"Vienna"}'},
    }
    return {"role": "assistant", "content": None, "tool_calls": [call]}


_LAST = _event({}, usage=True) + b"data: [DONE]\n\n"
_END = b"0\r\n\r\n"
_CALL = [_HEAD + _piece(_event(_call())) + _piece(_event({}, "tool_calls") + _LAST) + _END]
_TALK = [_piece(_event({"content": word})) for word in WORDS]
_TALK[0] = _HEAD + _piece(_event({"role": "assistant", "content": WORDS[0]}))
_TALK[-1] += _piece(_event({}, "stop") + _LAST) + _END


class _Server(asyncio.Protocol):
    """One connection, kept open between requests."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._held = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._held += data
        head, found, body = self._held.partition(b"\r\n\r\n")
        if not found:
            return
        if head.startswith(b"GET "):
            self._held = b""
            self._say_cost()
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) >= length:
            self._held = b""
            is_call = b'"tools"' in body and b'"tool_call_id"' not in body
            self._loop.call_later(FIRST_S, self._say, _CALL if is_call else _TALK, 0, self._loop.time() + FIRST_S)

    def _say(self, pieces: list[bytes], place: int, due_s: float) -> None:
        if self._transport is None:
            return
        self._transport.write(pieces[place])
        if place + 1 < len(pieces):
            self._loop.call_at(due_s + GAP_S, self._say, pieces, place + 1, due_s + GAP_S)

    def _say_cost(self) -> None:
        told = json.dumps({"cpu_s": time.process_time()}).encode()
        assert self._transport is not None
        self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(told), told))


async def _main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Server(loop), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)  # until whoever started it has gone
    server.close()


if __name__ == "__main__":
    try:
        import uvloop
    except ImportError:
        asyncio.run(_main())
    else:
        uvloop.run(_main())
