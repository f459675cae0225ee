"""Responses as Starlette's own, for those who look at the type."""

from __future__ import annotations

import sys

import pytest
from starlette.responses import Response

from streamflow import TextElement
from streamflow.elements import EndOfStream, decode
from streamflow.errors import MissingExtraError
from streamflow.transports import StreamHub, sse_response, starlette_response
from tests.support.asgi import ask


async def test_a_response_can_be_one_of_starlettes() -> None:
    """semantics 23.1: FastAPI takes nothing else."""

    async def texts():
        yield TextElement("a")

    response = starlette_response(sse_response(texts()))
    assert isinstance(response, Response)
    got = await ask(response)
    assert got.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert [type(decode(one)) for one in got.data] == [TextElement, EndOfStream]
    assert (await ask(starlette_response(StreamHub().stop_response("s")))).status == 404


def test_without_starlette_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """`starlette_response()`: what is missing, and how to get it."""
    monkeypatch.setitem(sys.modules, "starlette.responses", None)

    with pytest.raises(MissingExtraError, match="web"):
        starlette_response(StreamHub().stop_response("s"))
