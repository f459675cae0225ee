"""`ProviderStage`: the contract of a turn."""

import anyio
import pytest

from streamflow import (
    EndOfStream,
    Message,
    MessageElement,
    Metadata,
    PipelineBuilder,
    PipelineConfig,
    StageError,
    TextElement,
    TurnEnd,
    TurnStart,
    UsageElement,
)
from streamflow.elements import Usage
from streamflow.errors import ConfigError, ElementError, ProviderError
from streamflow.providers import ModelRequest, ProviderStage, Rule, ScriptedProvider


def user(text: str) -> MessageElement:
    return MessageElement(Message("user", text))


def build(provider, capacity: int = 16, **options):
    return PipelineBuilder(PipelineConfig(buffer_size=capacity)).chain(ProviderStage(provider, **options)).build()


def show(elements) -> list[str]:
    """Name each element by its type and, for text, its text."""
    return [element.text if isinstance(element, TextElement) else type(element).__name__ for element in elements]


class FromList:
    """A provider that gives what it was told, whatever the protocol says, and notes how its streams ended."""

    name = "listed"

    def __init__(self, *elements, hold: anyio.Event | None = None) -> None:
        self.elements, self.hold = elements, hold
        self.closed = 0

    async def stream(self, request: ModelRequest):
        try:
            for element in self.elements:
                yield element
            if self.hold is not None:
                await self.hold.wait()
        finally:
            self.closed += 1


@pytest.mark.parametrize("capacity", [1, 2, 16])
async def test_a_turn_has_the_order_of_the_contract(capacity):
    """`ProviderStage` — Out: start, fragments, whole, usage, end; for each turn, at every capacity."""
    source = [user("hi"), TurnEnd(), user("you"), user("there")]
    got = (await build(ScriptedProvider(default="So {text}!"), capacity).run(source)).elements

    assert show(got) == [
        *["TurnStart", "So", " hi!", "MessageElement", "UsageElement", "TurnEnd"],
        *["TurnStart", "So", " there!", "MessageElement", "UsageElement", "TurnEnd"],
    ]
    assert [element.index for element in got if isinstance(element, (TurnStart, TurnEnd))] == [0, 0, 1, 1]


async def test_every_turn_starts_a_new_collection():
    """What the model is to remember must come in again; a turn without messages asks nobody and is passed on."""
    provider = ScriptedProvider()
    source = [TurnEnd(index=7), user("a"), user("b"), TurnEnd(), TurnEnd(index=9), user("c"), TurnEnd()]
    got = (await build(provider).run(source)).elements

    assert [[message.text for message in request.messages] for request in provider.requests] == [["a", "b"], ["c"]]
    assert [element.index for element in got if isinstance(element, TurnEnd)] == [7, 0, 9, 1]
    assert sum(isinstance(element, TurnStart) for element in got) == 2


async def test_nothing_in_means_nothing_out():
    """An empty conversation is no question."""
    provider = ScriptedProvider()

    assert (await build(provider).run([])).elements == ()
    assert provider.requests == ()


async def test_the_end_of_a_turn_carries_the_model_s_stop_reason_and_what_it_came_with():
    """semantics 3.3: an accumulator passes turn ends on."""
    came = TurnEnd(id="t", metadata=Metadata({"room": 1}))
    provider = ScriptedProvider(default="one two three")
    got = (await build(provider, max_tokens=1).run([user("go"), came])).elements

    assert got[-1] == came.replace(stop_reason="length")


async def test_what_the_stage_is_told_is_what_the_model_is_asked():
    """The options of the stage reach the provider."""
    provider = ScriptedProvider()
    await build(provider, model="m", temperature=0.5, max_tokens=9).run(user("go"))

    assert provider.requests == (
        ModelRequest(messages=(Message("user", "go"),), model="m", temperature=0.5, max_tokens=9),
    )


async def test_other_elements_pass_by_in_order():
    """semantics 3.3: they leave after the results of what the stage took before them."""
    source = [TextElement("before"), user("hi"), TurnEnd(), TextElement("after"), user("x")]
    shown = show((await build(ScriptedProvider(default="yes")).run(source)).elements)

    assert shown[0] == "before"
    assert shown[1:7] == ["TurnStart", "yes", "MessageElement", "UsageElement", "TurnEnd", "after"]


async def test_fragments_leave_while_the_model_still_answers():
    """semantics 5.3: streaming is real, token by token."""
    pipeline = build(ScriptedProvider(default="one two three", delay_s=60))
    async with pipeline.execute(user("go")) as run:
        times = [anyio.current_time() async for element in run if isinstance(element, TextElement)]

    assert times == [60, 120, 180]


async def test_a_provider_that_knows_no_usage_reports_none():
    """Unknown is not zero: there is no usage element then."""
    provider = FromList(TextElement("a"), MessageElement(Message("assistant", "a")))

    assert show((await build(provider).run(user("go"))).elements) == ["TurnStart", "a", "MessageElement", "TurnEnd"]


async def test_usage_so_far_passes_at_once_and_the_final_one_after_the_whole():
    """Only the total waits for the whole."""
    so_far, total = UsageElement(Usage(output_tokens=1)), UsageElement(Usage(output_tokens=2), final=True)
    provider = FromList(so_far, TextElement("a", id="1"), total, MessageElement(Message("assistant", "a"), id="1"))
    got = (await build(provider).run(user("go"))).elements

    assert show(got) == ["TurnStart", "UsageElement", "a", "MessageElement", "UsageElement", "TurnEnd"]
    assert (got[1], got[4]) == (so_far, total)
    assert got[-1].stop_reason == "stop"


async def test_a_failure_in_the_middle_fails_the_stage_after_what_was_sent():
    """semantics 5.6: the fragments are out, then the run fails with the provider's error as the cause; no whole, no turn end."""
    error = ProviderError("overloaded", "the model is busy", retryable=True)
    pipeline = build(ScriptedProvider([Rule("", "one two three", error=error, error_after=2)]))
    got = []
    with pytest.raises(StageError, match=r"stage 'model' failed.*the model is busy") as caught:
        async for element in pipeline.execute(user("go")):
            got.append(element)

    assert show(got) == ["TurnStart", "one", " two", "ErrorElement", "EndOfStream"]
    assert isinstance(caught.value.__cause__, ProviderError)
    assert caught.value.__cause__.args == error.args


@pytest.mark.parametrize(
    ("elements", "complaint"),
    [
        ([TextElement("a")], "ended without its message"),
        ([MessageElement(Message("assistant", "a"))] * 2, "sent MessageElement after its message"),
        ([MessageElement(Message("assistant", "a")), TextElement("b")], "sent TextElement after its message"),
    ],
)
async def test_a_provider_that_breaks_the_protocol_fails_the_stage(elements, complaint):
    """`Provider.stream` — Out: the whole is the last, exactly once."""
    provider = FromList(*elements)
    with pytest.raises(StageError, match=f"provider 'listed' {complaint}") as caught:
        await build(provider).run(user("go"))

    assert caught.value.__cause__.code == "protocol"
    assert provider.closed == 1


async def test_a_turn_with_too_many_messages_is_an_error_that_says_what_to_do():
    """The collection is bounded, and the bound is part of what may be in flight."""
    pipeline = build(ScriptedProvider(), capacity=4, max_messages=2)
    assert (await pipeline.run([user("a"), user("b"), TurnEnd(), user("c"), user("d")])).reason == "done"
    with pytest.raises(StageError, match="more than 2 messages in one turn; send TurnEnd in time") as caught:
        await pipeline.run([user("a"), user("b"), user("c")])

    assert isinstance(caught.value.__cause__, ElementError)
    assert pipeline.max_in_flight == 4 + 2 + 4 + 1


async def test_a_consumer_that_leaves_ends_the_model_call():
    """`ProviderStage` — Flow.cancels: whoever stops listening does not pay for the rest."""
    provider = FromList(TextElement("a"), hold=anyio.Event())
    async with build(provider).execute(user("go")) as run:
        async for element in run:
            if isinstance(element, TextElement):
                break

    assert provider.closed == 1


async def test_a_cancelled_run_ends_the_model_call():
    """semantics 5.5: nothing is left behind, not even at the model."""
    provider = FromList(TextElement("a"), hold=anyio.Event())
    with anyio.move_on_after(5) as scope:
        await build(provider).run(user("go"))

    assert scope.cancelled_caught
    assert provider.closed == 1


async def test_a_stage_behind_that_needs_no_more_ends_the_model_call():
    """semantics 3.1: upstream of an early return is completed, and so is its request."""
    provider = FromList(*[TextElement(str(number)) for number in range(9)], hold=anyio.Event())

    async def first(stream):
        async for element in stream:
            yield element
            return

    pipeline = PipelineBuilder(PipelineConfig(buffer_size=1)).chain(ProviderStage(provider), first).build()
    got = [element async for element in pipeline.execute(user("go"))]

    assert [element.text for element in got if isinstance(element, TextElement)] == ["0"]
    assert isinstance(got[-1], EndOfStream)
    assert provider.closed == 1


@pytest.mark.parametrize(
    "options", [{"temperature": -0.1}, {"temperature": float("nan")}, {"max_tokens": 0}, {"max_messages": 0}]
)
def test_numbers_out_of_range_are_refused(options):
    """Wrong arguments fail in the constructor, not in a running task."""
    with pytest.raises(ConfigError, match=next(iter(options))):
        ProviderStage(ScriptedProvider(), **options)
