"""Models: what comes back, and what happens when a server is busy. Offline: in yours, `OpenAIProvider.from_env()` and others."""

import anyio

from streamflow import Event, Message, MessageElement, PipelineBuilder
from streamflow.elements import TextElement, ThinkingElement, ToolCallElement, TurnReset, UsageElement
from streamflow.errors import ProviderError
from streamflow.providers import (
    FallbackProvider,
    ModelRequest,
    Provider,
    ProviderStage,
    RetryProvider,
    Rule,
    ScriptedProvider,
    ScriptTurn,
    ThinkingStep,
    TimeoutProvider,
    ToolCallStep,
    ToolSpec,
)

BUSY = ProviderError("overloaded", "the model is busy", retryable=True)
WEATHER = ToolSpec(
    "weather", "Tells the weather of a city.", {"type": "object", "properties": {"city": {"type": "string"}}}
)


async def show(provider: Provider, text: str) -> None:
    request = ModelRequest(messages=(Message("user", text),), tools=(WEATHER,), max_tokens=200)
    async for element in provider.stream(request):
        match element:
            case ThinkingElement(text=said):
                print(f"  thinks {said!r}")
            case TextElement(text=said):
                print(f"  says {said!r}")
            case ToolCallElement(name=name, args=args):
                print(f"  wants {name}({dict(args)})")
            case TurnReset(reason=reason):
                print(f"  -- begins anew ({reason}) --")
            case UsageElement(usage=usage, final=True):
                print(f"  used {usage.output_tokens} tokens of {usage.provider}")
            case MessageElement(message=message):
                print(f"  = {message.text!r}, {message.stop_reason}")


async def main():
    print("one protocol, whatever the server:")
    thoughtful = ScriptedProvider(
        turns=[ScriptTurn([ThinkingStep("Rome?"), ToolCallStep("weather", {"city": "Rome"})])]
    )
    await show(thoughtful, "How is the weather in Rome?")

    print("a busy server is asked again, and then another one:")
    cloud = ScriptedProvider([Rule("", "", error=BUSY)], name="cloud")
    local = ScriptedProvider(default="Sunny.", name="local")
    model = FallbackProvider(RetryProvider(cloud, attempts=2, min_backoff_s=0.01), local)

    def tell(event: Event) -> None:
        if event.name.startswith("model."):
            print(f"  ({event.name}: {event.data['provider']}, {event.data['code']})")

    pipeline = PipelineBuilder().chain(ProviderStage(model)).on_event(tell).build()
    print(f"  {(await pipeline.run(MessageElement(Message('user', 'And now?')))).response}")

    print("in the middle of an answer, only for readers who understand it:")
    broken = ScriptedProvider([Rule("", "It is rai", error=BUSY, error_after=2)], name="cloud")
    await show(FallbackProvider(broken, local, reset=True), "And now?")

    print("nobody is waited for without end:")
    slow = ScriptedProvider(default="At last.", delay_s=60, name="slow")
    try:
        await show(TimeoutProvider(slow, first_token_timeout_s=0.05), "And now?")
    except ProviderError as error:
        print(f"  {error.code}: {error}")


if __name__ == "__main__":
    anyio.run(main)
