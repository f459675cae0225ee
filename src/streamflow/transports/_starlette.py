"""Responses where only Starlette's own are taken, as in FastAPI.

Above: users. Below: `_asgi`, and Starlette, which comes with the extra `web` and is imported when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import MissingExtraError

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send

    from ._asgi import ASGIReply
    from ._response import SSEResponse

__all__ = ["starlette_response"]


def starlette_response(response: SSEResponse | ASGIReply) -> Response:
    """Return a response as one of Starlette's, for FastAPI and whatever else looks at its type. Starlette itself needs none.

    Raises:
        MissingExtraError: If Starlette is not installed; the extra `web` brings it.
    """
    try:
        from starlette.responses import Response
    except ImportError as missing:
        raise MissingExtraError("starlette", "web") from missing

    class Adapted(Response):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await response(scope, receive, send)

    return Adapted()
