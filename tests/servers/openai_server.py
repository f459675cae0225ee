"""A server that speaks OpenAI's chat completions, for tests over real sockets: `python openai_server.py [port]`.

It prints `port N` and serves until it is terminated. The model's name says how it behaves, see `BEHAVIOURS`; a name may have a
suffix, as in `slow:7`, by which one call can be asked about:

- `GET /ended/slow:7` waits until that call has ended and tells how, as in `{"how": "disconnected", "connection": 3, …}`.
- `GET /release/gated:7` lets a gated call go on.

Plain asyncio streams and the standard library: nothing here shares code with what it tests.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from urllib.parse import unquote

TEXT = "Hello, wörld — 你好 🌍!"
THOUGHTS = ["Let me", " think."]
USAGE = {"prompt_tokens": 5, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 2}}
HUGE = 2_000_000


class Call:
    """One request for a completion, and what became of it."""

    def __init__(self, body: dict, headers: dict[str, str], connection: int) -> None:
        self.body, self.headers, self.connection = body, headers, connection
        self.name = body.get("model", "normal")
        self.gate = asyncio.Event()
        self.ended = asyncio.Event()
        self.how = ""

    @property
    def prompt(self) -> str:
        return self.body["messages"][-1]["content"]

    def report(self) -> dict:
        return {"how": self.how, "connection": self.connection, "body": self.body, "headers": self.headers}


calls: defaultdict[str, asyncio.Future[Call]] = defaultdict(lambda: asyncio.get_running_loop().create_future())


def chunk(delta: dict | None = None, finish: str | None = None, **more: object) -> str:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    return json.dumps({"id": "chatcmpl-1", "model": "served", "choices": [choice], **more}, ensure_ascii=False)


def tokens(text: str = TEXT) -> list[str]:
    return [chunk({"role": "assistant", "content": ""}), *(chunk({"content": char}) for char in text)]


USAGE_CHUNK = json.dumps({"id": "chatcmpl-1", "model": "served", "choices": [], "usage": USAGE})
END = [chunk(finish="stop"), USAGE_CHUNK, "[DONE]"]


class CutError(Exception):
    """The connection is to be closed at once, in the middle of the answer."""


async def normal(call: Call) -> AsyncIterator[str]:
    for data in [*tokens(), *END]:
        yield data


async def echo(call: Call) -> AsyncIterator[str]:
    for data in [*tokens(call.prompt), *END]:
        yield data


async def slow(call: Call) -> AsyncIterator[str]:
    yield chunk({"content": "Hel"})
    await asyncio.Event().wait()


async def gated(call: Call) -> AsyncIterator[str]:
    yield chunk({"content": "Hel"})
    await call.gate.wait()
    for data in [chunk({"content": "lo"}), *END]:
        yield data


async def cut(call: Call) -> AsyncIterator[str]:
    yield chunk({"content": "Hel"})
    raise CutError


async def unfinished(call: Call) -> AsyncIterator[str]:
    yield chunk({"content": "Hel"})
    yield "[DONE]"


async def error_chunk(call: Call) -> AsyncIterator[str]:
    yield chunk({"content": "Hel"})
    yield json.dumps({"error": {"message": "too many requests", "type": "rate_limit_error", "code": 429}})


async def no_done(call: Call) -> AsyncIterator[str]:
    for data in [*tokens(), *END[:-1]]:
        yield data


async def no_usage(call: Call) -> AsyncIterator[str]:
    for data in [*tokens(), END[0], END[-1]]:
        yield data


async def cut_after_finish(call: Call) -> AsyncIterator[str]:
    for data in [*tokens(), END[0]]:
        yield data
    raise CutError


async def reasoning(call: Call) -> AsyncIterator[str]:
    for key, thought in zip(("reasoning_content", "reasoning"), THOUGHTS, strict=True):
        yield chunk({key: thought})
    for data in [*tokens(), *END]:
        yield data


async def huge(call: Call) -> AsyncIterator[str]:
    yield chunk({"content": "x" * HUGE})


BEHAVIOURS: dict[str, Callable[[Call], AsyncIterator[str]]] = {
    "normal": normal,  # a text, usage, [DONE]
    "split": normal,  # the same, one byte at a time
    "echo": echo,  # says the last message
    "slow": slow,  # one token, then silence
    "gated": gated,  # one token, and the rest after /release
    "cut": cut,  # one token, then the connection breaks
    "unfinished": unfinished,  # one token and [DONE], but no finish reason
    "error-chunk": error_chunk,  # one token, then an error inside HTTP 200
    "no-done": no_done,
    "no-usage": no_usage,
    "cut-after-finish": cut_after_finish,
    "reasoning": reasoning,  # thoughts under both names
    "huge": huge,  # one event of 2 MB
}  # and `status-N` answers HTTP N; `leak` answers 400 and quotes the request; `page` and `whole` answer 200 without events


def refusal(call: Call) -> tuple[int, str, str] | None:
    """Return status, media type and body of calls that are not answered with a stream."""
    kind = call.name.partition(":")[0]
    if kind.startswith("status-"):
        error = {"message": f"no luck\nwith {kind}", "type": "invalid_request_error", "code": None}
        return int(kind.removeprefix("status-")), "application/json", json.dumps({"error": error})
    if kind == "quota":
        return 429, "application/json", json.dumps({"error": {"message": "pay first", "code": "insufficient_quota"}})
    if kind == "leak":
        said = f"bad key {call.headers.get('authorization')} for {call.prompt!r} \x1b[31m" + "blah " * 1000
        return 400, "application/json", json.dumps({"error": {"message": said}})
    if kind == "page":
        return 200, "text/html; charset=utf-8", "<html>Welcome</html>"
    if kind == "whole":
        return 200, "application/json", json.dumps({"choices": [{"message": {"content": TEXT}}]})
    if kind == "error-body":
        return 200, "application/json", json.dumps({"error": {"message": "busy", "type": "overloaded_error"}})
    return None


def whole_response(status: int, kind: str, body: str, extra: str = "") -> bytes:
    encoded = body.encode()
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: {kind}\r\nContent-Length: {len(encoded)}\r\n"
    )
    return f"{head}{extra}\r\n".encode() + encoded


async def stream_answer(call: Call, writer: asyncio.StreamWriter) -> None:
    kind = call.name.partition(":")[0]
    head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
    writer.write(head.encode())
    async for data in BEHAVIOURS[kind](call):
        event = f"data: {data}\n\n".encode()
        for piece in [event[i : i + 1] for i in range(len(event))] if kind == "split" else [event]:
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            await writer.drain()
    writer.write(b"0\r\n\r\n")
    await writer.drain()


async def complete(call: Call, writer: asyncio.StreamWriter, gone: asyncio.Task[bytes]) -> None:
    """Answer a call, unless its client goes before."""
    if calls[call.name].done():  # a name that is used again stands for the latest call
        del calls[call.name]
    calls[call.name].set_result(call)
    refused = refusal(call)
    if refused is not None:
        writer.write(whole_response(*refused, extra="Location: /elsewhere\r\n" if refused[0] == 307 else ""))
        call.how = "refused"
    else:
        answer = asyncio.create_task(stream_answer(call, writer))
        await asyncio.wait([answer, gone], return_when=asyncio.FIRST_COMPLETED)
        call.how = "finished" if answer.done() and not answer.exception() else "disconnected"
        if not answer.done():
            answer.cancel()
        elif isinstance(answer.exception(), CutError):
            call.how = "cut"
    call.ended.set()


async def side(path: str) -> bytes:
    what, _, name = path.strip("/").partition("/")
    call = await calls[unquote(name)]
    if what == "release":
        call.gate.set()
    else:
        await call.ended.wait()
    return whole_response(200, "application/json", json.dumps(call.report()))


async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
    first = await reader.readline()
    while first:
        method, path, _ = first.decode().split(" ", 2)
        headers: dict[str, str] = {}
        while (line := (await reader.readline()).decode().strip()) != "":
            key, _, value = line.partition(":")
            headers[key.lower()] = value.strip()
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        # What comes next is the client's next request, or nothing, when it has gone.
        following = asyncio.create_task(reader.readline())
        if method == "GET":
            writer.write(await side(path))
        elif path == "/v1/chat/completions":
            call = Call(json.loads(body), headers, number)
            await complete(call, writer, following)
            if call.how == "cut":
                following.cancel()
                return
        else:
            writer.write(whole_response(404, "application/json", json.dumps({"detail": f"no {path} here"})))
        await writer.drain()
        first = await following


async def main(port: int) -> None:
    connections = 0

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        try:
            await serve_one(reader, writer, connections)
        except ConnectionError:
            pass  # the client has gone, and `complete` has noted it
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", port)
    sys.stdout.write(f"port {server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
