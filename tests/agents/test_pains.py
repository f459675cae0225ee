"""What users of agent frameworks complain of, each as a test that it does not happen here."""

import anyio
from agent_kit import ASK, calling, check, end, results, said, saying, script, within_a_stage

from streamflow import PipelineBuilder, PipelineConfig, TextElement
from streamflow.agents import AgentStage, Limits, ToolContext, Tools, agent_tool, tool
from streamflow.elements import DataElement, ToolResultElement, check_history
from streamflow.providers import DelayStep, ScriptTurn, StopStep, TextStep, ToolCallStep, UsageStep
from streamflow.testing import run_stage


@tool
async def look(key: str = "a") -> str:
    """Look something up."""
    return f"found {key}"


async def test_text_before_a_call_does_not_end_the_turn():
    """semantics 20.9: pydantic-ai #2308, #3574, #7688: the streamed loop ended at the first text, and tools never ran."""
    got = await run_stage(AgentStage(script(calling(("look", {}), text="Let me look."), saying("Found.")), [look]), ASK)

    assert [one[1] for one in results(got)] == ["ok"]
    assert said(got)[-1].text == "Found."


async def test_truncated_arguments_never_run_and_are_fed_back_once():
    """semantics 20.6: anthropic-sdk #1265, strands #2451, humux #77: cut arguments ran as `{}`, or looped thirty times."""
    ran = []

    @tool
    async def write(text: str = "") -> None:
        ran.append(text)

    cut = ScriptTurn([ToolCallStep("write", raw='{"text": "it was a da'), StopStep("length")], times=None)
    provider = script(cut)
    got = await run_stage(AgentStage(provider, [write]), ASK)

    assert (ran, provider.calls, end(got).stop_reason) == ([], 2, "length")
    assert "cut off at its limit" in results(got)[0][2]
    check_history(provider.requests[1].messages)


async def test_invalid_arguments_do_not_loop():
    """semantics 20.6: pydantic-ai #3118, anthropic-sdk #794: each is answered by one message; it is bounded."""
    bad = ScriptTurn([ToolCallStep("look", raw='{"key": }')], times=None)
    provider = script(bad)
    got = await run_stage(AgentStage(provider, [look], limits=Limits(rounds=6)), ASK)

    assert [("3 times" in one[2]) for one in results(got)] == [False] * 3 + [True] * 3
    check(got)


async def test_leaving_the_loop_ends_model_and_tools():
    """semantics 7.1: openai-agents #574, pydantic-ai #1524: the agent kept acting when nobody listened any more."""
    acted = []

    @tool
    async def act(run: ToolContext[object]) -> None:
        await run.data("began", True)
        await anyio.sleep(5)
        acted.append(True)

    pipeline = PipelineBuilder().chain(AgentStage(script(calling(("act", {})), saying("x")), [act])).build()
    async with pipeline.execute(ASK) as run:
        async for element in run:
            if isinstance(element, DataElement):
                break
    await anyio.sleep(60)

    assert acted == []


async def test_a_limit_of_rounds_throws_nothing_away():
    """semantics 20.10: openai-agents #719, #844: `max_turns` raised, and the work was gone."""
    provider = script(calling(("look", {}), times=None))
    agent = AgentStage(provider, Tools([look], max_repeats=99), limits=Limits(rounds=2))
    answer = await within_a_stage(lambda: agent.answer(ASK_MESSAGES))

    assert (answer.limit, answer.stop_reason, provider.calls) == ("rounds", "length", 2)
    assert [one.role for one in answer.messages] == ["user", *["assistant", "tool"] * 2]
    check_history(answer.messages)


ASK_MESSAGES = [ASK[0].message]


async def test_a_failing_tool_does_not_take_its_siblings_results_away():
    """semantics 20.5: claude-code #64346, smolagents #2457, langgraphjs #992."""

    @tool
    async def fail() -> None:
        raise RuntimeError

    calls = [("look", {"key": "1"}), ("fail", {}), ("look", {"key": "2"})]
    got = await run_stage(AgentStage(script(calling(*calls), saying("ok")), [look, fail]), ASK)

    assert [one[1:] for one in results(got)] == [("ok", "found 1"), ("error", "The tool failed."), ("ok", "found 2")]


async def test_finished_results_do_not_run_again_after_an_interrupt_for_a_person():
    """semantics 20.7: langgraph #6626, deepagents #694: the node ran again as a whole when it was resumed."""
    from streamflow import TurnEnd
    from streamflow.agents import ToolDecisionElement

    ran = []

    @tool
    async def pay(amount: int) -> str:
        ran.append(amount)
        return "paid"

    tools = Tools([pay], approve=lambda one: "ask" if one.args["amount"] > 100 else "allow")
    provider = script(calling(("pay", {"amount": 1}, "1"), ("pay", {"amount": 1000}, "2")), saying("Paid."))
    got = await run_stage(AgentStage(provider, tools), [*ASK, ToolDecisionElement("2", True), TurnEnd()])

    assert ran == [1, 1000]
    check(got)


async def test_usage_is_summed_over_rounds_and_kept_on_a_limit():
    """semantics 20.11: tokenjam PR 628, seed 004: usage was overwritten by each round, and lost at the end."""
    from streamflow.elements import Usage

    turn = ScriptTurn([ToolCallStep("look", {}), UsageStep(Usage(input_tokens=10, output_tokens=1))], times=None)
    got = await run_stage(AgentStage(script(turn), Tools([look], max_repeats=9), limits=Limits(rounds=4)), ASK)

    assert end(got).metadata["usage"]["input_tokens"] == 40


async def test_usage_of_an_interrupted_call_is_told():
    """semantics 20.11: openai-openapi #539: after an abort the last known usage is final, as an estimate."""
    from streamflow.elements import Usage, UsageElement

    turn = ScriptTurn([UsageStep(Usage(input_tokens=10)), TextStep("So"), DelayStep()])
    pipeline = PipelineBuilder(PipelineConfig(buffer_size=1)).chain(AgentStage(script(turn))).build()
    got = []
    async with pipeline.execute(ASK) as run:
        async for element in run:
            got.append(element)
            if isinstance(element, TextElement):
                await anyio.sleep(1)
                run.interrupt()
    finals = [one.usage for one in got if isinstance(one, UsageElement) and one.final]

    assert [(one.input_tokens, one.estimated) for one in finals] == [(10, True)]


async def test_the_text_of_an_agent_that_is_a_tool_streams():
    """semantics 20.12: openai-agents #667: an agent as a tool was silent until it had finished."""
    slow = ScriptTurn([TextStep("one"), DelayStep(5), TextStep("two")])
    inner = AgentStage(script(slow))
    outer = AgentStage(script(calling(("ask", {"task": "t"})), saying("x")), [agent_tool("ask", inner, description="")])
    pipeline = PipelineBuilder().chain(outer).build()
    when = {}
    start = anyio.current_time()
    async with pipeline.execute(ASK) as run:
        async for element in run:
            if isinstance(element, TextElement):
                when[element.text] = anyio.current_time() - start

    assert when == {"one": 0, "two": 5, "x": 5}


async def test_a_result_that_never_ends_does_not_fill_the_context():
    """semantics 20.3: a tool that returned a megabyte made every later call of the model fail."""

    @tool
    async def dump() -> str:
        return "x" * 1_000_000

    got = await run_stage(AgentStage(script(calling(("dump", {})), saying("Big.")), [dump]), ASK)
    (result,) = [one for one in got if isinstance(one, ToolResultElement)]

    assert len(result.text) < 64_100
    assert "of 1000000 bytes" in result.text
