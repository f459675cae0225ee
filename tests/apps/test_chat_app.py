"""`chat_app()`: who may ask, what is answered in which format, and what is refused, without a network."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager

import anyio
import pytest

from asgi import Exchange
from streamflow.agents import tool
from streamflow.apps import ChatService, ChatSettings, chat_app, chat_pipeline
from streamflow.errors import ConfigError
from streamflow.providers import DelayStep, ScriptedProvider, ScriptTurn, TextStep, ToolCallStep, When
from streamflow.state import MemoryStore

OWN = {"host": "127.0.0.1:8000", "content-type": "application/json"}


class Client:
    """Asks an application, as a browser does."""

    def __init__(self, app):
        self.app = app

    async def ask(self, method, path, body=None, *, exchange=None, **headers):
        exchange = exchange if exchange is not None else Exchange()
        given = OWN | {name.replace("_", "-"): value for name, value in headers.items() if value is not None}
        parts = [json.dumps(body).encode() if body is not None else b""]

        async def receive():
            if parts:
                return {"type": "http.request", "body": parts.pop(), "more_body": False}
            return await exchange.receive_end()

        path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in given.items() if value],
        }
        await self.app(scope, receive, exchange.send)
        return exchange
