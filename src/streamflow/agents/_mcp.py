"""Tools of an MCP server: a program that is started here, or one that is reached by an address.

Above: users. Below: `_tool`, and the optional `mcp`, which only this module imports.
Rules: what a server says of its tools is bounded in number and size, before a model reads it. The server is asked for nothing but
its tools, and is given nothing but the arguments: no environment but the one that is said, no sampling, no files.
"""

from __future__ import annotations

import binascii
import importlib
import math
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import msgspec

from ..elements import FilePart, ImagePart, TextPart, thaw
from ..errors import ConfigError, MissingExtraError, ProgramError, ToolError
from ..providers import ToolSpec
from ._tool import Tool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection, Mapping, Sequence

    from ..elements import ContentPart, JsonValue
    from ._tool import Approve, ToolContext

__all__ = ["open_mcp_tools"]

_MAX_TOOLS = 256
_MAX_SPEC_BYTES = 64_000
_UNLAWFUL = re.compile(r"[^A-Za-z0-9_-]")


@asynccontextmanager
async def open_mcp_tools(
    server: Sequence[str] | str,
    *,
    only: Collection[str] | None = None,
    prefix: str = "",
    env: Mapping[str, str] | None = None,
    approve: Approve | None = None,
    timeout_s: float | None = None,
    start_timeout_s: float = 30.0,
) -> AsyncGenerator[tuple[Tool, ...], None]:
    """Start or reach an MCP server, and give its tools while it is open.

    ```python
    async with open_mcp_tools(["uvx", "mcp-server-time"]) as tools:
        agent = AgentStage(provider, tools)
    ```

    What a server says of its tools is read by the model: name those that you trust with `only`, or have persons decide with
    `approve`.

    Args:
        server: The command to start, with its arguments, which speaks MCP on its standard input and output; or an address, as text.
        only: Names of the tools to take; None: all.
        prefix: Put before the names, to tell servers apart.
        env: Environment of the command; None: the little that it needs to start.
        approve: Whether calls may run; None: what `Tools` says.
        timeout_s: Longest time of a call, in seconds; None: what `Tools` says.
        start_timeout_s: Longest time until the server has told its tools, in seconds.

    Cancellation: ends the server.

    Raises:
        ConfigError: If the server does not have a tool that `only` names, has too many, or one that is too large.
        MissingExtraError: If `mcp` is not installed.
        ProgramError: If the server cannot be started or reached, or is no MCP server.
    """
    if not server:
        raise ConfigError("server", "is empty; give a command with its arguments, or an address")
    mcp = await anyio.to_thread.run_sync(_import_mcp)  # it reads many files
    told = server if isinstance(server, str) else server[0]
    target: Any = server
    if not isinstance(server, str):
        target = mcp.StdioServerParameters(
            command=server[0], args=list(server[1:]), env=None if env is None else dict(env)
        )
    failure: Exception | None = None
    is_open = False
    with anyio.CancelScope(deadline=anyio.current_time() + start_timeout_s) as starting:
        try:
            async with mcp.Client(target) as client:
                # What fails in here leaves as it is, and not in the group of the client's tasks.
                try:
                    tools = [
                        Tool.from_schema(
                            _spec_of(one, prefix), _caller(client, one.name, mcp), approve=approve, timeout_s=timeout_s
                        )
                        for one in _chosen(await _listed(client), only)
                    ]
                    starting.deadline, is_open = math.inf, True
                    yield tuple(tools)
                except Exception as error:  # noqa: BLE001 - raised again below
                    failure = error
        except Exception as error:
            if is_open:
                raise
            raise ProgramError(told, f"could not be asked for its tools ({type(error).__name__})") from error
    if failure is None and not is_open:
        raise ProgramError(told, f"has not told its tools within {start_timeout_s:g} s; raise start_timeout_s")
    if failure is not None:
        if is_open or isinstance(failure, ConfigError):
            raise failure
        raise ProgramError(told, f"could not be asked for its tools ({type(failure).__name__})") from failure


def _import_mcp() -> Any:
    try:
        import mcp

        importlib.import_module("jsonschema")  # mcp imports it in the middle of its first call
    except ImportError as error:
        raise MissingExtraError("mcp", "mcp") from error
    return mcp


async def _listed(client: Any) -> list[Any]:
    """Return all that a server has, page by page."""
    found: list[Any] = []
    cursor: str | None = None
    while True:
        page = await client.list_tools(cursor=cursor)
        found += page.tools
        cursor = page.next_cursor
        if len(found) > _MAX_TOOLS:
            raise ConfigError("server", f"it has more than {_MAX_TOOLS} tools")
        if not cursor or not page.tools:
            return found


def _chosen(listed: list[Any], only: Collection[str] | None) -> list[Any]:
    if only is None:
        return listed
    names = [one.name for one in listed]
    for name in only:
        if name not in names:
            raise ConfigError("only", f"the server has no tool {name!r}; it has: {', '.join(names)[:300] or 'none'}")
    return [one for one in listed if one.name in only]


def _spec_of(one: Any, prefix: str) -> ToolSpec:
    spec = ToolSpec(
        _UNLAWFUL.sub("_", f"{prefix}{one.name}")[:64],
        one.description or one.title or "",
        one.input_schema or {"type": "object", "properties": {}},
    )
    size = len(msgspec.json.encode(spec))
    if size > _MAX_SPEC_BYTES:
        raise ConfigError(
            "server", f"its tool {one.name!r:.80} is described in {size} bytes, more than {_MAX_SPEC_BYTES}"
        )
    return spec


def _caller(client: Any, name: str, mcp: Any) -> Any:
    async def call(args: Mapping[str, JsonValue], _context: ToolContext[object]) -> object:
        try:
            result = await client.call_tool(name, thaw(args))
        except mcp.MCPError as error:
            raise ToolError(f"The server refused the call: {error!s:.500}") from error
        parts = [part for content in result.content for part in _parts_of(content)]
        if result.is_error:
            text = "".join(part.text for part in parts if isinstance(part, TextPart))
            raise ToolError(text or "The tool failed.")
        if not parts:
            return result.structured_content
        return parts[0].text if len(parts) == 1 and isinstance(parts[0], TextPart) else parts

    return call


def _parts_of(content: Any) -> list[ContentPart]:
    """Return what a server has sent as parts of a message."""
    match content.type:
        case "text":
            return [TextPart(content.text)]
        case "image":
            return [ImagePart(_decoded(content.data), content.mime_type)]
        case "audio":
            return [FilePart(_decoded(content.data), content.mime_type)]
        case "resource":
            text = getattr(content.resource, "text", None)
            if text is not None:
                return [TextPart(text)]
            return [
                FilePart(_decoded(content.resource.blob), content.resource.mime_type, name=str(content.resource.uri))
            ]
        case _:
            return [TextPart(str(getattr(content, "uri", content.type)))]


def _decoded(data: str) -> bytes:
    try:
        return binascii.a2b_base64(data)
    except (binascii.Error, ValueError) as error:
        raise ToolError("The server sent data that is no base64.") from error
