"""No contender: the words, after the same waits, from a bare ASGI application. What the server, and all around it, cost."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from . import FIRST_S, GAP_S, TOOL_S, WORDS

__all__ = ["make_app"]


def make_app(_model_url: str) -> Any:
    """Return the application."""
    frames = [b"data: " + json.dumps({"text": word}).encode() + b"\n\n" for word in WORDS]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            return
        while (await receive()).get("more_body"):
            pass
        headers = [(b"content-type", b"text/event-stream")]
        if scope["path"] == "/agent":
            await asyncio.sleep(FIRST_S + TOOL_S)
        await asyncio.sleep(FIRST_S)
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for place, frame in enumerate(frames):
            if place:
                await asyncio.sleep(GAP_S)
            await send({"type": "http.response.body", "body": frame, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return app
