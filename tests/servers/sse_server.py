"""Serves streams of events with Starlette, and tells what became of them: `python sse_server.py uvicorn` (or `hypercorn`, on trio).

Prints its port. `/direct` ends its run with its client, `/chat/{id}` goes on in a hub; `?count=`, `?pause_s=`, `?size=` say what
comes, `?heartbeat_s=` and `?write_timeout_s=` when something is sent. `/state?id=` tells how far a run has come and how it ended;
with `after_s=` a while later, with `wait=` once it has ended.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from typing import TYPE_CHECKING

import anyio
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from streamflow import PipelineBuilder, TextElement, stage
from streamflow.transports import StreamHub, sse_response, starlette_response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request


class Progress:
    """How far a run has come."""

    def __init__(self) -> None:
        self.made = 0
        self.ended: str | None = None
        self.over = anyio.Event()


RUNS: dict[str, Progress] = {}


async def texts(id: str, count: int, pause_s: float, size: int) -> AsyncIterator[TextElement]:
    run = RUNS[id] = Progress()
    try:
        for number in range(count):
            yield TextElement(f"{number};".rjust(size, "x"))
            run.made = number + 1
            await anyio.sleep(pause_s)
        run.ended = "done"
    finally:
        run.ended = run.ended or "cancelled"
        run.over.set()


@stage
async def same(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    async for element in stream:
        yield element


pipeline = PipelineBuilder().add(same).build()


def streaming(request: Request, id: str, **options: object):
    query = request.query_params
    count, size = int(query.get("count", 10**9)), int(query.get("size", 1))
    pause_s = float(query.get("pause_s", 0))
    times = {name: float(query[name]) for name in ("heartbeat_s", "write_timeout_s") if name in query}
    return sse_response(lambda: pipeline.execute(texts(id, count, pause_s, size)), **times, **options)


async def direct(request: Request):
    return streaming(request, request.query_params["id"])


async def chat(request: Request):
    id = request.path_params["id"]
    return starlette_response(streaming(request, id, hub=request.state.hub, stream_id=id))


async def stop(request: Request):
    return request.state.hub.stop_response(request.path_params["id"])


async def state(request: Request):
    query = request.query_params
    await anyio.sleep(float(query.get("after_s", 0)))
    with anyio.move_on_after(10):
        if "wait" in query:
            await RUNS[query["id"]].over.wait()
    pages = int((await anyio.Path("/proc/self/statm").read_text()).split()[1])
    run = RUNS[query["id"]]
    return JSONResponse({"made": run.made, "ended": run.ended, "rss_kib": pages * 4})


@contextlib.asynccontextmanager
async def lifespan(app: Starlette):
    async with StreamHub(max_age_s=30) as hub:
        yield {"hub": hub}


app = Starlette(
    lifespan=lifespan,
    routes=[
        Route("/direct", direct),
        Route("/chat/{id}", chat),
        Route("/chat/{id}/stop", stop, methods=["POST"]),
        Route("/state", state),
    ],
)


def main(server: str) -> None:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    if server == "uvicorn":
        import uvicorn

        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
    else:
        import hypercorn.config
        import hypercorn.trio
        import trio

        config = hypercorn.config.Config()
        config.bind = [f"fd://{listener.detach()}"]
        trio.run(hypercorn.trio.serve, app, config)


if __name__ == "__main__":
    main(sys.argv[1])
