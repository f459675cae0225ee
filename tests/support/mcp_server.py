"""A real MCP server on standard input and output, for tests; `python mcp_server.py`."""

from __future__ import annotations

import os

import anyio
from mcp.server import MCPServer

server = MCPServer("for tests")


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool(name="say.hello")
def hello(name: str) -> str:
    """Greet somebody."""
    return f"Hello, {name}!"


@server.tool()
def broken() -> str:
    """Fail."""
    raise ValueError("out of paper")


@server.tool()
async def slow() -> str:
    """Take for ever."""
    await anyio.sleep_forever()
    return ""


@server.tool()
def environment() -> str:
    """Say whether a secret of the program that has started this one is here."""
    return os.environ.get("STREAMFLOW_TEST_SECRET", "none")


if __name__ == "__main__":
    server.run()
