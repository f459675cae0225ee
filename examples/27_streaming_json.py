"""JSON that is read while it arrives: a model fills in a form, and its questions are shown before the form is complete."""

import json
from collections.abc import Iterator

import anyio

from streamflow import PipelineBuilder, StreamElement, TextElement, ToolCallElement
from streamflow.stages import ExtractJsonStage
from streamflow.wire import AnthropicToolCalls, JsonStream, SSEParser, encode_event

FORM = {
    "reasoning": "The user wants chips.",
    "route": "product",
    "ask_slots": [
        {"name": "taste", "message": 'Did you mean "crispy" \U0001f35f?', "options": ["yes", "no"]},
        {"name": "budget", "message": "What is your budget?", "options": ["low", "high"]},
    ],
}


def server() -> Iterator[bytes]:
    """What a model's server sends, cut as networks cut: anywhere."""
    text = json.dumps(FORM)
    block = {"type": "tool_use", "id": "call_1", "name": "classify", "input": {}}
    events = [
        {"type": "content_block_start", "index": 0, "content_block": block},
        *({"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": text[at : at + 12]}}
          for at in range(0, len(text), 12)),
        {"type": "content_block_stop", "index": 0},
    ]  # fmt: skip
    sent = b"".join(encode_event(json.dumps(event), event=str(event["type"])) for event in events)
    yield from (sent[at : at + 50] for at in range(0, len(sent), 50))


def model() -> Iterator[StreamElement]:
    """Bytes to events, events to tool calls."""
    parser, calls = SSEParser(), AnthropicToolCalls(id="msg_1")
    for chunk in server():
        for event in parser.feed(chunk):
            yield from calls.take(json.loads(event.data))
    yield from calls.finish()


async def main():
    print("in a pipeline:", end="")
    extract = ExtractJsonStage(["ask_slots[*].message"], tool="classify")
    pipeline = PipelineBuilder().chain(extract).build()
    place = None
    async for element in pipeline.execute(model()):
        if isinstance(element, TextElement):
            if element.path != place:
                place = element.path
                print(f"\n  question {place[1]}: ", end="")
            print(element.text, end="|")
        elif isinstance(element, ToolCallElement):
            print(f"\n  complete: route {element.args['route']}, {len(element.raw)} characters")

    print("by itself:")
    stream = JsonStream(["route", "ask_slots[*].options"])
    text = json.dumps(FORM)
    for at in range(0, len(text), 12):
        for field in stream.feed(text[at : at + 12]):
            if field.done:
                print(f"  after {at + 12} characters: {field.path} is {field.value}")
    print("  the same as json.loads:", stream.finish() == json.loads(text))


if __name__ == "__main__":
    anyio.run(main)
