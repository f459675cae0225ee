"""`RouteStage`: what a message is about, stamped on it. Seed 000, both of its routers."""

from __future__ import annotations

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow import (
    BuildError,
    ConfigError,
    EndOfStream,
    Message,
    MessageElement,
    Metadata,
    Priority,
    StageError,
    TextElement,
    TurnEnd,
)
from streamflow.runtime import PipelineBuilder
from streamflow.stages import PassthroughStage, RouteRule, RouteStage

LONG = [
    RouteRule("support", ["help", "support", "issue"], 0.9),
    RouteRule("sales", ["buy", "purchase", "price"], 0.85),
]
"""The longer router of seed 000."""


def pipeline(*rules: RouteRule, **options):
    return PipelineBuilder().chain(RouteStage(rules, **options)).build()


async def routed(*inputs, rules=LONG) -> list[MessageElement]:
    result = await pipeline(*rules).run(inputs)
    return [one for one in result.elements if isinstance(one, MessageElement)]


@pytest.mark.parametrize(
    ("text", "route", "confidence"),
    [
        ("I need help with my account", "support", 0.9),
        ("Is this a SUPPORT question?", "support", 0.9),
        ("There is an issue", "support", 0.9),
        ("I want to buy a subscription", "sales", 0.85),
        ("A Purchase", "sales", 0.85),
        ("prices?", "sales", 0.85),
        ("Help me to buy", "support", 0.9),
        ("I want to buy help", "support", 0.9),
        ("Hello, how are you?", "general", 0.7),
        ("", "general", 0.7),
    ],
)
async def test_a_message_gets_the_route_and_the_confidence_of_the_first_rule_that_applies(
    text: str, route: str, confidence: float
) -> None:
    """Seed 000: keywords in any case, also inside a word; support wins over sales; an empty text is general."""
    [element] = await routed(text)

    assert element.metadata == {"route": route, "confidence": confidence}
    assert element.message == Message("user", text)


@given(text=st.text(alphabet="helpbuyHELPBUY ", max_size=20))
async def test_the_first_rule_wins_whatever_the_text(text: str) -> None:
    """The short router of seed 000, against its own code."""
    lower = text.lower()
    expected = "support" if "help" in lower else "sales" if "buy" in lower else "general"
    short = [RouteRule("support", ["help"]), RouteRule("sales", ["buy"])]

    [element] = await routed(text, rules=short)

    assert element.metadata["route"] == expected


async def test_a_text_becomes_the_message_of_the_user_with_its_header() -> None:
    """In: a `TextElement` is one whole message; what its maker gave stays."""
    text = TextElement(
        "help", id="t", metadata=Metadata({"lang": "en"}), priority=Priority.LOW, interruptible=False, timestamp_s=1.5
    )

    [element] = await routed(text)

    assert element == MessageElement(
        Message("user", "help"),
        id="t",
        metadata=Metadata({"lang": "en", "route": "support", "confidence": 0.9}),
        priority=Priority.LOW,
        interruptible=False,
        timestamp_s=1.5,
    )


async def test_only_what_the_user_says_is_stamped() -> None:
    """In: messages of others go on as they are, the same objects, in their place."""
    others = [MessageElement(Message(role, "help")) for role in ("system", "assistant", "tool")]

    got = await routed(others[0], MessageElement(Message("user", "help")), *others[1:])

    assert [one.metadata.get("route") for one in got] == [None, "support", None, None]
    assert got[0] is others[0]
    assert got[2:] == others[1:]


async def test_a_predicate_can_tell_a_route_and_other_defaults_can_be_given() -> None:
    """Args: a rule is keywords or a predicate; `default` and `default_confidence`."""
    made = pipeline(RouteRule("code", lambda text: text.startswith("def ")), default="prose", default_confidence=0.1)

    result = await made.run(["def f(): ...", "indeed"])

    assert [dict(one.metadata) for one in result.elements] == [
        {"route": "code", "confidence": 1.0},
        {"route": "prose", "confidence": 0.1},
    ]


async def test_a_predicate_that_raises_fails_the_stage() -> None:
    """Flow.fails: the predicate's own exception is the cause."""
    with pytest.raises(StageError, match="route") as caught:
        await pipeline(RouteRule("odd", lambda text: bool(1 / 0))).run("x")

    assert isinstance(caught.value.__cause__, ZeroDivisionError)


async def test_a_message_leaves_before_the_next_one_comes() -> None:
    """Flow.emits: at once; a router holds nothing back."""
    with anyio.fail_after(5):
        async with pipeline(*LONG).execute() as run:
            await run.send("help")
            first = await anext(run)
            await run.send(TurnEnd())
            second = await anext(run)
            run.close_input()
            last = await anext(run)

    assert isinstance(first, MessageElement)
    assert second == TurnEnd()
    assert isinstance(last, EndOfStream)


@pytest.mark.parametrize(
    ("rules", "field"),
    [
        ("help", "rules"),
        (None, "rules"),
        (["help"], "rules[0]"),
        ([LONG[0], ("sales", ["buy"], 0.85)], "rules[1]"),
        ([RouteRule("", ["x"])], "rules[0].label"),
        ([RouteRule(None, ["x"])], "rules[0].label"),
        ([RouteRule("a", "help")], "rules[0].when"),
        ([RouteRule("a", [])], "rules[0].when"),
        ([RouteRule("a", ["x", ""])], "rules[0].when"),
        ([RouteRule("a", [1])], "rules[0].when"),
        ([RouteRule("a", None)], "rules[0].when"),
        ([*LONG, RouteRule("a", ["x"], 1.1)], "rules[2].confidence"),
        ([RouteRule("a", ["x"], -0.1)], "rules[0].confidence"),
        ([RouteRule("a", ["x"], float("nan"))], "rules[0].confidence"),
        ([RouteRule("a", ["x"], True)], "rules[0].confidence"),
        ([RouteRule("a", ["x"], "0.5")], "rules[0].confidence"),
    ],
)
def test_a_bad_rule_is_refused_at_once_and_by_name(rules, field: str) -> None:
    """Raises: wrong arguments fail in the constructor, not in a running task."""
    with pytest.raises(ConfigError) as caught:
        RouteStage(rules)

    assert caught.value.field == field


@pytest.mark.parametrize(
    ("options", "field"),
    [({"default": " "}, "default"), ({"default": 7}, "default"), ({"default_confidence": 2}, "default_confidence")],
)
def test_a_bad_default_is_refused_at_once(options, field: str) -> None:
    """Raises: the default is a rule too."""
    with pytest.raises(ConfigError) as caught:
        RouteStage(LONG, **options)

    assert caught.value.field == field


def test_a_router_is_named_like_any_stage() -> None:
    """Two routers in one chain need two names."""
    with pytest.raises(BuildError, match="route"):
        PipelineBuilder().chain(RouteStage(LONG), RouteStage(LONG)).build()

    PipelineBuilder().chain(RouteStage(LONG), RouteStage(LONG, name="again"), PassthroughStage()).build()
