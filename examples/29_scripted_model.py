"""A model by script: a busy server, a tool loop, an answer that is cut off. No model, no network, the same every time."""

import anyio

from streamflow import Message, MessageElement, PipelineBuilder, TurnEnd
from streamflow.elements import ToolResultPart
from streamflow.errors import ProviderError
from streamflow.providers import (
    CutStep,
    ErrorStep,
    ModelRequest,
    ProviderStage,
    RetryProvider,
    ScriptedProvider,
    ScriptTurn,
    TextStep,
    ToolCallStep,
    When,
)

MODEL = ScriptedProvider(
    turns=[
        ScriptTurn([ErrorStep("rate_limited", "slow down", retry_after_s=0)], when="weather", times=1),
        ScriptTurn([ToolCallStep("weather", {"city": "{1}"})], when=r"weather in (\w+)"),
        ScriptTurn([TextStep("It is {result} there.")], when=When(tool_result="weather")),
        ScriptTurn([TextStep("Once upon a"), CutStep()], when="story"),
        ScriptTurn([TextStep("You are welcome.")], when="thank"),
    ]
)


def weather(city: str) -> str:
    return f"sunny and warm in {city}"


async def main():
    stage = ProviderStage(RetryProvider(MODEL), history=20)
    async with PipelineBuilder().chain(stage).build().execute() as run:
        await run.send(MessageElement(Message("user", "How is the weather in Rome?")))
        await run.send(TurnEnd())
        async for element in run:
            if not isinstance(element, MessageElement):
                continue
            print(f"{element.message.stop_reason}: {element.message.text!r}")
            if not element.message.tool_calls:
                break
            results = []
            for call in element.message.tool_calls:
                print(f"  {call.name}({dict(call.args)})")
                results.append(ToolResultPart(call.call_id, weather(**call.args), name=call.name))
            await run.send(MessageElement(Message("tool", results)))
            await run.send(TurnEnd())
    print(f"{MODEL.calls} calls; the last had {len(MODEL.requests[-1].messages)} messages")

    try:
        async for element in MODEL.stream(ModelRequest(messages=(Message("user", "Tell me a story"),))):
            print(f"  {element.text!r}")
    except ProviderError as error:
        print(f"{error.code}: {error}")

    try:
        MODEL.assert_consumed()
    except AssertionError as error:
        print(error)


if __name__ == "__main__":
    anyio.run(main)
