"""`AgentStage`: the loop of a model and its tools."""

import anyio
import anyio.lowlevel
import pytest
from agent_kit import ASK, calling, check, end, results, said, saying, script, within_a_stage
from hypothesis import given
from hypothesis import strategies as st

from streamflow import Message, MessageElement, PipelineBuilder, PipelineConfig, StageError, TextElement, TurnEnd
from streamflow.agents import (
    AgentStage,
    Limits,
    ToolContext,
    ToolDecisionElement,
    Tools,
    agent_tool,
    tool,
)
from streamflow.agents._limits import priced
from streamflow.elements import (
    ToolCallDelta,
    ToolCallPart,
    ToolResultPart,
    Usage,
    UsageElement,
    check_history,
)
from streamflow.errors import ConfigError, ElementError, ProviderError
from streamflow.providers import (
    DelayStep,
    ErrorStep,
    ModelRequest,
    NamedTool,
    ScriptedProvider,
    ScriptTurn,
    StopStep,
    TextStep,
    ToolCallStep,
    ToolSpec,
    UsageStep,
)
from streamflow.stages import ModelPrice
from streamflow.state import MemoryStore, StateStoreLoadStage, StateStoreSaveStage
from streamflow.testing import run_stage


@tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    await anyio.sleep(a)
    return a + b


def spent(input_tokens: int, output_tokens: int, model: str | None = None) -> UsageStep:
    return UsageStep(Usage(input_tokens=input_tokens, output_tokens=output_tokens, model=model))


def busy(times: int | None = None) -> ScriptTurn:
    return ScriptTurn([ToolCallStep("add", {"a": 0, "b": 1}), spent(10, 5)], times=times)


@pytest.mark.parametrize("capacity", [1, 16])
async def test_a_turn_has_the_order_of_the_contract(capacity):
    """semantics 20.9: round by round: what the model says, its message, usage, results in order, their message; then the end."""
    provider = script(
        calling(("add", {"a": 2, "b": 1}), ("add", {"a": 1, "b": 1}), text="Well."), saying("Three, two.")
    )
    got = await run_stage(AgentStage(provider, [add]), ASK, capacity=capacity)
    names = [type(one).__name__.removesuffix("Element") for one in got if not isinstance(one, ToolCallDelta)]

    assert names == [
        *["TurnStart", "Text", "ToolCall", "ToolCall", "Message", "Usage", "ToolResult", "ToolResult", "Message"],
        *["Text", "Text", "Message", "Usage", "TurnEnd"],
    ]
    assert [one[2] for one in results(got)] == ["3", "2"]
    check(got)


async def test_the_model_sees_what_the_tools_gave():
    """semantics 20.9: the next call has the answer and the results behind the conversation; instructions come first."""
    provider = script(calling(("add", {"a": 0, "b": 1})), saying("One."))
    await run_stage(AgentStage(provider, [add], instructions="Be brief."), ASK)
    first, second = provider.requests

    assert [one.role for one in first.messages] == ["system", "user"]
    assert [one.role for one in second.messages] == ["system", "user", "assistant", "tool"]
    assert first.tools == second.tools == (add.spec,)
    check_history(second.messages)


async def test_usage_is_told_per_call_and_summed_and_priced():
    """semantics 20.11: the end of the turn has the sum; prices are the user's; what is unknown is not guessed."""
    turns = [
        ScriptTurn([ToolCallStep("add", {"a": 0, "b": 1}), spent(1000, 100, "m")]),
        ScriptTurn([TextStep("1"), spent(2000, 200, "m")]),
    ]
    prices = {"scripted": ModelPrice(input=1.0, output=10.0)}
    got = await run_stage(AgentStage(script(*turns), [add], prices=prices), ASK)
    finals = [one.usage for one in got if isinstance(one, UsageElement) and one.final]

    assert [one.total_tokens for one in finals] == [1100, 2200]
    assert end(got).metadata["rounds"] == 2
    assert end(got).metadata["calls"] == 1
    assert end(got).metadata["usage"]["input_tokens"] == 3000


def test_a_price_counts_cached_tokens_apart():
    """semantics 20.11: per million tokens; a model that is not in the table has no cost."""
    prices = {"m": ModelPrice(input=10, output=100, cached=1)}
    usage = Usage(input_tokens=1_000_000, cached_tokens=500_000, output_tokens=10_000, model="m")

    assert priced(usage, prices).cost_usd == pytest.approx(5 + 0.5 + 1)
    assert priced(Usage(input_tokens=1, output_tokens=1, model="x"), prices).cost_usd is None
    assert priced(Usage(model="m"), prices).cost_usd is None
    assert priced(Usage(cost_usd=2.0, model="m"), prices).cost_usd == 2.0


@pytest.mark.parametrize(
    ("limits", "name", "rounds"),
    [
        (Limits(), "rounds", 20),
        (Limits(rounds=3), "rounds", 3),
        (Limits(tokens=40), "tokens", 3),
        (Limits(calls=2), "calls", 3),
        (Limits(cost_usd=0.01), "cost", 1),
    ],
)
async def test_a_limit_ends_the_turn_and_keeps_the_work(limits, name, rounds):
    """semantics 20.10: no error; the turn ends with `length`, the limit is named, each call has its result."""
    got = await run_stage(AgentStage(script(busy()), Tools([add], max_repeats=99), limits=limits), ASK)

    assert (end(got).stop_reason, end(got).metadata["limit"], end(got).metadata["rounds"]) == ("length", name, rounds)
    assert said(got)[-1].role == "tool"
    check(got)


async def test_a_limit_may_ask_for_a_last_answer_without_tools():
    """semantics 20.10: `finish="answer"`: one more call, in which tools are forbidden."""
    provider = script(busy(2), saying("So far: one."))
    got = await run_stage(AgentStage(provider, [add], limits=Limits(rounds=2, finish="answer")), ASK)

    assert [one.tool_choice for one in provider.requests] == ["auto", "auto", "none"]
    assert (said(got)[-1].text, end(got).stop_reason, end(got).metadata["limit"]) == ("So far: one.", "stop", "rounds")

    got = await run_stage(AgentStage(script(busy()), [add], limits=Limits(rounds=1, finish="answer")), ASK)
    assert [one[1] for one in results(got)] == ["ok", "cancelled"]
    assert end(got).stop_reason == "length"
    check(got)


@pytest.mark.parametrize("at", [0.5, 1.5, 4.5])
async def test_a_limit_of_time_ends_model_and_tools_wherever_they_are(at):
    """semantics 20.10: what was said is a cut message, open calls are cancelled, the turn ends in order."""
    turns = [
        ScriptTurn(
            [
                TextStep("Wait"),
                DelayStep(1),
                ToolCallStep("add", {"a": 2, "b": 1}),
                ToolCallStep("add", {"a": 0, "b": 1}),
            ]
        ),
        ScriptTurn([TextStep("Now"), DelayStep(9)]),
    ]
    got = await run_stage(AgentStage(script(*turns), [add], limits=Limits(time_s=at)), ASK)

    assert (end(got).stop_reason, end(got).metadata["limit"]) == ("length", "time")
    check(got)


@pytest.mark.parametrize("at", [0.5, 1.5, 3.5])
async def test_an_interruption_leaves_a_history_that_a_strict_provider_accepts(at):
    """semantics 20.8: in the model's words, in its tools, in the words behind them; and the next turn goes on."""
    turns = [
        ScriptTurn(
            [
                TextStep("Wait"),
                DelayStep(1),
                ToolCallStep("add", {"a": 2, "b": 1}),
                ToolCallStep("add", {"a": 1, "b": 1}),
            ]
        ),
        ScriptTurn([TextStep("Now"), DelayStep(9)]),
        *[saying("Next.")] * 3,
    ]
    provider = ScriptedProvider(turns=turns)
    resumed = anyio.Event()

    async def source():
        for one in ASK:
            yield one
        await resumed.wait()
        if at < 3:
            provider._times[1] = 1
        yield MessageElement(Message("user", "next"))
        yield TurnEnd()

    pipeline = PipelineBuilder(PipelineConfig(buffer_size=1)).chain(AgentStage(provider, [add])).build()
    got = []
    async with pipeline.execute(source()) as run, anyio.create_task_group() as group:

        async def interrupt() -> None:
            await anyio.sleep(at)
            run.interrupt("barge-in")
            resumed.set()

        group.start_soon(interrupt)
        async for element in run:
            got.append(element)
    ends = [one.stop_reason for one in got if isinstance(one, TurnEnd)]

    assert ends == ["interrupted", "stop"]
    assert said(got)[-1].text == "Next."
    check(got[: next(n for n, one in enumerate(got) if isinstance(one, TurnEnd))])


@pytest.mark.parametrize("at", range(0, 40, 3))
async def test_a_run_that_is_left_anywhere_is_stored_as_a_lawful_history(at):
    """semantics 20.8: crush #529, dify 41846: the conversation can go on, wherever the client has gone."""
    turns = [
        calling(("add", {"a": 1, "b": 1}), ("add", {"a": 2, "b": 1}), ("nothing", {}), text="Let me see now."),
        calling(("add", {"a": 1, "b": 2}), text="And again."),
        saying("That is all."),
    ]
    store = MemoryStore()
    load = StateStoreLoadStage(store, conversation="c")
    save = StateStoreSaveStage(store, conversation="c")
    pipeline = (
        PipelineBuilder(PipelineConfig(buffer_size=1)).chain(load, AgentStage(script(*turns), [add]), save).build()
    )
    async with store:
        async with pipeline.execute(ASK) as run:
            seen = 0
            async for _ in run:
                seen += 1
                if seen > at:
                    break
        history = await store.load("c")
        check_history(history.messages)


async def test_a_broken_history_is_mended_before_the_model_sees_it():
    """semantics 20.9: a call without a result gets one that says that it was cancelled."""
    broken = Message("assistant", [ToolCallPart("x", "add", {"a": 1, "b": 1})], stop_reason="tool_calls")
    items = [MessageElement(one) for one in (Message("user", "a"), broken, Message("user", "b"))]
    provider = script(saying("Hm."))
    await run_stage(AgentStage(provider, [add]), items)

    check_history(provider.requests[0].messages)
    assert provider.requests[0].messages[2].tool_results[0].status == "cancelled"


async def test_an_approval_is_waited_for_and_what_has_run_does_not_run_again():
    """semantics 20.7: langgraph #6626: finished results are kept; only the open calls run, in the same run."""
    ran = []

    @tool(approve="ask")
    async def delete(path: str) -> str:
        ran.append(path)
        return "deleted"

    @tool
    async def look(path: str) -> str:
        ran.append(f"look {path}")
        return "seen"

    provider = script(
        calling(("look", {"path": "a"}, "1"), ("delete", {"path": "b"}, "2"), ("delete", {"path": "c"}, "3")),
        saying("Done."),
    )
    items = [*ASK, ToolDecisionElement("2", True), TurnEnd(), ToolDecisionElement("3", False), TurnEnd()]
    got = await run_stage(AgentStage(provider, [delete, look]), items)
    ends = [(one.stop_reason, one.pending) for one in got if isinstance(one, TurnEnd)]

    assert ends == [("approval", ("2", "3")), ("approval", ("3",)), ("stop", ())]
    assert sorted(ran) == ["b", "look a"]
    assert [one[:2] for one in results(got)] == [("1", "ok"), ("2", "ok"), ("3", "denied")]
    assert len({one.id for one in said(got)}) == len(said(got))
    check(got)
    check_history(provider.requests[-1].messages)


async def test_an_approval_can_come_in_another_run():
    """semantics 20.7: the conversation comes in as it was when the turn ended, with the decisions."""
    tools = Tools([add], approve="ask")
    first = await run_stage(AgentStage(script(calling(("add", {"a": 0, "b": 1}, "1"))), tools), ASK)
    provider = script(saying("One."))
    items = [ASK[0], *[MessageElement(one) for one in said(first)], ToolDecisionElement("1", True), TurnEnd()]
    got = await run_stage(AgentStage(provider, tools), items)

    assert results(got) == [("1", "ok", "1")]
    assert [one.role for one in provider.requests[0].messages] == ["user", "assistant", "tool"]


async def test_a_question_that_is_not_answered_is_dropped_by_the_next_one():
    """semantics 20.7: a new message of the user, with the conversation, closes what waited as cancelled."""
    tools = Tools([add], approve="ask")
    provider = script(calling(("add", {"a": 0, "b": 1}, "1")), saying("Fine."))
    stage = AgentStage(provider, tools)
    first = await run_stage(stage, ASK)
    again = [ASK[0], *[MessageElement(one) for one in said(first)], MessageElement(Message("user", "never mind"))]
    await run_stage(stage, again)

    assert provider.requests[-1].messages[2].tool_results[0].status == "cancelled"


async def test_a_forced_choice_holds_once():
    """semantics 20.9: a call that is forced in each round would never end."""
    provider = script(calling(("add", {"a": 0, "b": 1})), saying("One."))
    request = ModelRequest(messages=(), tool_choice=NamedTool("add"))
    await run_stage(AgentStage(provider, [add], request=request), ASK)

    assert [one.tool_choice for one in provider.requests] == [NamedTool("add"), "auto"]


async def test_a_pause_is_sent_back_unchanged():
    """semantics 20.9: `pause` asks for another call, and nothing else."""
    provider = script(calling(text="Thinking.", stop="pause"), saying("Done."))
    got = await run_stage(AgentStage(provider), ASK)

    assert [one.role for one in provider.requests[1].messages] == ["user", "assistant"]
    assert end(got).stop_reason == "stop"


async def test_an_eager_tool_begins_before_the_answer_ends_and_tells_nothing_before():
    """semantics 20.4: eager: the result waits for the stop reason; if that forbids tools it is thrown away."""
    began = []

    @tool(eager=True)
    async def read(key: str) -> str:
        began.append(anyio.current_time())
        return key

    for stop, status in (("tool_calls", "ok"), ("content_filter", "cancelled")):
        steps = [ToolCallStep("read", {"key": "a"}), DelayStep(5), TextStep("so")]
        provider = script(ScriptTurn([*steps, *([StopStep(stop)] if stop != "tool_calls" else [])]), saying("Done."))
        start = anyio.current_time()
        got = await run_stage(AgentStage(provider, [read]), ASK)
        names = [type(one).__name__ for one in got]

        assert began.pop() == start
        assert results(got)[0][1] == status
        assert names.index("ToolResultElement") > names.index("MessageElement")
        check(got)


async def test_an_agent_is_a_tool_of_another_and_its_words_stream():
    """semantics 20.12: openai-agents #667: text comes as it is said, marked; the answer reaches the model; usage counts."""
    inner = AgentStage(script(calling(("add", {"a": 0, "b": 2})), saying("It is two.")), [add], name="inner")
    middle = AgentStage(
        script(calling(("maths", {"task": "0+2"})), saying("Two.")), [agent_tool("maths", inner, description="Adds.")]
    )
    provider = script(calling(("team", {"task": "0+2?"})), saying("2"))
    outer = AgentStage(provider, [agent_tool("team", middle, description="Helps.")])
    got = await run_stage(outer, ASK)
    texts: dict[object, str] = {}
    for one in got:
        if isinstance(one, TextElement):
            texts[one.metadata.get("agent")] = texts.get(one.metadata.get("agent"), "") + one.text

    assert texts == {"team/maths": "It is two.", "team": "Two.", None: "2"}
    assert results(got) == [("call-1-1", "ok", "Two.")]
    assert end(got).metadata["usage"]["output_tokens"] == sum(
        one.usage.output_tokens for one in got if isinstance(one, UsageElement)
    )
    check(got)


async def test_agents_are_inside_each_other_up_to_a_depth():
    """semantics 20.12: an agent that hands its task to itself is stopped, and told so."""
    tools = []
    provider = ScriptedProvider(
        turns=[
            saying("deep", when=lambda request: bool(request.messages[-1].tool_results), times=None),
            calling(("self", {"task": "again"}), times=None),
        ]
    )

    async def again(args, run: ToolContext[object]):
        return await tools[0].func(args, run)

    from streamflow.agents import Tool

    agent = AgentStage(provider, [Tool.from_schema(ToolSpec("self"), again)])
    tools.append(agent_tool("self", agent, description="Myself.", max_depth=2))
    got = await run_stage(agent, ASK)

    assert provider.calls == 6
    assert end(got).stop_reason == "stop"


async def test_an_agent_answers_within_a_stage_of_yours():
    """semantics 20.12: `answer()` is the same loop."""
    seen = []

    async def look(element) -> None:
        await anyio.lowlevel.checkpoint()
        seen.append(element)

    agent = AgentStage(script(calling(("add", {"a": 0, "b": 1})), saying("One.")), [add])
    answer = await within_a_stage(lambda: agent.answer([Message("user", "0+1?")], look))

    assert (answer.text, answer.stop_reason, answer.limit) == ("One.", "stop", None)
    assert answer.usage.total_tokens > 0
    check_history(answer.messages)
    check(seen)


async def test_tools_get_what_the_caller_of_the_run_gave():
    """semantics 20.2: `deps` of the run are those of the context."""

    @tool
    async def who(run: ToolContext[str]) -> str:
        return run.deps

    pipeline = PipelineBuilder().chain(AgentStage(script(calling(("who", {})), saying("You.")), [who])).build()
    result = await pipeline.run(ASK, deps="Ada")

    assert results(result.elements)[0][2] == "Ada"


async def test_a_model_that_fails_in_a_later_round_leaves_the_first_ones_sent():
    """semantics 20.8: what was sent stays sent, and is lawful."""
    provider = script(calling(("add", {"a": 0, "b": 1})), ScriptTurn([ErrorStep("auth")]))
    pipeline = PipelineBuilder().chain(AgentStage(provider, [add])).build()
    got = []
    with pytest.raises(StageError) as raised:
        async for element in pipeline.execute(ASK):
            got.append(element)

    assert isinstance(raised.value.__cause__, ProviderError)
    check(got)


async def test_nothing_in_means_nothing_out():
    """semantics 20.9: an end without messages asks nobody, and passes."""
    provider = script()

    assert await run_stage(AgentStage(provider), []) == []
    assert await run_stage(AgentStage(provider), [TurnEnd(index=7), ToolDecisionElement("x", True), TurnEnd()]) == [
        TurnEnd(index=7),
        TurnEnd(),
    ]


async def test_a_turn_is_bounded():
    """semantics 5.5: more messages than `max_messages` are an error that says what to do."""
    pipeline = PipelineBuilder().chain(AgentStage(script(), max_messages=1)).build()
    with pytest.raises(StageError) as raised:
        await pipeline.run([ASK[0], ASK[0]])

    assert isinstance(raised.value.__cause__, ElementError)


WRONG = [
    (lambda: AgentStage(script(), max_messages=0), "max_messages"),
    (lambda: AgentStage(script(), request=ModelRequest(messages=(), tools=(ToolSpec("a"),))), "request"),
    (lambda: AgentStage(script(), request=ModelRequest(messages=(), tool_choice=NamedTool("a"))), "request"),
    (lambda: AgentStage(script(), request=ModelRequest(messages=(), tool_choice="required")), "request"),
    (lambda: Limits(rounds=0), "Limits.rounds"),
    (lambda: Limits(calls=-1), "Limits.calls"),
    (lambda: Limits(tokens=0), "Limits.tokens"),
    (lambda: Limits(cost_usd=0), "Limits.cost_usd"),
    (lambda: Limits(time_s=float("inf")), "Limits.time_s"),
    (lambda: Limits(finish="no"), "Limits.finish"),
    (lambda: agent_tool("a", AgentStage(script()), description="", max_depth=0), "max_depth"),
]


def test_a_wrong_option_is_refused_by_its_name():
    """semantics 11.2: bad input gets a clear error at once."""
    told = []
    for make, _ in WRONG:
        with pytest.raises(ConfigError) as raised:
            make()
        told.append(raised.value.field)

    assert told == [field for _, field in WRONG]


STEPS = st.lists(
    st.one_of(
        st.builds(TextStep, st.text("ab ", min_size=1, max_size=6)),
        st.builds(ToolCallStep, st.sampled_from(["add", "nothing"]), st.just({"a": 1, "b": 1})),
        st.builds(ToolCallStep, st.just("add"), raw=st.sampled_from(['{"a":', "[]", '{"a":"x"}'])),
        st.builds(DelayStep, st.just(1.0)),
    ),
    min_size=1,
    max_size=4,
)


@given(plan=st.lists(STEPS, min_size=1, max_size=4), at=st.none() | st.floats(0, 6), capacity=st.integers(1, 3))
async def test_whatever_a_model_does_and_whenever_it_is_interrupted_the_history_is_lawful(plan, at, capacity):
    """semantics 20.8: one result for each call, one end for each turn, on both loops, at every capacity."""
    turns = [ScriptTurn(steps) for steps in plan]
    stage = AgentStage(ScriptedProvider(turns=turns, default="Done."), [add])
    pipeline = PipelineBuilder(PipelineConfig(buffer_size=capacity)).chain(stage).build()
    got = []
    async with pipeline.execute(ASK) as run, anyio.create_task_group() as group:

        async def interrupt(when: float) -> None:
            await anyio.sleep(when)
            run.interrupt()

        if at is not None:
            group.start_soon(interrupt, at)
        async for element in run:
            got.append(element)
        group.cancel_scope.cancel()
    messages = [Message("user", "go"), *said(got)]

    check_history([one for one in messages if one.content])
    assert len([one for one in got if isinstance(one, TurnEnd)]) == 1
    called = {part.call_id for message in messages for part in message.tool_calls}
    assert called == {part.call_id for message in messages for part in message.tool_results}
    assert all(isinstance(part, ToolResultPart) for one in messages if one.role == "tool" for part in one.parts)
