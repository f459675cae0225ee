"""Ways to follow a JSON document while it arrives: ours, parsers that begin anew with each piece, and the accumulators of others.

Above: `bench_json_stream`. Below: nothing.

A peer is a function that takes the pieces and gives back one call per piece; only these calls are timed. What a peer needs besides,
chunks in its own types among it, is made before. Peers whose cost grows with the length of the document are sampled: at some of the
pieces, evenly spread, and the mean of these is what a piece costs.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import warnings
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, Literal

__all__ = ["PEERS", "PIECE", "Peer", "document", "is_installed", "quietly"]

PIECE = 10
"""Characters of a delta."""

Take = Callable[[int], object]
"""Called with the ordinal of a piece."""


@dataclasses.dataclass(frozen=True)
class Peer:
    """One way to follow a document."""

    start: Callable[[Sequence[str], Sequence[str]], Take]
    """Given the pieces and the paths that are wanted, returns what takes one piece after the other."""
    cost: Literal["all", "sampled", "whole"] = "all"
    """`all`: every piece is taken; `sampled`: some, because each begins anew; `whole`: one call for the document."""
    largest: int = 10_000_000
    """Largest document that it is given: more would take minutes."""
    needs: tuple[str, ...] = ()
    """Packages."""
    nearest: bool = True
    """Whether a quick run asks it."""


def document(kind: str, size: int) -> tuple[str, list[str]]:
    """Return a document of about `size` characters, and the paths of what a user would see of it.

    Args:
        kind: `long`: one string; `objects`: an array of small objects, as of a classification.
        size: Characters.
    """
    if kind == "long":
        text = "The quick brown fox jumps over the lazy dog. " * (size // 45 + 1)
        return json.dumps({"message": text[: max(size - 15, 1)]}), ["message"]
    one = {"message": "What is your budget for item 00?", "options": ["Low", "Mid", "High"], "order": 7}
    return json.dumps({"ask_slots": [one] * max(size // 98, 1)}), ["ask_slots[*].message"]


def is_installed(peer: Peer) -> bool:
    """Say whether all that a peer needs is there."""
    return all(importlib.util.find_spec(name) is not None for name in peer.needs)


def _reader(pieces: Sequence[str], paths: Sequence[str]) -> Take:
    from streamflow.wire import JsonStream

    feed = JsonStream(paths).feed
    return lambda number: feed(pieces[number])


def _call(pieces: Sequence[str], paths: Sequence[str]) -> Take:
    """The whole way of ours: an Anthropic event, the accumulator of calls, the reader, the element that is sent."""
    from streamflow import TextElement, ToolCallDelta
    from streamflow.wire import AnthropicToolCalls, JsonStream

    calls, feed = AnthropicToolCalls(id="msg_1"), JsonStream(paths).feed
    calls.take(_BLOCK_START)
    events = [_json_delta(piece) for piece in pieces]

    def take(number: int) -> object:
        sent: list[TextElement] = []
        for made in calls.take(events[number]):
            if isinstance(made, ToolCallDelta):
                sent += [TextElement(field.text, field.path, id=made.call_id) for field in feed(made.args)]
        return sent

    return take


def _loads(pieces: Sequence[str], paths: Sequence[str]) -> Take:
    return lambda _: json.loads("".join(pieces))


def _prefixes(pieces: Sequence[str]) -> Callable[[int], str]:
    ends, text = list(accumulate(map(len, pieces))), "".join(pieces)
    return lambda number: text[: ends[number]]


def _jiter(pieces: Sequence[str], paths: Sequence[str]) -> Take:
    from jiter import from_json

    made = {"at": -1, "data": b""}
    prefix = _prefixes(pieces)

    def take(number: int) -> object:
        if made["at"] != number:  # the prefix is made once for the calls that warm up and are timed
            made.update(at=number, data=prefix(number).encode())
        return from_json(made["data"], partial_mode="trailing-strings")

    return take


def _pydantic_core(pieces: Sequence[str], paths: Sequence[str]) -> Take:
    from pydantic_core import from_json

    prefix = _prefixes(pieces)
    return lambda number: from_json(prefix(number), allow_partial="trailing-strings")


def _partial_json_parser(pieces: Sequence[str], paths: Sequence[str]) -> Take:
    from partial_json_parser import loads

    prefix = _prefixes(pieces)
    return lambda number: loads(prefix(number))


_BLOCK_START: dict[str, Any] = {
    "type": "content_block_start",
    "index": 0,
    "content_block": {"type": "tool_use", "id": "t1", "name": "f", "input": {}},
}


def _json_delta(piece: str) -> dict[str, Any]:
    return {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "input_json_delta", "partial_json": piece},
    }


def _anthropic(pieces: Sequence[str], paths: Sequence[str]) -> Take:
    from anthropic.lib.streaming._messages import accumulate_event, build_events
    from anthropic.types import RawContentBlockDeltaEvent, RawContentBlockStartEvent, RawMessageStartEvent

    usage = {"input_tokens": 1, "output_tokens": 1}
    message = {"id": "m", "type": "message", "role": "assistant", "content": [], "model": "x", "usage": usage}
    begin = RawMessageStartEvent.model_validate({"type": "message_start", "message": message})
    buffers: dict[int, bytes] = {}
    snapshot = accumulate_event(event=begin, current_snapshot=None, json_bufs=buffers)
    opened = RawContentBlockStartEvent.model_validate(_BLOCK_START)
    snapshot = accumulate_event(event=opened, current_snapshot=snapshot, json_bufs=buffers)
    events = [RawContentBlockDeltaEvent.model_validate(_json_delta(piece)) for piece in pieces]

    def take(number: int) -> object:
        accumulate_event(event=events[number], current_snapshot=snapshot, json_bufs=buffers)
        return build_events(event=events[number], message_snapshot=snapshot)

    return take


def _openai(pieces: Sequence[str], paths: Sequence[str]) -> Take:
    from openai.lib.streaming.chat import ChatCompletionStreamState
    from openai.types.chat import ChatCompletionChunk

    def chunk(call: dict[str, Any]) -> ChatCompletionChunk:
        choice = {"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}
        head = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "x"}
        return ChatCompletionChunk.model_validate({**head, "choices": [choice]})

    state: Any = ChatCompletionStreamState()
    first = {"index": 0, "id": "t1", "type": "function", "function": {"name": "f", "arguments": ""}}
    state.handle_chunk(chunk(first))
    chunks = [chunk({"index": 0, "function": {"arguments": piece}}) for piece in pieces]
    return lambda number: state.handle_chunk(chunks[number])


def _openai_responses(pieces: Sequence[str], paths: Sequence[str]) -> Take:
    from openai import omit
    from openai.lib.streaming.responses._responses import ResponseStreamState
    from openai.types.responses import (
        ResponseCreatedEvent,
        ResponseFunctionCallArgumentsDeltaEvent,
        ResponseOutputItemAddedEvent,
    )

    answer: dict[str, Any] = {"id": "r", "object": "response", "created_at": 0, "model": "x", "output": [], "tools": []}
    answer |= {"parallel_tool_calls": True, "tool_choice": "auto", "status": "in_progress"}
    call = {"type": "function_call", "id": "i1", "call_id": "t1", "name": "f", "arguments": ""}
    place: dict[str, Any] = {"item_id": "i1", "output_index": 0}
    opened: dict[str, Any] = {
        "type": "response.output_item.added",
        "sequence_number": 1,
        "output_index": 0,
        "item": call,
    }
    begun = {"type": "response.created", "sequence_number": 0, "response": answer}
    state: Any = ResponseStreamState(input_tools=[], text_format=omit)
    state.handle_event(ResponseCreatedEvent.model_validate(begun))
    state.handle_event(ResponseOutputItemAddedEvent.model_validate(opened))
    kind = "response.function_call_arguments.delta"
    events = [
        ResponseFunctionCallArgumentsDeltaEvent.model_validate(
            {"type": kind, "sequence_number": number, **place, "delta": piece}
        )
        for number, piece in enumerate(pieces, 2)
    ]
    return lambda number: state.handle_event(events[number])


def _pydantic_ai(pieces: Sequence[str], paths: Sequence[str]) -> Take:
    from pydantic_ai._parts_manager import ModelResponsePartsManager
    from pydantic_ai.models import ModelRequestParameters
    from pydantic_core import from_json

    parts = ModelResponsePartsManager(model_request_parameters=ModelRequestParameters())
    parts.handle_tool_call_delta(vendor_part_id=0, tool_name="f", args="", tool_call_id="t1")

    def take(number: int) -> object:
        parts.handle_tool_call_delta(vendor_part_id=0, args=pieces[number])
        (call,) = parts.get_parts()
        return from_json(call.args, allow_partial="trailing-strings")  # as it does for an output that is streamed

    return take


def _langchain(pieces: Sequence[str], paths: Sequence[str]) -> Take:
    from langchain_core.messages import AIMessageChunk
    from langchain_core.messages.tool import tool_call_chunk

    def chunk(args: str, **first: str) -> AIMessageChunk:
        call = tool_call_chunk(name=first.get("name"), id=first.get("id"), args=args, index=0)
        return AIMessageChunk(content="", tool_call_chunks=[call])

    sums = [chunk("", name="f", id="t1")]
    chunks = [chunk(piece) for piece in pieces]

    def take(number: int) -> object:
        sums[0] = sums[0] + chunks[number]
        return sums[0].tool_calls

    return take


def quietly(start: Callable[[Sequence[str], Sequence[str]], Take], pieces: Sequence[str], paths: Sequence[str]) -> Take:
    """Prepare a peer; what it warns about while it is imported is its own business."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return start(pieces, paths)


PEERS: dict[str, Peer] = {
    "json.loads, once at the end": Peer(_loads, "whole"),
    "streamflow reader": Peer(_reader),
    "streamflow, event to element": Peer(_call),
    "jiter, anew": Peer(_jiter, "sampled", needs=("jiter",)),
    "pydantic_core, anew": Peer(_pydantic_core, "sampled", needs=("pydantic_core",)),
    "partial-json-parser, anew": Peer(
        _partial_json_parser, "sampled", largest=100_000, needs=("partial_json_parser",), nearest=False
    ),
    "Anthropic SDK": Peer(_anthropic, largest=100_000, needs=("anthropic",)),
    "OpenAI SDK, chat": Peer(_openai, largest=100_000, needs=("openai",), nearest=False),
    "OpenAI SDK, Responses": Peer(_openai_responses, largest=100_000, needs=("openai",), nearest=False),
    "pydantic-ai": Peer(_pydantic_ai, largest=100_000, needs=("pydantic_ai",), nearest=False),
    "langchain": Peer(_langchain, largest=10_000, needs=("langchain_core",), nearest=False),
}
