"""A model server without a model: three wires, driven by any provider, above all by a script.

Above: `_fake_transport`, `streamflow fake-llm`, tests. Below: `_fake_asgi`, `_fake_wire`, `_fake_faults`, `providers`.
Rules: one path from a request to its bytes, whether over a socket or in memory. Nothing of a request is kept but its kind; no
header is. All that a client sends is bounded.
"""

from __future__ import annotations

import json
import math
from collections import Counter, deque
from contextlib import aclosing
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import parse_qs

import anyio
import anyio.lowlevel
import msgspec

from ..elements import MessageElement, TextElement, UsageElement
from ..errors import ConfigError, ProviderError, StreamflowError
from ..providers import ScriptedProvider
from ..wire import encode_event
from ._fake_asgi import serve
from ._fake_faults import Faults, faults_of, split_badly
from ._fake_messages import MessagesWire
from ._fake_reply import BrokenConnection, FakeCall, FakeReply
from ._fake_requests import fields_of
from ._fake_responses import ResponsesWire
from ._fake_wire import ChatWire, Event, openai_error, status_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from ..elements import StreamElement
    from ..providers import Provider
    from ..transports import Receive, Scope, Send
    from ._fake_requests import Json
    from ._fake_wire import Wire

__all__ = ["FakeLLM"]

_WIRES: Final[dict[str, type[ChatWire | ResponsesWire | MessagesWire]]] = {
    "chat/completions": ChatWire,
    "responses": ResponsesWire,
    "messages": MessagesWire,
}
_PATHS: Final = ", ".join(f"/v1/{path}" for path in (*_WIRES, "models"))
_EVENTS: Final = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
_JSON: Final = {"content-type": "application/json"}
_PAGE: Final = {"content-type": "text/html; charset=utf-8"}
_MAX_KEPT: Final = 1000  # models of which is counted how often they failed


class FakeLLM:
    """A server of OpenAI's chat completions and responses and of Anthropic's messages, as an ASGI application.

    It answers `POST /v1/chat/completions`, `/v1/responses`, `/v1/messages`, streamed or whole, and `GET /v1/models`. What it says
    is a provider's: a script's, or any other's. An error of the provider becomes a status before the first event, and an error
    inside the stream after it. Single requests can ask for faults, in the name of the model: `any?status=429&retry_after=2`, or
    in the header `x-fake-llm`. `GET /fake/ended?model=…` waits until the latest call with that model has ended and tells
    how, `GET /fake/release?model=…` lets a call with the fault `gate` go on, `GET /fake/calls` tells of all.

    ```python
    fake = FakeLLM(ScriptedProvider([Rule("hello", "Hello!")]))
    async with fake_client(fake) as client:
        provider = OpenAIProvider("http://fake/v1", client=client)
    ```

    Args:
        provider: Who answers; None: a script that repeats what the user says.
        max_request_bytes: Largest body of a request; a larger one gets the status 413.
        keep_calls: Number of calls that can be asked about.
        name: The model that `/v1/models` tells of.

    Raises:
        ConfigError: If a limit is not positive.
    """

    def __init__(
        self,
        provider: Provider | None = None,
        *,
        max_request_bytes: int = 10 * 1024 * 1024,
        keep_calls: int = 1000,
        name: str = "fake",
    ) -> None:
        if keep_calls < 1:
            raise ConfigError("keep_calls", f"{keep_calls} is no number of calls; give 1 or more")
        if max_request_bytes < 1:
            raise ConfigError("max_request_bytes", f"{max_request_bytes} is no size; give 1 or more")
        self.provider: Provider = provider if provider is not None else ScriptedProvider()
        """Who answers."""
        self.max_request_bytes: int = max_request_bytes
        """Largest body of a request."""
        self._name = name
        self._calls: deque[FakeCall] = deque(maxlen=keep_calls)
        self._count = 0
        self._seen: Counter[str] = Counter()
        self._arrived = anyio.Event()

    @property
    def calls(self) -> tuple[FakeCall, ...]:
        """The latest calls, oldest first."""
        return tuple(self._calls)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection. Cancellation: ends the answer that is under way."""
        await serve(self, scope, receive, send)

    async def reply(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, *, query: str = "", peer: str = ""
    ) -> FakeReply:
        """Return the response to a request.

        Cancellation: ends the call of the provider.

        Args:
            method: As in `POST`.
            path: Without its query.
            headers: Names in lower case.
            body: At most `max_request_bytes`.
            query: What stands behind the `?` of the address.
            peer: Names the connection.

        Raises:
            BrokenConnection: If the connection is to be broken before there is a response.
        """
        if len(body) > self.max_request_bytes:
            return _refuse(413, ProviderError("bad_request", f"a request may have {self.max_request_bytes} bytes"))
        if path.startswith("/fake/"):
            return await self._side(path.removeprefix("/fake/"), query)
        what = path.removeprefix("/v1/").rstrip("/") if path.startswith("/v1/") else ""
        if what == "models" and method == "GET":
            model = {"id": self._name, "object": "model", "created": 1_700_000_000, "owned_by": "streamflow"}
            return _json(200, {"object": "list", "data": [model], "has_more": False})
        if what not in _WIRES:
            return _refuse(404, ProviderError("bad_request", f"no {path:.100} here, but {_PATHS}"))
        if method != "POST":
            return _refuse(405, ProviderError("bad_request", f"{method:.20} is not for {path}"))
        return await self._answer(what, headers, body, peer)

    async def ended(self, model: str) -> FakeCall:
        """Return the latest call with this model when it has ended; waits for it to come. Cancellation: leaves nothing behind."""
        while True:
            found = next((call for call in reversed(self._calls) if call.model == model), None)
            if found is not None:
                await found.ended.wait()
                return found
            await self._arrived.wait()

    async def _side(self, what: str, query: str) -> FakeReply:
        model = _model_in(query)
        if what == "calls":
            return _json(200, {"calls": [call.report() for call in self._calls]})
        if what == "ended":
            return _json(200, (await self.ended(model)).report())
        if what == "release":
            found = [call for call in self._calls if call.model == model]
            for call in found:
                call.gate.set()
            return _json(200, {"released": len(found)})
        return _refuse(404, ProviderError("bad_request", f"no /fake/{what:.40} here"))

    async def _answer(self, what: str, headers: Mapping[str, str], body: bytes, peer: str) -> FakeReply:
        """Answer a request for a model's answer."""
        self._count += 1
        call = FakeCall(self._count, what, "", streams=False, peer=peer)
        faults = Faults()
        try:
            try:
                fields = _asked(body)
                call.model, call.streams = str(fields.get("model") or ""), fields.get("stream") is True
            finally:
                self._note(call)
            faults = self._faults(call.model, headers.get("x-fake-llm"))
            wire = _WIRES[what](fields, call.number)
        except StreamflowError as error:
            call.end("refused")
            return _refuse(400, ProviderError("bad_request", str(error)), anthropic=what == "messages")
        if faults.page:
            call.end("finished")
            return FakeReply(200, _PAGE, _once(b"<html>Welcome</html>"))
        if faults.status is not None and faults.status != 200:
            call.end("refused")
            return _fault_reply(faults, wire, headers)
        return await self._from_provider(call, wire, faults)

    async def _from_provider(self, call: FakeCall, wire: Wire, faults: Faults) -> FakeReply:
        """Ask the provider; until it has given something, its failure can still be a status."""
        stream = self.provider.stream(wire.request)
        try:
            if faults.whole or not call.streams:
                return await self._whole(call, wire, faults, stream)
            first = await anext(stream)
        except ProviderError as error:
            call.end("refused" if error.code not in {"truncated", "transport"} else "cut")
            if error.code in {"truncated", "transport"}:
                raise BrokenConnection from error
            if error.code == "protocol":
                return FakeReply(200, _EVENTS if call.streams else _JSON, _once(b"data: {not json\n\n"))
            more = {} if error.retry_after_s is None else {"retry-after": f"{math.ceil(error.retry_after_s)}"}
            status = 529 if call.path == "messages" and error.code == "overloaded" else status_of(error)
            return _json(status, wire.error_body(error), more)
        except BaseException:
            call.end("disconnected")
            raise
        body = self._bytes(call, wire, faults, first, stream)
        await anext(body)  # from here on, closing it ends the call
        return FakeReply(200, _EVENTS, body)

    async def _whole(
        self, call: FakeCall, wire: Wire, faults: Faults, stream: AsyncGenerator[StreamElement, None]
    ) -> FakeReply:
        """Return an answer in one piece."""
        await anyio.sleep(math.inf if faults.stall is not None else faults.first)
        if faults.cut is not None:
            raise ProviderError("truncated", "")
        async with aclosing(stream):
            elements = [element async for element in stream]
        call.end("finished")
        if faults.malformed is not None:
            return FakeReply(200, _JSON, _once(b"{not json"))
        usage = next((one.usage for one in reversed(elements) if isinstance(one, UsageElement)), None)
        message = cast("MessageElement", elements[-1])
        return _json(200, wire.whole(message, usage if faults.usage else None))

    async def _bytes(
        self, call: FakeCall, wire: Wire, faults: Faults, first: StreamElement, stream: AsyncGenerator[StreamElement]
    ) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a streamed answer, an empty piece first."""
        events = _events(wire, faults, first, stream)
        try:
            yield b""
            for number, pause in enumerate(faults.pauses(faults.first)):
                if number:
                    yield _ping(wire, faults)
                await anyio.sleep(pause)
            async for event in events:
                if await self._strike(call, faults):
                    for data in self._last_words(wire, faults):
                        yield data
                    break
                if faults.ping:
                    yield _ping(wire, faults)
                for number, pause in enumerate(faults.pauses(math.inf if call.events == faults.stall else faults.slow)):
                    if number:
                        yield _ping(wire, faults)
                    await anyio.sleep(pause)
                call.events += 1
                data = _encode(event, faults)
                for piece in split_badly(data, faults.split + call.events) if faults.split is not None else (data,):
                    yield piece
            call.end("finished")
        except BrokenConnection:
            call.end("cut")
            raise
        finally:
            call.end("disconnected")  # whoever listened has gone, unless something else was noted before
            with anyio.CancelScope(shield=True):
                await events.aclose()
                await stream.aclose()

    async def _strike(self, call: FakeCall, faults: Faults) -> bool:
        """Do what goes wrong before the next event, and return whether nothing but a last word follows."""
        if call.events == faults.cut:
            raise BrokenConnection
        if call.events == faults.gate:
            await call.gate.wait()
        return call.events in {faults.malformed, faults.error, faults.end}

    def _last_words(self, wire: Wire, faults: Faults) -> list[bytes]:
        if faults.malformed is not None:
            return [b"data: {not json\n\n"]
        if faults.error is not None:
            return [
                _encode(one, faults) for one in wire.failure(ProviderError("overloaded", "the model is busy", True))
            ]
        return []

    def _note(self, call: FakeCall) -> None:
        self._calls.append(call)
        self._arrived.set()
        self._arrived = anyio.Event()

    def _faults(self, model: str, header: str | None) -> Faults:
        faults = faults_of(model, header)
        if faults.times is None:
            return faults
        if len(self._seen) > _MAX_KEPT:
            self._seen.clear()
        self._seen[model] += 1
        return faults if self._seen[model] <= faults.times else Faults()


async def _events(
    wire: Wire, faults: Faults, first: StreamElement, rest: AsyncGenerator[StreamElement]
) -> AsyncGenerator[Event, None]:
    """Yield the events of an answer; a failure of the provider is told inside."""
    for event in wire.begin():
        yield event
    if faults.huge is not None:
        for event in wire.take(TextElement("x" * faults.huge)):
            yield event
    element: StreamElement | None = first
    try:
        while element is not None:
            if faults.usage or not isinstance(element, UsageElement):
                events = wire.take(element)
                if isinstance(element, MessageElement) and not faults.done:
                    events = events[:-1]
                for event in events:
                    yield event
            element = await anext(rest, None)
    except ProviderError as error:
        if error.code in {"truncated", "transport"}:
            raise BrokenConnection from error
        if error.code == "protocol":
            yield Event("{not json")
            return
        for event in wire.failure(error):
            yield event


def _asked(body: bytes) -> Json:
    """Return the fields of a body.

    Raises:
        ProviderError: If it is no JSON object; `bad_request`.
    """
    try:
        return fields_of(msgspec.json.decode(body))
    except (msgspec.DecodeError, RecursionError) as error:
        raise ProviderError("bad_request", f"the body is no JSON: {error}") from error


def _model_in(query: str) -> str:
    """Return the model that a question about a call names."""
    return parse_qs(query).get("model", [""])[0]


def _ping(wire: Wire, faults: Faults) -> bytes:
    """Return what this wire sends to keep a stream open."""
    ping = wire.ping()
    return b": ping\n\n" if ping is None else _encode(ping, faults)


def _encode(event: Event, faults: Faults) -> bytes:
    if isinstance(event.data, str):
        return encode_event(event.data, event=event.name)
    # With escapes or without: a splitter then finds either to cut.
    escaped = faults.split is not None and faults.split % 2 == 1
    return encode_event(json.dumps(event.data, ensure_ascii=escaped), event=event.name)


def _fault_reply(faults: Faults, wire: Wire, headers: Mapping[str, str]) -> FakeReply:
    codes = {401: "auth", 403: "auth", 429: "rate_limited"}
    status = faults.status or 500
    code = codes.get(status, "overloaded" if status >= 500 else "bad_request")
    said = f"no luck\nwith status {status}"
    if faults.quote:
        key = headers.get("authorization") or headers.get("x-api-key")
        said = f"bad key {key} for {wire.request.messages[-1].text!r} \x1b[31m" + "blah " * 1000
    more = {"retry-after": faults.retry_after, "location": faults.location}
    kept = {name: value for name, value in more.items() if value is not None}
    return _json(status, wire.error_body(ProviderError(code, said)), kept)


def _refuse(status: int, error: ProviderError, *, anthropic: bool = False) -> FakeReply:
    told: Json = openai_error(error)
    return _json(status, {"type": "error", "error": told} if anthropic else {"error": told})


def _json(status: int, body: Mapping[str, object], more: Mapping[str, str] | None = None) -> FakeReply:
    return FakeReply(status, {**_JSON, **(more or {})}, _once(json.dumps(body).encode()))


async def _once(data: bytes) -> AsyncGenerator[bytes, None]:
    await anyio.lowlevel.checkpoint()
    yield data
