"""A turn that waits for a person, stored by one run and gone on with in another."""

import pytest
from agent_kit import ASK, calling, check, end, results, said, saying, script

from streamflow import Message, MessageElement, PipelineBuilder, PipelineConfig, TextElement, TurnEnd
from streamflow.agents import AgentStage, ToolDecisionElement, ToolStage, tool
from streamflow.elements import EndOfStream, ToolCallPart, check_history
from streamflow.errors import HistoryError
from streamflow.providers import ProviderStage, ScriptedProvider
from streamflow.state import MemoryStore, SQLiteStore, StateStoreLoadStage, StateStoreSaveStage, Turn
from streamflow.testing import run_stage

CALLS = (("look", {"path": "a"}, "1"), ("delete", {"path": "b"}, "2"))


class Desk:
    """What a server has: a store, tools that say what they did, and a new pipeline for each request."""

    def __init__(self, store):
        self.store = store
        self.ran = []

    def tools(self):
        @tool(approve="ask")
        async def delete(path: str) -> str:
            self.ran.append(f"delete {path}")
            return "deleted"

        @tool
        async def look(path: str) -> str:
            self.ran.append(f"look {path}")
            return "seen"

        return [delete, look]

    async def run(self, provider, items, **load):
        agent = AgentStage(provider, self.tools())
        stages = StateStoreLoadStage(self.store, conversation="c", **load), agent, StateStoreSaveStage(self.store)
        return [
            one async for one in PipelineBuilder(PipelineConfig(buffer_size=1)).chain(*stages).build().execute(items)
        ]

    async def turns(self):
        return (await self.store.load("c")).turns


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path):
    return MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "talks.db")


@pytest.mark.parametrize(("allow", "status"), [(True, "ok"), (False, "denied")])
async def test_a_stored_turn_goes_on_when_a_decision_comes_in(store, allow, status):
    """semantics 20.7: the open call is dealt with as decided, the finished one not again; what is stored is one lawful turn."""
    async with store:
        desk = Desk(store)
        first = await desk.run(script(calling(*CALLS)), ASK)
        assert end(first).pending == ("2",)
        (waits,) = await desk.turns()
        assert waits.status == "cut"
        with pytest.raises(HistoryError, match="call '2' has no result"):
            check_history(waits.messages)

        provider = script(saying("Done."))
        got = await desk.run(provider, [ToolDecisionElement("2", allow), TurnEnd()])
        assert [one[:2] for one in results(got)] == [("2", status)]
        assert end(got).stop_reason == "stop"
        assert desk.ran == ["look a", *(["delete b"] if allow else [])]
        check_history(provider.requests[0].messages)

        (turn,) = await desk.turns()
        assert (turn.id, turn.status) == (waits.id, "whole")
        assert [one.role for one in turn.messages] == ["user", "assistant", "tool", "tool", "assistant"]
        check_history(turn.messages)
        check([*first, *got])


async def test_without_a_decision_what_waits_is_closed(store):
    """semantics 20.7: a strict provider, and an agent, read the call as cancelled; a decision that comes later is too late."""
    async with store:
        desk = Desk(store)
        await desk.run(script(calling(*CALLS)), ASK)
        strict = ScriptedProvider()
        load = StateStoreLoadStage(store, conversation="c")
        await PipelineBuilder().chain(load, ProviderStage(strict)).build().run("What now?")
        agents = script(saying("Never mind."), saying("No."))
        await desk.run(agents, [TextElement("Leave it."), TurnEnd()])
        late = await desk.run(agents, [ToolDecisionElement("2", True), TurnEnd()])

        for request in (strict.requests[0], agents.requests[0]):
            check_history(request.messages)
            assert [(one.call_id, one.status) for one in _results(request.messages)] == [
                ("1", "ok"),
                ("2", "cancelled"),
            ]
        assert desk.ran == ["look a"]
        assert not said(late)
        assert len(agents.requests) == 1


async def test_decisions_may_come_one_by_one_each_in_a_run_of_its_own(store):
    """semantics 20.7: what is not decided yet waits on, in the same turn, whatever window is loaded."""
    calls = (*CALLS, ("delete", {"path": "c"}, "3"))
    async with store:
        desk = Desk(store)
        await desk.run(script(saying("Hello.")), ASK)
        await desk.run(script(calling(*calls)), ASK)
        second = await desk.run(script(), [ToolDecisionElement("3", True), TurnEnd()], last=1)
        assert (end(second).stop_reason, end(second).pending) == ("approval", ("2",))
        await desk.run(script(saying("Done.")), [ToolDecisionElement("2", False, "no")], last=0)

        assert desk.ran == ["look a", "delete c"]
        turns = await desk.turns()
        assert [turn.status for turn in turns] == ["whole", "whole"]
        assert [one.call_id for one in _results(turns[1].messages)] == ["1", "3", "2"]
        check_history(turns[1].messages)


async def test_a_decision_in_the_same_run_continues_the_stored_turn(store):
    """semantics 20.7: one way for both: the turn is stored once, with the results of both parts."""
    async with store:
        desk = Desk(store)
        provider = script(calling(*CALLS), saying("Done."), saying("You are welcome."))
        items = [*ASK, ToolDecisionElement("2", True), TurnEnd(), TextElement("thanks"), TurnEnd()]
        got = await desk.run(provider, items)

        assert [one.stop_reason for one in got if isinstance(one, TurnEnd)] == ["approval", "stop", "stop"]
        assert desk.ran == ["look a", "delete b"]
        turns = await desk.turns()
        assert [len(turn.messages) for turn in turns] == [5, 2]
        check_history([message for turn in turns for message in turn.messages])


async def test_a_decision_about_nothing_that_waits_changes_nothing(store):
    """semantics 20.7: a call that has its result, or that nobody knows, does not run again."""
    async with store:
        desk = Desk(store)
        await desk.run(script(calling(*CALLS)), ASK)
        provider = script()
        for call_id in ("1", "other"):
            got = await desk.run(provider, [ToolDecisionElement(call_id, True), TurnEnd()])
            assert [type(one) for one in got] == [TurnEnd, EndOfStream]
            assert not end(got).pending
        assert desk.ran == ["look a"]
        assert [turn.status for turn in await desk.turns()] == ["cut"]


@pytest.mark.parametrize("reason", ["length", "interrupted", None])
async def test_a_decision_opens_no_call_of_an_answer_that_was_cut_off(reason):
    """semantics 20.6, 20.7: tools run on the stop reason `tool_calls` alone, also from a store or a client's conversation."""
    half = Message("assistant", [ToolCallPart("2", "delete", {"path": "b"})], stop_reason=reason)
    async with MemoryStore() as store:
        desk = Desk(store)
        await store.append("c", Turn("t", (Message("user", "go"), half), "cut"))
        await desk.run(script(saying("Hm.")), [ToolDecisionElement("2", True), TurnEnd()])
        items = [ASK[0], MessageElement(half), ToolDecisionElement("2", True), TurnEnd()]
        got = await run_stage(AgentStage(script(saying("Hm.")), desk.tools()), items)

        assert not desk.ran
        assert not results(got)


async def test_a_continued_turn_that_is_left_is_stored_as_a_lawful_one(store):
    """semantics 20.7, 20.8: the client goes right after the result of the call that was decided."""
    async with store:
        desk = Desk(store)
        await desk.run(script(calling(*CALLS)), ASK)
        agent = AgentStage(script(saying("Done.")), desk.tools())
        stages = StateStoreLoadStage(store, conversation="c"), agent, StateStoreSaveStage(store)
        async with PipelineBuilder().chain(*stages).build().execute([ToolDecisionElement("2", True), TurnEnd()]) as run:
            async for element in run:
                if results([element]):
                    break

        (turn,) = await desk.turns()
        check_history(turn.messages)
        assert [(one.call_id, one.status) for one in _results(turn.messages)] == [("1", "ok"), ("2", "ok")]


async def test_a_tool_stage_goes_on_with_a_stored_turn_too(store):
    """semantics 20.7: calls of the history do not run again; the one that was decided does, and its result is stored."""
    async with store:
        desk = Desk(store)
        await desk.run(script(calling(*CALLS)), ASK)
        load = StateStoreLoadStage(store, conversation="c")
        chain = PipelineBuilder().chain(load, ToolStage(desk.tools()), StateStoreSaveStage(store))
        pipeline = chain.build()
        got = [one async for one in pipeline.execute([ToolDecisionElement("2", True), TurnEnd()])]
        assert [one[:2] for one in results(got)] == [("2", "ok")]
        again = [one async for one in pipeline.execute([TextElement("thanks"), TurnEnd()])]
        assert not results(again)

        assert desk.ran == ["look a", "delete b"]
        (turn,) = await desk.turns()
        assert [(one.call_id, one.status) for one in _results(turn.messages)] == [("1", "ok"), ("2", "ok")]
        check_history(turn.messages)


def _results(messages):
    return [result for message in messages for result in message.tool_results]
