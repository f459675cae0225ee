"""What does a streamed token cost from the element to the bytes of a server-sent event, beside sse-starlette and a bare response?

Each is called as an ASGI application, by a server that takes bytes at once. `paced`: after each token the loop goes round once, as
with a model, so each token is a frame of its own. `burst`: the source never waits. The bare response has frames that its user
writes by hand, with an id, and nothing else: no heartbeat, no deadline, no place to come back to.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.lowlevel
import msgspec

from streamflow import TextElement
from streamflow.transports import StreamHub, sse_response

from ._cli import main
from ._harness import Case, Results, Sample, Scale, Stopwatch, has_backend, run_on
from ._report import Goal, Report, Table, number, times

__all__ = ["ROUNDS", "cases", "measure", "report"]

ROUNDS = (3, 3)

BARE, PEER, OURS, KEPT = "StreamingResponse", "sse-starlette", "streamflow", "streamflow in a hub"
PACES = ("paced", "burst")


def cases(scale: Scale) -> list[Case]:
    """Return each way to answer, at each pace; what needs sse-starlette is left out where that is not installed."""
    options = {"tokens": scale.size(10_000, 5_000)}
    return [
        Case(f"{peer} / {pace} / {backend}", peer, backend, {**options, "pace": pace})
        for backend in (("asyncio",) if scale.quick else ("asyncio", "trio"))
        if has_backend(backend)
        for pace in PACES
        for peer in (BARE, PEER, OURS, KEPT)
        if peer != PEER or importlib.util.find_spec("sse_starlette") is not None
    ]


async def _texts(count: int, pace: str) -> AsyncIterator[TextElement]:
    for place in range(count):
        yield TextElement(f" tok{place % 1000}")
        if pace == "paced":
            await anyio.lowlevel.checkpoint()


def _application(peer: str, texts: AsyncIterator[TextElement], hub: StreamHub) -> Any:
    encode = msgspec.json.encode
    if peer == BARE:
        from starlette.responses import StreamingResponse

        async def frames() -> AsyncIterator[bytes]:
            place = 0
            async for element in texts:
                place += 1
                yield b"id: %d\ndata: %s\n\n" % (place, encode({"type": "text", "text": element.text}))
            yield b"data: [DONE]\n\n"

        return StreamingResponse(frames(), media_type="text/event-stream")
    if peer == PEER:
        from sse_starlette import EventSourceResponse

        async def events() -> AsyncIterator[dict[str, str]]:
            place = 0
            async for element in texts:
                place += 1
                yield {"id": str(place), "data": encode({"type": "text", "text": element.text}).decode()}
            yield {"data": "[DONE]"}

        return EventSourceResponse(events())
    if peer == OURS:
        return sse_response(texts)
    return sse_response(texts, hub=hub, stream_id=str(id(texts)))


async def _call(application: Any) -> tuple[int, int]:
    """Return how many bytes and pieces came."""
    size = pieces = 0

    async def receive() -> dict[str, Any]:
        await anyio.sleep_forever()
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        nonlocal size, pieces
        size += len(message.get("body", b""))
        pieces += 1

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "asgi": {"spec_version": "2.3"}}
    await application(scope, receive, send)
    return size, pieces


def measure(case: Case) -> Sample:
    """Answer one request, after a short one to warm up."""
    tokens, pace = case.options["tokens"], case.options["pace"]

    async def run() -> Sample:
        async with StreamHub(max_events=tokens + 10, max_bytes=1 << 30) as hub:
            await _call(_application(case.peer, _texts(tokens // 20, pace), hub))
            application = _application(case.peer, _texts(tokens, pace), hub)
            with Stopwatch() as watch:
                size, pieces = await _call(application)
        if size < tokens * 6:
            message = f"{case.label}: {size} bytes for {tokens} tokens"
            raise RuntimeError(message)
        return {**watch.per(tokens), "pieces": pieces / tokens}

    return run_on(case.backend, run)


def report(results: Results) -> Report:
    """Compare with the bare response, inside each round."""
    rows = [
        (
            case.peer,
            case.options["pace"],
            case.backend,
            number(results.best(label, "cpu_us")),
            number(results.median(label, "cpu_us")),
            times(results.ratio(label, _like(case, BARE), "cpu_us")),
            f"{results.median(label, 'pieces'):.2f}",
        )
        for label, case in results.cases.items()
    ]
    title = "μs per streamed token (ratios of CPU time: median over paired rounds)"
    header = ("who", "pace", "loop", "CPU min", "median", "÷ bare", "sends per token")
    goals = [
        Goal(f"{label} ÷ {PEER}", results.ratio(label, _like(case, PEER), "cpu_us"), 1.0)
        for label, case in results.cases.items()
        if case.peer in (OURS, KEPT)
    ]
    return Report([Table(title, header, rows)], goals)


def _like(case: Case, peer: str) -> str:
    return f"{peer} / {case.options['pace']} / {case.backend}"


if __name__ == "__main__":
    sys.exit(main(["sse", *sys.argv[1:]]))
