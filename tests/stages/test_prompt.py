"""`PromptStage`: what a model reads in one turn. Seed 000, its LLM stage."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow import ConfigError, Message, MessageElement, StreamElement, TextElement, TurnEnd, UsageElement
from streamflow.elements import ImagePart, ToolCallPart, ToolResultPart, Usage
from streamflow.runtime import PipelineBuilder
from streamflow.stages import PromptStage

SYSTEMS = {
    "support": "You are a support agent.",
    "sales": "You are a sales assistant.",
    "general": "You are helpful.",
}


def user(text: str, **metadata: str) -> MessageElement:
    return MessageElement(Message("user", text)).with_metadata(**metadata)


def assistant(text: str) -> MessageElement:
    return MessageElement(Message("assistant", text))


async def prompted(inputs: list[StreamElement], system=SYSTEMS, **options) -> list[StreamElement]:
    result = await PipelineBuilder().chain(PromptStage(system, **options)).build().run(inputs)
    return list(result.elements)


def said(elements: list[StreamElement]) -> list[tuple[str, str] | StreamElement]:
    return [(one.message.role, one.message.text) if isinstance(one, MessageElement) else one for one in elements]


@pytest.mark.parametrize("route", ["support", "sales", "general"])
async def test_the_system_message_is_that_of_the_route_and_comes_first(route: str) -> None:
    """Seed 000: system prompt by route, then the user's message."""
    got = await prompted([user("hi", route=route)])

    assert said(got) == [("system", SYSTEMS[route]), ("user", "hi")]
    assert got[0].metadata == {"route": route}


@pytest.mark.parametrize("metadata", [{}, {"route": "unheard"}, {"route": 7}])
async def test_a_message_without_a_known_route_gets_the_default_one(metadata) -> None:
    """Args.default_route: also for a route that `system` does not name, and for one that is no text."""
    got = await prompted([user("hi", **metadata)], default_route="sales")

    assert said(got) == [("system", SYSTEMS["sales"]), ("user", "hi")]


async def test_the_route_is_that_of_the_last_message_of_the_user() -> None:
    """An older question decides nothing, whatever has been answered since."""
    got = await prompted(
        [
            user("help", route="support"),
            assistant("How?"),
            user("buy", route="sales"),
            assistant("Wait."),
        ]
    )

    assert said(got)[0] == ("system", SYSTEMS["sales"])


async def test_one_text_is_the_system_message_of_every_route() -> None:
    """Args.system: a text, or one for each route; an empty one means none."""
    inputs: list[StreamElement] = [user("hi", route="sales")]

    assert said(await prompted(inputs, "Be brief.")) == [("system", "Be brief."), ("user", "hi")]
    assert said(await prompted(inputs, "")) == [("user", "hi")]


@given(length=st.integers(0, 12), limit=st.integers(0, 6))
async def test_the_last_messages_of_the_history_come_along_and_no_others(length: int, limit: int) -> None:
    """Args.history_limit: seed 000 takes the last ten; order is kept, the user's message is always there."""
    history = [user(f"m{number}") if number % 2 else assistant(f"m{number}") for number in range(length)]

    got = await prompted([*history, user("now")], history_limit=limit)

    kept = [one.message.text for one in history][length - limit if length > limit else 0 :]
    assert [text for _, text in said(got)] == [SYSTEMS["general"], *kept, "now"]


def test_what_it_holds_is_bounded_and_known() -> None:
    """Flow.backpressures: `history_limit + 1` messages, so a pipeline can say how much is in flight."""
    stage = PromptStage("x", history_limit=3)

    assert stage.max_held == 4
    assert PipelineBuilder().chain(stage).build().max_in_flight == 2 * 16 + 4 + 1


async def test_a_turn_end_flushes_goes_on_and_starts_anew() -> None:
    """Flow.emits: each turn is complete in itself; the rest comes when the input ends."""
    got = await prompted([user("one", route="sales"), TurnEnd(index=0), user("two"), TurnEnd(index=1), user("three")])

    assert said(got) == [
        ("system", SYSTEMS["sales"]),
        ("user", "one"),
        TurnEnd(index=0),
        ("system", SYSTEMS["general"]),
        ("user", "two"),
        TurnEnd(index=1),
        ("system", SYSTEMS["general"]),
        ("user", "three"),
    ]


async def test_the_route_of_a_turn_does_not_outlive_it() -> None:
    """A turn in which the user says nothing is of the default route, whatever the turn before was about."""
    got = await prompted([user("buy", route="sales"), TurnEnd(), assistant("Anything else?")])

    assert said(got)[3:] == [("system", SYSTEMS["general"]), ("assistant", "Anything else?")]


async def test_a_turn_without_a_message_asks_for_nothing() -> None:
    """Out: no system message alone; an empty message is none."""
    assert await prompted([TurnEnd()]) == [TurnEnd()]
    assert await prompted([]) == []
    assert await prompted([user(""), TurnEnd()]) == [TurnEnd()]


async def test_an_empty_message_is_left_out_and_one_of_media_is_not() -> None:
    """Seed 000: the user's message only if it is not empty."""
    picture = MessageElement(Message("user", [ImagePart(url="https://example.org/cat.png")]))

    got = await prompted([user(""), assistant(""), picture])

    assert got[1:] == [picture]


@pytest.mark.parametrize("text", ["{route} {0} {text!r}", "%s %(route)s", "${route}", "{{", "\\1 \\g<0>"])
async def test_no_text_is_taken_for_a_template(text: str) -> None:
    """What users, stores and `system` say reaches the model letter by letter."""
    got = await prompted([assistant(text), user(text)], text)

    assert said(got) == [("system", text), ("assistant", text), ("user", text)]


async def test_a_text_is_a_message_of_the_user() -> None:
    """In: `execute("hello")` needs no router in front."""
    assert said(await prompted([TextElement("hello")])) == [("system", SYSTEMS["general"]), ("user", "hello")]


async def test_messages_come_out_as_they_came_in() -> None:
    """Out: metadata, ids and parts of the history are not touched."""
    history = [user("hi", route="sales", lang="en").replace(id="m1"), assistant("yes")]

    assert (await prompted(list(history)))[1:] == history


async def test_system_messages_of_the_history_follow_the_chosen_one() -> None:
    """Out: a model reads all system messages first; they count as history."""
    notes = [MessageElement(Message("system", text)) for text in ("old", "name: Ada", "likes: tea")]

    got = await prompted([notes[0], notes[1], user("hi"), notes[2], user("now")], history_limit=3)

    assert said(got)[1:] == [("system", "name: Ada"), ("system", "likes: tea"), ("user", "hi"), ("user", "now")]


async def test_a_result_of_a_tool_comes_along_only_with_its_call() -> None:
    """Out: a model refuses an answer to a question that it does not see."""
    call = MessageElement(Message("assistant", [ToolCallPart("c1", "clock")]))
    result = MessageElement(Message("tool", [ToolResultPart("c1", "noon")]))
    turn: list[StreamElement] = [user("when?"), call, result, user("and now?")]

    assert (await prompted(turn, history_limit=2))[1:] == [call, result, user("and now?")]
    assert (await prompted(turn, history_limit=1))[1:] == [user("and now?")]


async def test_control_keeps_its_place() -> None:
    """Semantics 3.3: what a stage does not accept passes it by."""
    usage = UsageElement(Usage(input_tokens=1), final=True)

    got = await prompted([user("one"), TurnEnd(), usage, user("two")])

    assert said(got)[1:4] == [("user", "one"), TurnEnd(), usage]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"system": None}, "system"),
        ({"system": {}}, "system"),
        ({"system": ["x"]}, "system"),
        ({"system": {"general": 7}}, "system['general']"),
        ({"system": {7: "x"}}, "system[7]"),
        ({"system": {"sales": "x"}}, "default_route"),
        ({"system": SYSTEMS, "default_route": "unheard"}, "default_route"),
        ({"system": "x", "default_route": " "}, "default_route"),
        ({"system": "x", "history_limit": -1}, "history_limit"),
        ({"system": "x", "history_limit": True}, "history_limit"),
        ({"system": "x", "history_limit": 1.5}, "history_limit"),
    ],
)
def test_a_bad_argument_is_refused_at_once_and_by_name(arguments, field: str) -> None:
    """Raises: the field that is wrong is named."""
    with pytest.raises(ConfigError) as caught:
        PromptStage(**arguments)

    assert caught.value.field == field
