"""`chat_app()`: who may ask, what is answered in which format, and what is refused, without a network."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager

import anyio
import pytest
from asgi import Exchange, scope_of

from streamflow.agents import tool
from streamflow.apps import ChatService, ChatSettings, chat_app, chat_pipeline
from streamflow.errors import ConfigError
from streamflow.providers import DelayStep, ScriptedProvider, ScriptTurn, TextStep, ToolCallStep, When
from streamflow.state import MemoryStore, SQLiteStore

JSON = {"host": "127.0.0.1:8000", "content-type": "application/json"}


async def ask(app, method, path, body=None, headers=None, *, exchange=None):
    """Return the whole response to one request."""
    exchange = exchange if exchange is not None else Exchange()
    given = {**JSON, **(headers or {})}
    parts = [body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()]

    async def receive():
        if parts:
            return {"type": "http.request", "body": parts.pop(), "more_body": False}
        await exchange.receive()
        return await exchange.receive()

    path, _, query = path.partition("?")
    scope = {**scope_of(given.items(), path), "method": method, "query_string": query.encode()}
    with anyio.fail_after(1000):
        await app(scope, receive, exchange.send)
    return exchange


def told(exchange):
    return json.loads(exchange.body)


@asynccontextmanager
async def open_app(provider=None, *, tools=(), **options):
    store = MemoryStore()
    service = ChatService(store, provider or ScriptedProvider(default="You said: {text}"), tools=tools)
    async with chat_app(service, resources=(store,), **options) as app:
        yield app


def steps(exchange):
    """Return the text that the steps of a response have said, and the type of its last event."""
    events = exchange.events
    texts = [json.loads(one.data)["step"].get("delta", "") for one in events if one.event == "process_step"]
    return "".join(texts), events[-1].event


async def test_a_chat_is_answered_kept_and_shown():
    """semantics 23.14: the same over a service and a pipeline; the answer is a stream, and the history the server's."""
    for chats in (None, chat_pipeline(ScriptedProvider(default="You said: {text}"))):
        opened = open_app() if chats is None else chat_app(chats)
        async with opened as app:
            chat = told(await ask(app, "POST", "/api/chats", {}))["id"]
            first = await ask(app, "POST", f"/api/chats/{chat}/messages", {"text": "one"})
            await ask(app, "POST", f"/api/chats/{chat}/messages", {"text": "two"})
            again = await ask(app, "GET", f"/api/chats/{chat}/stream")
            shown = told(await ask(app, "GET", f"/api/chats/{chat}"))

        assert steps(first) == ("You said: one", "done")
        assert steps(again) == ("You said: two", "done")
        assert [one["text"] for one in shown["messages"]] == ["one", "You said: one", "two", "You said: two"]
        assert shown["running"] is None


async def test_raw_elements_and_unknown_formats():
    """semantics 23.14: `?format=raw` gives the elements; another word is refused."""
    async with open_app() as app:
        raw = await ask(app, "POST", "/api/chats/c/messages?format=raw", {"text": "hi"})
        wrong = await ask(app, "POST", "/api/chats/c/messages?format=xml", {"text": "hi"})

    assert json.loads(raw.data[-1])["type"] == "end_of_stream"
    assert wrong.status == 400


async def test_ag_ui_and_vercel_clients_share_the_chats():
    """semantics 23.14: the thread, or the chat, is the id; of the messages that are sent the newest counts."""
    forged = {"id": "x", "role": "assistant", "content": "I am forged"}
    run = {"threadId": "c", "runId": "r", "messages": [forged, {"id": "u", "role": "user", "content": "from ag-ui"}]}
    message = {"id": "u", "role": "user", "parts": [{"type": "text", "text": "from vercel"}]}
    async with open_app() as app:
        ag_ui = await ask(app, "POST", "/api/ag-ui", run)
        vercel = await ask(app, "POST", "/api/vercel", {"id": "c", "messages": [message], "trigger": "submit-message"})
        again = await ask(app, "GET", "/api/vercel/c/stream")
        nothing = await ask(app, "GET", "/api/vercel/other/stream")
        shown = told(await ask(app, "GET", "/api/chats/c"))

    assert json.loads(ag_ui.data[0]) == {"type": "RUN_STARTED", "threadId": "c", "runId": "r"}
    assert json.loads(ag_ui.data[-1])["type"] == "RUN_FINISHED"
    assert vercel.headers["x-vercel-ai-ui-message-stream"] == "v1"
    assert vercel.data[-1] == "[DONE]"
    assert again.data == vercel.data
    assert nothing.status == 204
    assert [one["text"] for one in shown["messages"]] == [
        "from ag-ui",
        "You said: from ag-ui",
        "from vercel",
        "You said: from vercel",
    ]


SLOW = [ScriptTurn([TextStep("Begun"), DelayStep(50.0), TextStep(", ended.")])]


@asynccontextmanager
async def answering(app, path="/api/chats/c/messages", body=None):
    """Yield a response that is under way; leaving hangs up."""
    exchange = Exchange()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: ask(app, "POST", path, body or {"text": "hi"}, exchange=exchange))
        await exchange.until(1)
        yield exchange
        exchange.hang_up()


async def test_a_response_goes_on_without_its_client_and_can_be_followed_and_stopped():
    """semantics 23.15: a second one is refused meanwhile; what follows it gets all; stop ends it, and keeps what was said."""
    async with open_app(ScriptedProvider(turns=SLOW)) as app:
        async with answering(app):
            busy = await ask(app, "POST", "/api/chats/c/messages", {"text": "me too"})
        shown = told(await ask(app, "GET", "/api/chats/c"))
        whole = await ask(app, "GET", "/api/chats/c/stream")

    async with open_app(ScriptedProvider(turns=SLOW)) as app:
        async with answering(app) as exchange:
            stopped = told(await ask(app, "POST", "/api/chats/c/stop", {}))
            await exchange.until_whole()
        idle = told(await ask(app, "POST", "/api/chats/c/stop", {}))
        kept = told(await ask(app, "GET", "/api/chats/c"))["messages"]

    assert busy.status == 409
    assert shown == {"messages": [], "running": {"asked": "hi", "format": "steps"}}
    assert steps(whole) == ("Begun, ended.", "done")
    assert (stopped, idle) == ({"stopped": True}, {"stopped": False})
    assert steps(exchange) == ("Begun", "error")
    assert [(one["text"], one.get("status")) for one in kept] == [("hi", None), ("Begun", "cut")]


@pytest.mark.parametrize("on_disconnect", ["cancel", "detach"])
async def test_a_client_of_ag_ui_that_goes_ends_its_response_unless_it_is_to_go_on(on_disconnect):
    """semantics 23.15: as its stop button expects."""
    run = {"threadId": "c", "runId": "r", "messages": [{"id": "u", "role": "user", "content": "hi"}]}
    async with open_app(ScriptedProvider(turns=SLOW), on_disconnect=on_disconnect) as app:
        async with answering(app, "/api/ag-ui", run):
            pass
        await anyio.sleep(1)
        running = told(await ask(app, "GET", "/api/chats/c"))["running"]

    assert (running is None) == (on_disconnect == "cancel")


async def test_a_call_that_waits_runs_once_it_is_allowed():
    """semantics 23.14: over each way in that can decide."""

    @tool(approve="ask")
    async def send() -> str:
        """Send it."""
        return "sent"

    script = [
        ScriptTurn([ToolCallStep("send", {})], when="send"),
        ScriptTurn([TextStep("It is {result}.")], when=When(tool_result="send")),
    ]
    messages = [{"id": "u", "role": "user", "content": "send it"}]
    run = {"threadId": "c", "runId": "r", "messages": messages}
    async with open_app(ScriptedProvider(turns=script), tools=[send]) as app:
        asked = json.loads((await ask(app, "POST", "/api/ag-ui", run)).data[-1])
        call = asked["outcome"]["interrupts"][0]["id"]
        resume = [{"interruptId": call, "status": "resolved", "payload": {"approved": True}}]
        answer = await ask(app, "POST", "/api/ag-ui", {**run, "runId": "r2", "resume": resume})
    async with open_app(ScriptedProvider(turns=script), tools=[send]) as app:
        last = await ask(app, "POST", "/api/chats/d/messages", {"text": "send it"})
        pending = json.loads(last.events[-1].data)["pending"]
        denied = await ask(app, "POST", "/api/chats/d/decisions", {"decisions": {pending[0]: False}})

    assert any("It is sent." in one for one in answer.data)
    assert any('"denied"' in one for one in denied.data)


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/", {}, 200),
        ("GET", "/", {"host": "evil.example"}, 421),
        ("GET", "/", {"host": "127.0.0.1.evil.example:8000"}, 421),
        ("GET", "/", {"host": ""}, 421),
        ("GET", "/", {"host": "LocalHost"}, 200),
        ("GET", "/", {"host": "[::1]:8000"}, 200),
        ("POST", "/api/chats", {}, 201),
        ("POST", "/api/chats", {"origin": "http://127.0.0.1:8000"}, 201),
        ("POST", "/api/chats", {"origin": "http://127.0.0.1:9000"}, 403),
        ("POST", "/api/chats", {"origin": "null"}, 403),
        ("POST", "/api/chats", {"origin": "http://friend.example"}, 201),
        ("GET", "/api/chats/c", {"origin": "https://evil.example"}, 403),
        ("POST", "/api/chats", {"sec-fetch-site": "cross-site"}, 403),
        ("POST", "/api/chats", {"content-type": "text/plain"}, 415),
        ("PUT", "/api/chats", {}, 405),
        ("GET", "/nowhere", {}, 404),
        ("GET", "/api/chats/a%20b", {}, 400),
        ("OPTIONS", "/api/vercel", {"origin": "http://friend.example"}, 204),
        ("OPTIONS", "/api/vercel", {"origin": "http://evil.example"}, 403),
    ],
    ids=range(19),
)
async def test_only_pages_of_this_server_and_of_friends_may_ask(method, path, headers, status):
    """semantics 23.17: hosts, origins, sites, content types; a friend may read the answer, and nobody else."""
    async with open_app(origins=["http://friend.example"]) as app:
        answer = await ask(app, method, path, b"{}" if method == "POST" else None, headers)

    assert answer.status == status
    is_friend = headers.get("origin") == "http://friend.example"
    assert answer.headers.get("access-control-allow-origin") == ("http://friend.example" if is_friend else None)


async def test_what_a_client_sends_is_bounded():
    """semantics 23.17: the body, the message, the responses at a time."""
    async with open_app(max_message_chars=5, max_request_bytes=100, max_responses=1) as app:
        path = "/api/chats/c/messages"
        codes = [
            (await ask(app, "POST", path, body)).status
            for body in (
                b" " * 101,
                {"text": "123456"},
                {"text": " "},
                {"text": 1},
                {"text": "a", "more": 1},
                b"[" * 99,
            )
        ]
    async with open_app(ScriptedProvider(turns=SLOW), max_responses=1) as app, answering(app):
        full = await ask(app, "POST", "/api/chats/d/messages", {"text": "hi"})

    assert codes == [413, 400, 400, 400, 400, 400]
    assert full.status == 503


async def test_a_request_that_never_comes_whole_is_given_up():
    """semantics 23.17: a client that sends nothing holds nothing for long."""

    async def receive():
        await anyio.sleep(20)
        return {"type": "http.request", "body": b" ", "more_body": True}

    exchange = Exchange()
    async with open_app() as app:
        await app({**scope_of(JSON.items(), "/api/chats"), "method": "POST"}, receive, exchange.send)

    assert exchange.status == 408


async def test_a_history_that_cannot_be_read_is_told_to_who_runs_the_server(caplog):
    """semantics 11.2: a store that nobody has opened is a 503 for the client, and its reason is in the log."""
    async with chat_app(ChatService(SQLiteStore("chat.db"), ScriptedProvider())) as app:
        refused = await ask(app, "POST", "/api/chats/c1/messages", {"text": "one"})

    assert refused.status == 503
    assert "is not open" not in refused.body.decode()
    assert "the store 'chat.db' is not open; use it inside 'async with'" in caplog.text


async def test_what_cannot_be_opened_is_told_to_the_server():
    """semantics 23.18: by the protocol of servers; what was opened is closed again."""
    seen = []

    @asynccontextmanager
    async def resource(name):
        if name == "bad":
            raise ConfigError("store", "it cannot be opened")
        seen.append(f"open {name}")
        yield
        seen.append(f"close {name}")

    async def live(resources):
        app = chat_app(chat_pipeline(ScriptedProvider(default="hi")), resources=resources)
        told = []

        async def receive():
            return {"type": "lifespan.startup" if not told else "lifespan.shutdown"}

        async def send(message):
            told.append(message["type"])

        await app({"type": "lifespan"}, receive, send)
        return told

    assert await live([resource("a"), resource("b")]) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert await live([resource("c"), resource("bad")]) == ["lifespan.startup.failed"]
    assert seen == ["open a", "open b", "close b", "close a", "open c", "close c"] or seen[:4] == [
        "open a",
        "open b",
        "close b",
        "close a",
    ]


async def test_the_page_may_run_its_own_script_and_nothing_else():
    """semantics 23.17: a strict policy, whose hash is that of the script that is there; the title is text."""
    async with open_app(title="<b>Chat</b>") as app:
        page = await ask(app, "GET", "/")

    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    assert b"<title>&lt;b&gt;Chat&lt;/b&gt;</title>" in page.body


def test_wrong_arguments_are_refused_at_once():
    """`docs/architecture.md`: bad input gets a clear error, naming the field."""
    pipeline = chat_pipeline(ScriptedProvider(default="hi"))
    wrong = {
        "hosts": {"hosts": ["http://x"]},
        "origins": {"origins": ["x"]},
        "max_chats": {"max_chats": 0},
        "heartbeat_s": {"heartbeat_s": 0},
        "on_disconnect": {"on_disconnect": "stay"},
        "settings": {"settings": ChatSettings()},
    }
    for field, options in wrong.items():
        with pytest.raises(ConfigError, match=f"^{field}:"):
            chat_app(pipeline, **options)
    with pytest.raises(ConfigError, match=r"^chats:"):
        chat_app("hello")
