"""A pipeline as server-sent events: a client that is cut off comes back for the rest, while the run goes on without it."""

from collections.abc import AsyncIterator

import anyio

from streamflow import PipelineBuilder, TextElement, stage
from streamflow.elements import decode
from streamflow.transports import SSEResponse, StreamHub, sse_response
from streamflow.wire import SSEEvent, SSEParser


@stage
async def answer(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    async for question in stream:
        for word in f"You asked: {question.text}".split():
            yield TextElement(f"{word} ")
            await anyio.sleep(0.02)


pipeline = PipelineBuilder().add(answer).build()


async def call(app: SSEResponse, last_event_id: str | None = None, hang_up_after: int | None = None) -> list[SSEEvent]:
    """Call an ASGI application as a server would; return the events of its response."""
    parser, hang_up = SSEParser(), anyio.Event()
    events: list[SSEEvent] = []
    headers = [(b"last-event-id", last_event_id.encode())] if last_event_id else []

    async def receive() -> dict[str, object]:
        await hang_up.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, object]) -> None:
        if message["type"] == "http.response.start":
            print("status", message["status"])
        else:
            events.extend(parser.feed(message["body"]))
            if hang_up_after is not None and len(events) >= hang_up_after:
                hang_up.set()

    await app({"type": "http", "method": "GET", "path": "/", "headers": headers}, receive, send)
    return events


def show(events: list[SSEEvent]) -> None:
    for event in events:
        number = event.id.partition(":")[2]  # before it stands the epoch, which tells this stream from all others
        element = decode(event.data)
        print(f"  {number}: {element.text.strip() if isinstance(element, TextElement) else element.reason}")


async def main() -> None:
    async with StreamHub() as hub:  # where the application lives: in its lifespan
        response = sse_response(lambda: pipeline.execute("why is it blue?"), hub=hub, stream_id="chat-1")

        cut = await call(response, hang_up_after=3)
        show(cut)

        print("streams:", [(one.id, one.is_running, one.readers) for one in hub.streams])
        rest = await call(response, last_event_id=cut[-1].id)
        show(rest)

        await call(response, last_event_id=rest[-1].id)  # nothing more: a browser then stops coming back
        await call(response, last_event_id="another-server:3")  # not ours


if __name__ == "__main__":
    anyio.run(main)
