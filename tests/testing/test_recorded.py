"""A recorded conversation as a test: models and tools say what they said then."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from streamflow import DataElement, Message, MessageElement, Pipeline, PipelineBuilder, TextElement, TurnEnd, stage
from streamflow.agents import AgentStage, Tools, tool
from streamflow.errors import ProviderError, RecordingError, ToolError
from streamflow.observe import RecordedRun, Recording, read_recording
from streamflow.providers import (
    CutStep,
    ModelRequest,
    Provider,
    ProviderStage,
    ScriptedProvider,
    ScriptTurn,
    TextStep,
    ToolCallStep,
    UsageStep,
    When,
)
from streamflow.testing import check_replay, recorded_provider, recorded_tool

ASKED = [MessageElement(Message("user", "I need a lamp and a bed")), TurnEnd(), DataElement("x", 1)]
ran: list[str] = []


@tool
async def price(item: str) -> float:
    """Say what something costs, in euros."""
    ran.append(item)
    if item == "bed":
        raise ToolError("no beds today")
    return 39.5


def shopper() -> ScriptedProvider:
    asks = [TextStep("Let me see."), *(ToolCallStep("price", {"item": item}) for item in ("lamp", "bed"))]
    return ScriptedProvider(
        turns=[ScriptTurn(asks, when="lamp"), ScriptTurn([TextStep("It is {result}.")], when=When(tool_result="price"))]
    )


def shop(provider: Provider, *tools: object, loud: bool = False) -> Pipeline:
    @stage(name="mouth", accepts=TextElement, emits=TextElement)
    async def mouth(stream):
        async for element in stream:
            yield element.replace(text=element.text.upper()) if loud else element

    return PipelineBuilder().chain(AgentStage(provider, Tools(tools), name="agent"), mouth).build()


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "shop.rec"
    settings = Recording(path=path, at=["input", "output", "agent"])
    shop(shopper(), price).execute_sync(ASKED, record=settings)
    ran.clear()
    return path


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_recorded_conversation_is_a_test_in_three_lines(recording: Path, backend) -> None:
    """semantics 24.27: against the pipeline as it is, or with models and tools as they were; no tool runs then."""

    def as_it_was(run: RecordedRun) -> Pipeline:
        return shop(recorded_provider(run, "agent"), recorded_tool(run, "agent", price))

    assert all(check_replay(recording, as_it_was, ignore=(), backend=backend))
    assert ran == []
    assert all(check_replay(recording, shop(shopper(), price), backend=backend))
    assert sorted(ran) == ["bed", "lamp"]


def test_a_difference_fails_the_test_and_says_where(recording: Path) -> None:
    """semantics 24.27: what was changed is named: the stage behind the model, and not the model."""
    with pytest.raises(AssertionError) as caught:
        check_replay(recording, lambda run: shop(recorded_provider(run, "agent"), price, loud=True))
    assert "first difference at output, element #1, $.text" in str(caught.value)
    assert '"text":"LET"' in str(caught.value)
    with pytest.raises(AssertionError, match="first difference at agent → mouth"):
        check_replay(recording, shop(ScriptedProvider(default="No."), price))


async def answer(provider: Provider) -> list[object]:
    request = ModelRequest(messages=(Message("user", "x"),))
    return [element async for element in provider.stream(request)]


def test_a_model_asked_more_often_than_recorded_fails(recording: Path) -> None:
    """semantics 24.27: and one that was asked less often says so when it is asked to."""
    provider = recorded_provider(recording, "agent")
    with pytest.raises(AssertionError, match="'agent': 2 of 2 answers were not asked for"):
        provider.assert_consumed()
    first = anyio.run(answer, provider)
    second = anyio.run(answer, provider)
    assert [type(one).__name__ for one in first[-2:]] == ["UsageElement", "MessageElement"]
    assert isinstance(second[0], TextElement)
    with pytest.raises(ProviderError, match="2 recorded answers, and one more was asked for"):
        anyio.run(answer, provider)


def test_what_passed_a_model_by_is_not_its_answer(tmp_path: Path) -> None:
    """semantics 24.27: else it would come twice. A model that gives no usage, one that is cut off."""
    path = tmp_path / "a.rec"

    def chat(provider: Provider) -> Pipeline:
        return PipelineBuilder().chain(ProviderStage(provider, name="model")).build()

    turns = [ScriptTurn([UsageStep(None), TextStep("a b")]), ScriptTurn([TextStep("c d"), CutStep()])]
    asked = [DataElement("x", 1), ASKED[0], TurnEnd(), DataElement("y", 2), ASKED[0], TurnEnd()]
    with pytest.raises(Exception, match="cut off"):
        chat(ScriptedProvider(turns=turns)).execute_sync(asked, record=path)

    assert all(check_replay(path, lambda run: chat(recorded_provider(run, "model")), ignore=("messages",)))


def test_what_was_not_recorded_cannot_be_played(recording: Path, tmp_path: Path) -> None:
    """Bad input: no such stage, an element that is missing, a file without a run."""
    path, empty = tmp_path / "b.rec", tmp_path / "empty.rec"
    shop(shopper(), price).execute_sync(ASKED, record=Recording(path=path, redact=lambda one: None))
    empty.write_bytes(b"")

    with pytest.raises(RecordingError, match="element #0 of output is not in it: redacted"):
        recorded_provider(path, "agent")
    with pytest.raises(RecordingError, match="there is no run in it"):
        check_replay(empty, shop(shopper(), price))
    run = read_recording(recording).run()
    settings = Recording(path=tmp_path / "c.rec", at=["input"])
    shop(shopper(), price).execute_sync(ASKED, record=settings)
    with pytest.raises(RecordingError, match="was not recorded at 'output'"):
        recorded_tool(settings.path, "agent", price)
    assert recorded_provider(run, "agent").left == 2
