"""A form that a model fills in: its questions are told while it does, it is saved once it is whole, and a fallback answers else."""

import json

import anyio

from streamflow.apps import ClassificationStream, save_to
from streamflow.providers import (
    CutStep,
    DelayStep,
    ScriptedProvider,
    ScriptTurn,
    ToolCallStep,
    ToolSpec,
    split_chars,
)
from streamflow.state import MemoryStore
from streamflow.transports import StreamEnd

TOOL = ToolSpec(
    "classify_and_assess",
    "Say what the user wants, and what to ask.",
    {"type": "object", "properties": {"route": {"type": "string"}}, "required": ["route"]},
)
FORM = {
    "reasoning": "The user wants chips for a party.",
    "route": "product",
    "ask_slots": [
        {"message": "What's your budget range for chips?", "options": ["< ₹100", "> ₹100"]},
        {"message": "How many people are you expecting?", "options": ["2–5", "6–10"]},
    ],
}
EVENTS = {"classification_reasoning": "reasoning", "ask_message_delta": "ask_slots[*].message"}
FALLBACK = {"route": "general", "simple_response": {"message": "Could you rephrase what you're looking for?"}}


def a_model(*, breaks: bool) -> ScriptedProvider:
    """Return a model that fills in the form; "anthropic:claude-sonnet-5" in its place asks a real one."""
    steps = [ToolCallStep(TOOL.name, raw=json.dumps(FORM)), *([CutStep()] if breaks else [DelayStep(0)])]
    return ScriptedProvider(turns=[ScriptTurn(steps, times=None)], split=split_chars(12))


async def main():
    async with MemoryStore() as store:
        for breaks in (False, True):
            print("-- the model breaks off" if breaks else "-- the model answers")
            classify = ClassificationStream(
                a_model(breaks=breaks), TOOL, events=EVENTS, fallback=FALLBACK, save=save_to(store), expected_chars=330
            )
            session = f"session-{int(breaks)}"
            encoder = classify.encoder(request_id="r-1", session_id=session)  # what a server sends; see the guide
            events = [*encoder.start()]
            async with classify.stream("I want chips for a party", session=session) as run:
                async for element in run:
                    events += encoder.encode(element)
            events += encoder.finish(StreamEnd("done"))
            for event in events:
                print(f"{event.event}: {event.data[:72]}")
            print("saved:", await store.get(f"classification/{session}") is not None)

        print("-- the same form, whole; a callback hears the events")
        heard: list[str] = []
        answer = await ClassificationStream(a_model(breaks=False), TOOL).classify(
            "I want chips", emit=lambda name, data: heard.append(name)
        )
        print(answer.form["route"], answer.fallback, heard)


if __name__ == "__main__":
    anyio.run(main)
