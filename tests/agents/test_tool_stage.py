"""`ToolStage`: one result for each call, whatever tools, models and persons do."""

import threading

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from agent_kit import call, check, end, results, said
from hypothesis import given
from hypothesis import strategies as st

from streamflow import Message, MessageElement, PipelineBuilder, PipelineConfig, TextElement, TurnEnd
from streamflow.agents import ToolContext, ToolDecisionElement, Tools, ToolStage, tool
from streamflow.elements import ToolCallElement, ToolCallPart, ToolResultElement
from streamflow.errors import StageError, ToolError
from streamflow.testing import run_stage

RUN = TurnEnd("tool_calls")


@tool
async def wait(seconds: float) -> str:
    await anyio.sleep(seconds)
    return f"{seconds:g}"


@tool
async def fail() -> None:
    raise ValueError("password=hunter2")


@tool
async def explain() -> None:
    raise ToolError("No such city; ask for another one.")


@tool
async def give_up() -> None:
    raise anyio.get_cancelled_exc_class()


@tool
def block(seconds: float = 0.0) -> str:
    return "from a thread"


def message(*calls: ToolCallElement, stop: str = "tool_calls", id: str = "m1") -> MessageElement:
    parts = [ToolCallPart(one.call_id, one.name, one.args, one.raw) for one in calls]
    return MessageElement(Message("assistant", parts, id=id, stop_reason=stop), id=id)


@pytest.mark.parametrize("capacity", [1, 16])
async def test_results_come_in_the_order_of_the_calls_behind_their_message(capacity):
    """semantics 20.4: the fastest tool does not overtake; then comes the message of role `tool`."""
    calls = [call("a", "wait", seconds=3), call("b", "wait", seconds=1), call("c", "block")]
    items = [TextElement("x"), *calls, message(*calls), TextElement("y"), RUN]
    got = await run_stage(ToolStage([wait, block]), items, capacity=capacity)

    assert results(got) == [("a", "ok", "3"), ("b", "ok", "1"), ("c", "ok", "from a thread")]
    assert [type(one).__name__ for one in got] == [
        *["TextElement", *["ToolCallElement"] * 3, "MessageElement"],
        *[*["ToolResultElement"] * 3, "MessageElement", "TextElement", "TurnEnd"],
    ]
    assert said(got)[1].role == "tool"
    check(got, asked=())


async def test_calls_run_side_by_side_up_to_the_limit():
    """semantics 20.4: eight by default, as many as `max_parallel` says; never more."""
    most = now = 0

    @tool
    async def count(number: int) -> str:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await anyio.sleep(1)
        now -= 1
        return "ok"

    calls = [call(str(number), "count", number=number) for number in range(20)]
    for limit, given_tools in ((8, [count]), (3, Tools([count], max_parallel=3))):
        most = 0
        got = await run_stage(ToolStage(given_tools), [*calls, RUN])
        assert (most, len(results(got))) == (limit, 20)


async def test_a_sequential_tool_runs_alone():
    """semantics 20.4: calls before it have ended, calls behind it wait."""
    log = []

    def noting(name: str, **options):
        @tool(name=name, **options)
        async def work(number: int) -> str:
            log.append(f"+{name}{number}")
            await anyio.sleep(1)
            log.append(f"-{name}{number}")
            return "ok"

        return work

    calls = [call(str(n), name, number=n) for n, name in enumerate(["p", "p", "s", "p", "s"])]
    await run_stage(ToolStage([noting("p"), noting("s", sequential=True)]), [*calls, RUN])

    assert set(log[:2]) == {"+p0", "+p1"}
    assert log[4:] == ["+s2", "-s2", "+p3", "-p3", "+s4", "-s4"]


async def test_a_failing_tool_leaves_its_siblings_alone_and_tells_no_secret():
    """semantics 20.5: isolation; the text of an exception is not sent, that of a `ToolError` is."""
    calls = [
        call("a", "fail"),
        call("b", "wait", seconds=1),
        call("c", "explain"),
        call("d", "give_up"),
        call("e", "nothing"),
    ]
    tools = [wait, fail, explain, block]

    @tool(name="give_up")
    async def cancelled() -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anyio.lowlevel.checkpoint()
        raise ToolError("gave up")

    got = await run_stage(ToolStage([*tools, cancelled]), [*calls, RUN])

    assert [one[1] for one in results(got)] == ["error", "ok", "error", "error", "error"]
    assert "hunter2" not in repr(got)
    assert results(got)[2][2] == "No such city; ask for another one."
    assert "The tools are: wait, fail, explain, block, give_up" in results(got)[4][2]


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_a_cancellation_that_a_tool_raises_itself_ends_its_call_alone(anyio_backend):
    """semantics 20.5: langgraph's #6726: `CancelledError` of a tool is no cancellation of the run."""
    got = await run_stage(ToolStage([give_up, wait]), [call("a", "give_up"), call("b", "wait", seconds=1), RUN])

    assert [one[:2] for one in results(got)] == [("a", "cancelled"), ("b", "ok")]


async def test_the_text_of_exceptions_is_sent_where_the_tool_says_so():
    """semantics 20.5: opt-in, tool by tool."""
    got = await run_stage(ToolStage([tool(show_errors=True, name="fail")(fail.func)]), [call("a", "fail"), RUN])

    assert "hunter2" in results(got)[0][2]


async def test_what_is_no_exception_fails_the_stage():
    """semantics 20.5: a `KeyboardInterrupt` is no matter of a tool."""

    class StopAllError(BaseException):
        pass

    @tool
    async def stop() -> None:
        raise StopAllError

    with pytest.raises(BaseException) as raised:  # noqa: PT011
        await run_stage(ToolStage([stop]), [call("a", "stop"), RUN])

    assert "StopAllError" in "".join(map(repr, _causes(raised.value)))


def _causes(error):
    while error is not None:
        yield error
        for inner in getattr(error, "exceptions", ()):
            yield from _causes(inner)
        error = error.__cause__


async def test_a_tool_that_takes_too_long_is_ended():
    """semantics 20.4: each tool has its limit of time."""
    tools = Tools([wait, tool(timeout_s=9, name="longer")(wait.func)], timeout_s=2)
    calls = [call("a", "wait", seconds=5), call("b", "longer", seconds=5)]
    got = await run_stage(ToolStage(tools), [*calls, RUN])

    assert [one[:2] for one in results(got)] == [("a", "timeout"), ("b", "ok")]


async def test_a_tool_in_a_thread_is_told_that_nobody_waits_for_it():
    """semantics 20.4: a thread cannot be cancelled; it is left, and `ToolContext.is_over` says so."""
    begun, released, told = threading.Event(), threading.Event(), threading.Event()
    seen: list[bool] = []

    @tool
    def stubborn(run: ToolContext[object]) -> None:
        seen.append(run.is_over)
        begun.set()
        released.wait()
        seen.append(run.is_over)
        told.set()

    async with anyio.create_task_group() as group:
        group.start_soon(run_stage, ToolStage([stubborn]), [call("a", "stubborn"), RUN])
        await anyio.to_thread.run_sync(begun.wait)
        group.cancel_scope.cancel()
    released.set()
    await anyio.to_thread.run_sync(told.wait)
    assert seen == [False, True]


@pytest.mark.parametrize("stop", ["stop", "length", "content_filter", "refusal", "interrupted", "error"])
async def test_no_tool_runs_on_any_other_stop_reason(stop):
    """semantics 20.6: only `tool_calls` allows it; each call gets a result that says why."""

    @tool
    async def never() -> None:
        raise AssertionError("must not run")

    one = call("a", "never")
    for items in ([one, message(one, stop=stop), TurnEnd(stop)], [one, TurnEnd(stop)], [message(one, stop=stop), RUN]):
        got = await run_stage(ToolStage([never]), items)
        assert [each[0] for each in results(got)] == ["a"]
        assert "was not run" in results(got)[0][2]


async def test_arguments_that_cannot_be_used_are_fed_back():
    """semantics 20.6: a call with an error, and one that does not fit its schema, are answered and not run."""
    broken = ToolCallElement("a", "wait", raw='{"seconds": ', error="cut off at character 12")
    got = await run_stage(ToolStage([wait]), [broken, call("b", "wait", seconds="long"), message(broken, id="m"), RUN])

    assert "no complete JSON object" in results(got)[0][2]

    got = await run_stage(ToolStage([wait]), [message(broken), RUN])
    assert "no complete JSON object" in results(got)[0][2]


async def test_the_same_call_again_and_again_is_stopped():
    """semantics 20.6: the fourth call with the same arguments in one turn is not run; the next turn counts anew."""
    calls = [call(str(number), "wait", seconds=1) for number in range(5)]
    got = await run_stage(ToolStage(Tools([wait], max_parallel=1)), [*calls, RUN, call("x", "wait", seconds=1), RUN])

    assert [one[1] for one in results(got)] == ["ok"] * 3 + ["error"] * 2 + ["ok"]
    assert "3 times" in results(got)[3][2]


async def test_a_blocked_tool_is_not_there():
    """semantics 20.7: it is neither offered nor run."""
    tools = Tools([wait, fail], blocked=["fail"])
    got = await run_stage(ToolStage(tools), [call("a", "fail"), RUN])

    assert [one.name for one in tools.specs] == ["wait"]
    assert "no tool 'fail'" in results(got)[0][2]


async def test_a_policy_allows_denies_or_asks_call_by_call():
    """semantics 20.7: the turn ends with `approval` and names what waits; a policy that fails, or says nonsense, denies."""

    async def policy(one: ToolCallElement):
        await anyio.lowlevel.checkpoint()
        return {1: "allow", 2: "deny", 3: "ask", 4: "perhaps"}.get(one.args["seconds"]) or 1 / 0

    calls = [call(str(number), "wait", seconds=number) for number in range(1, 6)]
    got = await run_stage(ToolStage(Tools([wait], approve=policy)), [*calls, RUN])

    assert [one[:2] for one in results(got)] == [("1", "ok"), ("2", "denied"), ("4", "denied"), ("5", "denied")]
    assert (end(got).stop_reason, end(got).pending) == ("approval", ("3",))


async def test_a_decision_lets_a_call_run_or_not():
    """semantics 20.7: decisions stand before the calls that they are about."""
    tools = Tools([wait], approve="ask")
    calls = [call("a", "wait", seconds=1), call("b", "wait", seconds=2)]
    decisions = [ToolDecisionElement("a", True), ToolDecisionElement("b", False, "Too slow.")]
    got = await run_stage(ToolStage(tools), [*decisions, *calls, RUN])

    assert results(got) == [("a", "ok", "1"), ("b", "denied", "A person has not allowed the call. Too slow.")]


@pytest.mark.parametrize("at", range(6))
async def test_an_interruption_leaves_one_result_for_each_call(at):
    """semantics 20.8: what is ready is kept, what is not is cancelled; nothing is there twice."""
    calls = [call(str(number), "wait", seconds=number) for number in range(1, 6)]
    release = anyio.Event()

    async def source():
        for one in (*calls, message(*calls)):
            yield one
        await release.wait()
        yield TurnEnd("tool_calls")

    pipeline = PipelineBuilder(PipelineConfig(buffer_size=1)).chain(ToolStage([wait])).build()
    got = []
    async with pipeline.execute(source()) as run, anyio.create_task_group() as group:

        async def interrupt() -> None:
            await anyio.sleep(at + 0.5)
            run.interrupt("barge-in")
            release.set()

        group.start_soon(interrupt)
        async for element in run:
            got.append(element)

    check(got, asked=())
    assert [one[1] for one in results(got)] == ["ok"] * at + ["cancelled"] * (5 - at)


@given(
    plan=st.lists(
        st.tuples(st.sampled_from(["wait", "fail", "explain", "block", "unknown", "ask"]), st.booleans()), max_size=8
    ),
    parallel=st.integers(1, 3),
    capacity=st.integers(1, 3),
    stop=st.sampled_from(["tool_calls", "tool_calls", "length", "stop"]),
)
async def test_each_call_has_exactly_one_result_in_order(plan, parallel, capacity, stop):
    """semantics 20.4: whatever tools do, at every capacity; but those that wait for a person have none."""

    @tool(approve="ask", name="ask")
    async def asks() -> None:
        raise AssertionError("nobody has allowed it")

    tools = Tools([wait, fail, explain, block, asks], max_parallel=parallel)
    calls = [
        ToolCallElement(str(n), name, {"seconds": n} if name == "wait" else {}, error="cut" if broken else None)
        for n, (name, broken) in enumerate(plan)
    ]
    items = [*calls, message(*calls, stop=stop)] if calls else []
    got = await run_stage(ToolStage(tools), [*items, TurnEnd(stop)], capacity=capacity)
    waiting = end(got).pending

    assert [one[0] for one in results(got)] == [one.call_id for one in calls if one.call_id not in waiting]
    assert len([one for one in got if isinstance(one, ToolResultElement)]) == len(calls) - len(waiting)
    assert (waiting == ()) or stop == "tool_calls"


async def test_calls_without_an_end_are_not_run():
    """semantics 20.6: an input that ends in the middle of a turn has not allowed anything."""
    got = await run_stage(ToolStage([wait]), [call("a", "wait", seconds=1)])

    assert results(got)[0][1] == "cancelled"


async def test_a_stage_that_fails_behind_it_ends_the_tools():
    """semantics 7.1: nothing is left behind: tools are cancelled with their stage."""
    ended = []

    @tool
    async def forever() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(True)

    @tool
    async def tells(run: ToolContext[object]) -> None:
        await run.data("x", 1)

    def refuse(element):
        if type(element).__name__ == "DataElement":
            raise OSError
        return element

    from streamflow import MapStage

    pipeline = PipelineBuilder().chain(ToolStage([forever, tells]), MapStage(refuse, name="refuse")).build()
    with pytest.raises(StageError):
        await pipeline.run([call("a", "forever"), call("b", "tells"), RUN])

    assert ended == [True]
