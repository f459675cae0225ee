"""What the npm packages of AG-UI and of the Vercel AI SDK say of our streams, and make of our server's answers."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from chat_server import ChatServer, GatedModel
from hypothesis import given, settings
from npm_packages import installed_scripts, run_script
from wire_kit import A_TOOL_TURN, ENDS, STREAMS, coalesced, parsed, told

from streamflow.agents import tool
from streamflow.apps import ChatService, chat_app
from streamflow.providers import ErrorStep, ScriptedProvider, ScriptTurn, TextStep, ThinkingStep, ToolCallStep, When
from streamflow.state import MemoryStore
from streamflow.transports import AgUiEncoder, VercelEncoder

pytestmark = [pytest.mark.services, pytest.mark.real_clock]

HERE = Path(__file__).parent / "npm"


@pytest.fixture(scope="module")
def npm():
    return installed_scripts(HERE)


@pytest.mark.parametrize(
    ("format", "encoder"), [("ag-ui", AgUiEncoder), ("vercel", VercelEncoder)], ids=["ag-ui", "vercel"]
)
def test_the_published_checkers_accept_any_stream(npm, format, encoder):
    """semantics 23.10 and 23.12: `verifyEvents` of @ag-ui/client; the schema and the reader of ai."""
    streams = [{"format": format, "events": parsed(coalesced(told(encoder(), A_TOOL_TURN)))}]

    @settings(max_examples=100)
    @given(elements=STREAMS, end=ENDS)
    def draw(elements, end):
        streams.append({"format": format, "events": parsed(told(encoder(), elements, end))})

    draw()
    verdicts = run_script(npm, "verify.mjs", input=streams)

    refused = [
        (verdict["error"], stream) for verdict, stream in zip(verdicts, streams, strict=True) if "error" in verdict
    ]
    assert not refused, refused[0]


def test_the_checkers_can_refuse(npm):
    """So that what they accept means something."""
    started = {"type": "RUN_STARTED", "threadId": "t", "runId": "r"}
    wrong = [
        {"format": "ag-ui", "events": [started, {"type": "TOOL_CALL_END", "toolCallId": "c"}]},
        {"format": "vercel", "events": [{"type": "text-delta", "id": "t", "delta": "x"}]},
        {"format": "vercel", "events": [{"type": "text-start"}]},
    ]

    assert all("error" in verdict for verdict in run_script(npm, "verify.mjs", input=wrong))


@tool
async def weather(city: str) -> str:
    """Say what the weather is."""
    return f"3 degrees in {city}"


TURNS = [
    ScriptTurn([ThinkingStep("A tool."), TextStep("I look."), ToolCallStep("weather", {"city": "Oslo"})], when="Hello"),
    ScriptTurn([TextStep("It is cold.")], when=When(tool_result="weather")),
]


def served(model, **options):
    store = MemoryStore()
    return ChatServer(chat_app(ChatService(store, model, **options), resources=(store,)))


def test_http_agent_reads_text_thoughts_and_tools(npm):
    """semantics 23.14: the conversation as `HttpAgent` has it afterwards."""
    with served(ScriptedProvider(turns=TURNS), tools=[weather]) as server:
        got = run_script(npm, "clients.mjs", server.address, "ag-ui")

    assert got["failures"] == []
    assert got["events"][0] == "RUN_STARTED"
    assert got["events"][-1] == "RUN_FINISHED"
    user, thoughts, first, result, second = got["messages"]
    assert (user["role"], thoughts["role"], thoughts["content"]) == ("user", "reasoning", "A tool.")
    assert first["content"] == "I look."
    assert first["toolCalls"][0]["function"] == {"name": "weather", "arguments": '{"city":"Oslo"}'}
    assert (result["role"], result["content"]) == ("tool", "3 degrees in Oslo")
    assert second["content"] == "It is cold."


def test_default_chat_transport_reads_text_thoughts_and_tools(npm):
    """semantics 23.14: the message as `readUIMessageStream` makes it."""
    with served(ScriptedProvider(turns=TURNS), tools=[weather]) as server:
        got = run_script(npm, "clients.mjs", server.address, "vercel")

    assert got["failures"] == []
    parts = got["messages"][0]["parts"]
    assert [part["type"] for part in parts] == ["step-start", "reasoning", "text", "tool-weather", "step-start", "text"]
    assert (parts[3]["state"], parts[3]["input"], parts[3]["output"]) == (
        "output-available",
        {"city": "Oslo"},
        "3 degrees in Oslo",
    )
    assert parts[5]["text"] == "It is cold."


@pytest.mark.parametrize("client", ["ag-ui", "vercel"])
def test_a_failure_reaches_the_client_as_one_error(npm, client):
    """semantics 23.14: behind what was said, in the client's own way."""
    script = ScriptedProvider(turns=[ScriptTurn([TextStep("Half"), ErrorStep("overloaded", "Too busy.")])])
    with served(script) as server:
        got = run_script(npm, "clients.mjs", server.address, client)

    assert got["events"][-1] == ("RUN_ERROR" if client == "ag-ui" else "error")
    assert "Half" in str(got["messages"])


@pytest.mark.parametrize("client", ["ag-ui", "vercel"])
def test_a_client_that_aborts_ends_the_model_call(npm, client):
    """semantics 23.15: the server has cancelled it."""
    model = GatedModel()
    with served(model) as server:
        speaker = threading.Thread(target=model.say, args=("Once upon",))
        speaker.start()
        got = run_script(npm, "clients.mjs", server.address, client, "abort")
        speaker.join()
        assert model.ended.wait(15)

    assert model.was_cancelled
    assert "Once upon" in str(got["messages"])
