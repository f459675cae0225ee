"""Streams of elements in any order, and what the encoders of client formats make of them."""

from __future__ import annotations

import json
from typing import Any, get_args

from hypothesis import strategies as st

from streamflow.elements import (
    BatchElement,
    EndReason,
    ErrorElement,
    Message,
    MessageElement,
    Metadata,
    StopReason,
    StreamElement,
    TextElement,
    TextPart,
    ThinkingElement,
    ThinkingPart,
    ToolCallDelta,
    ToolCallElement,
    ToolCallPart,
    ToolResultElement,
    ToolResultPart,
    ToolStatus,
    TurnEnd,
    TurnReset,
    TurnStart,
)
from streamflow.testing import elements as any_elements
from streamflow.transports import EventEncoder, ServerEvent, StreamEnd, may_merge, merge_events

IDS = st.sampled_from(["", "a", "b"])
CALLS = st.sampled_from(["x", "y", "z"])
TEXTS = st.text(max_size=3)
AGENTS = st.sampled_from([Metadata({}), Metadata({}), Metadata({"agent": "helper"})])
PARTS = st.one_of(
    st.builds(TextPart, TEXTS),
    st.builds(ThinkingPart, TEXTS, st.none() | st.just("signed")),
    st.builds(ToolCallPart, CALLS, st.just("tool")),
)
STATUSES = st.sampled_from(get_args(ToolStatus))

ONE = st.one_of(
    st.builds(TextElement, TEXTS, st.sampled_from([(), ("slots", 0)]), id=IDS, metadata=AGENTS),
    st.builds(ThinkingElement, TEXTS, st.none() | st.just("signed"), id=IDS, metadata=AGENTS),
    st.builds(ToolCallDelta, CALLS, st.just("tool"), TEXTS, id=IDS),
    st.builds(ToolCallElement, CALLS, st.just("tool"), error=st.none() | st.just("no JSON"), id=IDS),
    st.builds(ToolResultElement, CALLS, st.just("tool"), TEXTS, STATUSES, st.booleans()),
    st.builds(MessageElement, st.builds(Message, st.just("assistant"), st.lists(PARTS, max_size=2)), id=IDS),
    st.builds(
        MessageElement,
        st.builds(
            Message, st.just("tool"), st.lists(st.builds(ToolResultPart, CALLS, TEXTS, status=STATUSES), max_size=2)
        ),
    ),
    st.builds(TurnStart, st.integers(0, 1)),
    st.builds(TurnEnd, st.sampled_from(get_args(StopReason)), pending=st.lists(CALLS, max_size=2).map(tuple)),
    st.builds(TurnReset, TEXTS, answer=IDS),
    any_elements(),
)

STREAMS = st.lists(ONE | st.lists(ONE, max_size=2).map(lambda items: BatchElement(tuple(items))), max_size=24)
"""Elements in any order, lawful or not, with ids that often meet."""

ENDS = st.sampled_from(get_args(EndReason)).map(
    lambda reason: StreamEnd(
        reason, ErrorElement("failed", "It failed.", fatal=True) if reason in {"error", "timeout"} else None
    )
)


def told(encoder: EventEncoder, elements: list[StreamElement], end: StreamEnd | None = None) -> list[ServerEvent]:
    """Return all events of a stream."""
    events = list(encoder.start())
    for element in elements:
        events += encoder.encode(element)
    return [*events, *encoder.finish(end if end is not None else StreamEnd())]


def parsed(events: list[ServerEvent]) -> list[dict[str, Any]]:
    """Return the data of events, but for a `[DONE]` at the end."""
    return [json.loads(event.data) for event in events if event.data != "[DONE]"]


def coalesced(events: list[ServerEvent]) -> list[ServerEvent]:
    """Return as few events as may be made of these."""
    kept: list[ServerEvent] = []
    for event in events:
        if kept and may_merge(kept[-1], event):
            kept[-1] = merge_events([kept[-1], event])
        else:
            kept.append(event)
    return kept


A_TOOL_TURN: list[StreamElement] = [
    TurnStart(),
    ThinkingElement("Let me ", id="m1"),
    ThinkingElement("see.", id="m1"),
    ThinkingElement("", signature="proof", id="m1"),
    TextElement("I look ", id="m1"),
    TextElement("it up.", id="m1"),
    ToolCallDelta("c1", "weather", '{"city":', id="m1"),
    ToolCallDelta("c1", "weather", '"Oslo"}', id="m1"),
    ToolCallElement("c1", "weather", {"city": "Oslo"}, '{"city":"Oslo"}', id="m1"),
    MessageElement(
        Message(
            "assistant",
            [
                ThinkingPart("Let me see.", "proof"),
                TextPart("I look it up."),
                ToolCallPart("c1", "weather", {"city": "Oslo"}, '{"city":"Oslo"}'),
            ],
            id="m1",
            stop_reason="tool_calls",
        ),
        id="m1",
    ),
    ToolResultElement("c1", "weather", "3 degrees", id="c1"),
    MessageElement(Message("tool", [ToolResultPart("c1", "3 degrees", name="weather")], id="m1-results")),
    TextElement("It is cold.", id="m2"),
    MessageElement(Message("assistant", "It is cold.", id="m2", stop_reason="stop"), id="m2"),
    TurnEnd(),
]
"""A turn of an agent that calls a tool."""
