"""What the contenders have in common: an application of Starlette with two routes, and frames of text.

Above: the contenders. Below: starlette.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

__all__ = ["SYSTEM", "application", "streaming"]

SYSTEM = "You are a helpful assistant. Answer briefly."


def application(
    chat: Callable[[str], Any],
    agent: Callable[[str], Any],
    opened: Callable[[], contextlib.AbstractAsyncContextManager[Any]] = contextlib.nullcontext,
) -> Any:
    """Return an application of two functions that turn a message into a response, and of what is open while it serves."""

    def route(answer: Callable[[str], Any]) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Any:
            return answer((await request.json())["message"])

        return endpoint

    @contextlib.asynccontextmanager
    async def lifespan(_app: Any) -> AsyncIterator[None]:
        async with opened():
            yield

    routes = [Route(f"/{one.__name__}", route(one), methods=["POST"]) for one in (chat, agent)]
    return Starlette(routes=routes, lifespan=lifespan)


def streaming(texts: AsyncIterator[str]) -> Any:
    """Return texts as a response of server-sent events, as a user would write it by hand."""

    async def frames() -> AsyncIterator[str]:
        async for text in texts:
            if text:
                yield f"data: {json.dumps({'text': text})}\n\n"
        yield "data: [DONE]\n\n"

    return StreamingResponse(frames(), media_type="text/event-stream")
