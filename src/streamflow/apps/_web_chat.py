"""A chat as a web application: a page, and the same chats for the clients of AG-UI and of the Vercel AI SDK.

Above: `cli`, users. Below: `_web_guard`, `_web_page`, `_web_turns`, `transports`.

The history is the server's: of what a client sends, the newest message of the user counts, and what a person decides about calls
that wait. A response belongs to its chat and not to the connection that has asked for it, so a page can be loaded anew in the
middle of one.
"""

from __future__ import annotations

import functools
import logging
import re
import secrets
from collections import OrderedDict
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, TypeVar, cast

import anyio.to_thread
import msgspec

from ..elements import Message, TextPart
from ..errors import ConfigError, DecodeError, ElementError, StateError, StreamflowError
from ..transports import (
    ASGIReply,
    ProcessStepEncoder,
    RawEncoder,
    RequestLimits,
    StreamHub,
    read_ag_ui,
    read_vercel,
    sse_response,
)
from ._web_guard import LOOPBACK_HOSTS, Guard, headers_of, read_body, refusal
from ._web_page import read_page
from ._web_turns import chats_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType
    from typing import Self

    from ..elements import ToolDecisionElement
    from ..runtime import Pipeline
    from ..transports import Elements, EncoderFactory, OnDisconnect, Receive, Scope, Send
    from ._chat_records import ChatSettings
    from ._chat_service import ChatService
    from ._web_page import Page

    Answer: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

__all__ = ["ChatApp", "ChatFormat", "chat_app"]

ChatFormat: TypeAlias = Literal["steps", "raw", "ag-ui", "vercel"]
"""A format of responses: `process_step` events, elements as they are, AG-UI, the Vercel AI SDK."""

_T = TypeVar("_T")

_log = logging.getLogger("streamflow.chat")

_ENCODERS: Mapping[str, EncoderFactory] = {"steps": ProcessStepEncoder, "raw": RawEncoder}
_CHAT = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)
_ROUTES = (
    ("GET", re.compile(r"/"), "page"),
    ("POST", re.compile(r"/api/chats"), "create"),
    ("GET", re.compile(r"/api/chats/([^/]+)"), "show"),
    ("POST", re.compile(r"/api/chats/([^/]+)/messages"), "say"),
    ("POST", re.compile(r"/api/chats/([^/]+)/decisions"), "decide"),
    ("GET", re.compile(r"/api/chats/([^/]+)/stream"), "follow"),
    ("POST", re.compile(r"/api/chats/([^/]+)/stop"), "stop"),
    ("POST", re.compile(r"/api/ag-ui"), "ag_ui"),
    ("POST", re.compile(r"/api/vercel"), "vercel"),
    ("GET", re.compile(r"/api/vercel/([^/]+)/stream"), "follow_vercel"),
)


class _Turn(NamedTuple):
    """The newest response of a chat."""

    stream: str
    """Its name in the hub."""
    format: ChatFormat
    asked: str
    """What the user has said; empty for the rest of a response that waited."""
    before: int
    """How many messages the chat had when it began."""


class _Said(msgspec.Struct, forbid_unknown_fields=True):
    text: str


class _Decided(msgspec.Struct, forbid_unknown_fields=True):
    decisions: dict[str, bool]


class ChatApp:
    """A chat as an ASGI application. Made by `chat_app()`.

    Where the server tells applications of its beginning and end (`lifespan`), it opens itself. Inside another application that has
    it mounted, open it there: `async with app: ...`.
    """

    def __init__(
        self,
        chats: ChatService | Pipeline,
        guard: Guard,
        *,
        settings: ChatSettings | None,
        resources: Iterable[AbstractAsyncContextManager[object]],
        title: str,
        limits: RequestLimits,
        max_chats: int,
        max_responses: int,
        on_disconnect: OnDisconnect,
        heartbeat_s: float,
    ) -> None:
        self._chats = chats_of(chats, settings, max_chats)
        self._guard = guard
        self._limits = limits
        self._max_chats = max_chats
        self._max_responses = max_responses
        self._on_disconnect: OnDisconnect = on_disconnect
        self._heartbeat_s = heartbeat_s
        self._title = title
        self._page: Page | None = None
        self._turns: OrderedDict[str, _Turn] = OrderedDict()
        self._resources = tuple(resources)
        self._hub: StreamHub | None = None
        self._opened_with = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Open the application, and before it its resources."""
        if self._page is None:
            self._page = await anyio.to_thread.run_sync(read_page, self._title)
        async with AsyncExitStack() as stack:
            for resource in self._resources:
                await stack.enter_async_context(resource)
            self._hub = await stack.enter_async_context(StreamHub(max_streams=self._max_responses))
            self._opened_with = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop all responses, wait until they have ended, and close the resources."""
        self._hub = None
        await self._opened_with.__aexit__(kind, error, traceback)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection.

        Cancellation: ends the connection; a response goes on, unless it is one that ends with its client.
        """
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            headers = headers_of(scope)
            answer = await self._answer(scope, headers, receive)
            if answer is not None:
                await answer(scope, receive, _sending(send, self._guard.sharing(headers)))
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1003})

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self.__aenter__()
        except StreamflowError as error:  # a store that cannot be opened, such as
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        try:
            await send({"type": "lifespan.startup.complete"})
            await receive()
        finally:
            await self.__aexit__(None, None, None)
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, scope: Scope, headers: Mapping[str, str], receive: Receive) -> Answer | None:
        """Return the answer to a request; None if the client has gone."""
        method = cast("str", scope["method"])
        refused = self._guard.check("GET" if method == "OPTIONS" else method, headers)
        if refused is not None:
            return refused
        if method == "OPTIONS":
            return ASGIReply(204)
        path = cast("str", scope["path"]).removeprefix(cast("str", scope.get("root_path", ""))) or "/"
        known = [(verb, found, name) for verb, pattern, name in _ROUTES if (found := pattern.fullmatch(path))]
        route = next((one for one in known if one[0] == method), None)
        if route is None:
            return (
                refusal(405, "method", "that is not done here") if known else refusal(404, "not_found", "no such page")
            )
        _, found, name = route
        chat = found[1] if found.groups() else ""
        if chat and not _CHAT.fullmatch(chat):
            return refusal(400, "bad_id", "the id of a chat has 1 to 128 letters, digits, '_' or '-'")
        body = b"" if method != "POST" else await read_body(receive, self._limits.max_bytes)
        if not isinstance(body, bytes):
            return body
        query = cast("bytes", scope.get("query_string", b"")).decode("latin-1")
        try:
            return await self._do(name, chat, body, query)
        except DecodeError as error:
            return refusal(400, "bad_request", str(error))
        except ElementError as error:
            return refusal(400, "bad_request", error.message)
        except StateError as error:
            _log.warning(
                "the history cannot be read: %s", error
            )  # no text of a store's error repeats a secret, or what was said
            return refusal(503, "unavailable", "the history cannot be read at the moment")

    async def _do(self, name: str, chat: str, body: bytes, query: str) -> Answer:
        match name:
            case "page" if self._page is not None:
                return self._page
            case "create":
                return ASGIReply(201, {"id": secrets.token_urlsafe(16)})
            case "show":
                return await self._show(chat)
            case "say":
                said = _read(body, _Said).text
                if len(said) > self._limits.max_text_chars:
                    raise DecodeError(f"the text has more than {self._limits.max_text_chars} characters", "$.text")
                return await self._say(chat, Message("user", said), _format(query), "detach")
            case "decide":
                return await self._decide(chat, _read(body, _Decided).decisions, _format(query), "detach")
            case "follow":
                return self._follow(chat, _format(query))
            case "follow_vercel":
                return self._follow(chat, "vercel")
            case "stop":
                return self._stop(chat)
            case "ag_ui":
                return await self._ag_ui(body)
            case "vercel":
                return await self._vercel(body)
            case _:
                return refusal(503, "closed", "the application is not open")

    async def _show(self, chat: str) -> Answer:
        """Return what was said, and what is being answered."""
        turn = self._running(chat)
        messages = await self._chats.messages(chat)
        if turn is None:
            return ASGIReply(200, {"messages": messages, "running": None})
        # What of the response is stored already comes with the response.
        running = {"asked": turn.asked, "format": turn.format}
        return ASGIReply(200, {"messages": messages[: turn.before], "running": running})

    async def _say(
        self,
        chat: str,
        said: Message,
        format: ChatFormat,
        on_disconnect: OnDisconnect,
        encoder: EncoderFactory | None = None,
    ) -> Answer:
        if not (said.text.strip() or any(not isinstance(part, TextPart) for part in said.parts)):
            raise DecodeError("the message is empty", "$")
        before = len(await self._chats.messages(chat))
        turn = _Turn(f"{chat}/{secrets.token_hex(8)}", format, said.text, before)
        start = functools.partial(self._chats.respond, chat, said)
        return self._start(chat, turn, start, encoder or _ENCODERS[format], on_disconnect)

    async def _decide(
        self,
        chat: str,
        decisions: Mapping[str, bool],
        format: ChatFormat,
        on_disconnect: OnDisconnect,
        encoder: EncoderFactory | None = None,
    ) -> Answer:
        if not decisions:
            raise DecodeError("there are no decisions", "$.decisions")
        before = len(await self._chats.messages(chat))
        turn = _Turn(f"{chat}/{secrets.token_hex(8)}", format, "", before)
        start = functools.partial(self._chats.resume, chat, decisions)
        return self._start(chat, turn, start, encoder or _ENCODERS[format], on_disconnect)

    def _start(
        self,
        chat: str,
        turn: _Turn,
        elements: Elements,
        encoder: EncoderFactory,
        on_disconnect: OnDisconnect,
    ) -> Answer:
        if self._running(chat) is not None:
            return refusal(409, "busy", "this chat is being answered; stop that, or wait")
        self._turns.pop(chat, None)
        self._turns[chat] = turn
        while len(self._turns) > max(self._max_chats, self._max_responses):
            self._turns.popitem(last=False)
        return sse_response(
            elements,
            encoder=encoder,
            hub=self._opened(),
            stream_id=turn.stream,
            on_disconnect=on_disconnect,
            heartbeat_s=self._heartbeat_s,
        )

    def _follow(self, chat: str, format: ChatFormat) -> Answer:
        """Return the newest response of a chat from its beginning, or from where the client was."""
        turn = self._turns.get(chat)
        if turn is None or turn.format != format:
            return ASGIReply(204)
        return sse_response(hub=self._opened(), stream_id=turn.stream, heartbeat_s=self._heartbeat_s)

    def _stop(self, chat: str) -> Answer:
        turn = self._turns.get(chat)
        stopped = turn is not None and self._opened().stop(turn.stream)
        return ASGIReply(202 if stopped else 200, {"stopped": stopped})

    async def _ag_ui(self, body: bytes) -> Answer:
        request = read_ag_ui(body, limits=self._limits)
        chat = _checked_chat(request.thread_id, "$.threadId")
        if request.decisions:
            return await self._decide(chat, _decided(request.decisions), "ag-ui", self._on_disconnect, request.encoder)
        return await self._say(chat, _newest(request.messages), "ag-ui", self._on_disconnect, request.encoder)

    async def _vercel(self, body: bytes) -> Answer:
        request = read_vercel(body, limits=self._limits)
        chat = _checked_chat(request.chat_id, "$.id")
        if request.trigger != "submit-message":
            raise DecodeError("answers are not given anew here", "$.trigger")
        if request.decisions and request.answer_id is not None:
            return await self._decide(chat, _decided(request.decisions), "vercel", self._on_disconnect, request.encoder)
        return await self._say(chat, _newest(request.messages), "vercel", self._on_disconnect, request.encoder)

    def _running(self, chat: str) -> _Turn | None:
        turn = self._turns.get(chat)
        running = {one.id for one in self._opened().streams if one.is_running}
        return turn if turn is not None and turn.stream in running else None

    def _opened(self) -> StreamHub:
        if self._hub is None:
            raise ConfigError(
                "lifespan", "the application is not open; serve it with lifespan on, or use it inside 'async with app'"
            )
        return self._hub


def chat_app(
    chats: ChatService | Pipeline,
    *,
    title: str = "streamflow",
    settings: ChatSettings | None = None,
    resources: Iterable[AbstractAsyncContextManager[object]] = (),
    hosts: Iterable[str] = LOOPBACK_HOSTS,
    origins: Iterable[str] = (),
    on_disconnect: OnDisconnect = "cancel",
    max_message_chars: int = 20_000,
    max_request_bytes: int = 4 * 1024 * 1024,
    max_chats: int = 1000,
    max_responses: int = 100,
    heartbeat_s: float = 15.0,
) -> ChatApp:
    """Return a chat as a web application: a page at `/`, `/api/ag-ui` and `/api/vercel` for the clients of these formats.

    ```python
    app = chat_app(chat_pipeline(provider))  # uvicorn module:app
    ```

    The page shows the answer as it comes, what tools do, and asks before calls that wait for a person. Loaded anew in the middle
    of an answer, or opened twice, it shows all of it.

    | request | does |
    |---|---|
    | `GET /` | the page |
    | `POST /api/chats` | makes the id of a new chat: `{"id": …}` |
    | `GET /api/chats/{id}` | what was said: `messages`, and what is being answered: `running` |
    | `POST /api/chats/{id}/messages?format=steps` | says `{"text": …}`; the response is a stream (`steps` or `raw`) |
    | `GET /api/chats/{id}/stream?format=steps` | the newest response again, from the beginning or behind `Last-Event-ID` |
    | `POST /api/chats/{id}/decisions?format=steps` | decides about calls that wait: `{"decisions": {"call": true}}` |
    | `POST /api/chats/{id}/stop` | stops the response |
    | `POST /api/ag-ui` | a `RunAgentInput`; the thread is the chat |
    | `POST /api/vercel`, `GET /api/vercel/{id}/stream` | what `DefaultChatTransport` sends; the response again |

    Whoever knows the id of a chat can read it, go on with it and stop it. Of a client's messages the newest one counts, because the
    history is kept here; tools of the client are not called. A request is refused if it asks for another host (421), comes from a
    page elsewhere (403), is no JSON (415) or too large (413), or while the chat is being answered (409); 503 if there is no room.

    Args:
        chats: Who answers and keeps the history: a service, in its store; or a pipeline, such as `chat_pipeline()`, whose chats are
            kept in memory.
        title: Shown on the page.
        settings: How the chats are answered that are made here, with a service; None: as usual.
        resources: Opened with the application, in this order, and closed behind it: a store, a provider.
        hosts: Names under which the server may be asked for; others are refused, which keeps out pages that give their own name
            this server's address. `*` for any.
        origins: Pages of other servers that may ask, as in `http://localhost:3000`.
        on_disconnect: What becomes of a response to a client of AG-UI or Vercel that goes: `cancel` ends it, as their stop buttons
            expect; with `detach` it goes on, and can be come back to. Responses to the page always go on.
        max_message_chars: Longest message.
        max_request_bytes: Largest request.
        max_chats: Most chats that are kept in memory, with a pipeline.
        max_responses: Most responses at a time, kept ones included.
        heartbeat_s: After how much silence a sign of life is sent, in seconds.

    Raises:
        ConfigError: If an argument is wrong; the field is named.
    """
    for name, count in (("max_chats", max_chats), ("max_responses", max_responses)):
        if count < 1:
            raise ConfigError(name, f"{count} is out of range; give 1 or more")
    if not heartbeat_s > 0:
        raise ConfigError("heartbeat_s", f"{heartbeat_s} is no time; give more than 0 seconds")
    if on_disconnect not in ("cancel", "detach"):
        raise ConfigError("on_disconnect", f"there are 'cancel' and 'detach', got {on_disconnect!r:.80}")
    return ChatApp(
        chats,
        Guard(hosts, origins),
        settings=settings,
        resources=resources,
        title=title,
        limits=RequestLimits(max_bytes=max_request_bytes, max_text_chars=max_message_chars),
        max_chats=max_chats,
        max_responses=max_responses,
        on_disconnect=on_disconnect,
        heartbeat_s=heartbeat_s,
    )


def _read(body: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, RecursionError) as bad:
        raise DecodeError(str(bad)) from None


def _format(query: str) -> ChatFormat:
    given = [one.partition("=")[2] for one in query.split("&") if one.startswith("format=")]
    if not given or given == ["steps"]:
        return "steps"
    if given == ["raw"]:
        return "raw"
    raise DecodeError("the formats are steps and raw; AG-UI and Vercel have addresses of their own", "format")


def _checked_chat(id: str, path: str) -> str:
    if not _CHAT.fullmatch(id):
        raise DecodeError("the id of a chat has 1 to 128 letters, digits, '_' or '-'", path)
    return id


def _newest(messages: tuple[Message, ...]) -> Message:
    if not messages or messages[-1].role != "user":
        raise DecodeError("the newest message is not the user's", "$.messages")
    return messages[-1]


def _decided(decisions: Iterable[ToolDecisionElement]) -> dict[str, bool]:
    return {one.call_id: one.allow for one in decisions}


def _sending(send: Send, more: Mapping[str, str]) -> Send:
    """Return a `send` that puts further headers into the answer."""
    extra = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in more.items()]

    async def sending(message: MutableMapping[str, object]) -> None:
        if message["type"] == "http.response.start":
            own = cast("Iterable[tuple[bytes, bytes]]", message.get("headers") or ())
            message = {**message, "headers": [*own, (b"x-content-type-options", b"nosniff"), *extra]}
        await send(message)

    return sending
