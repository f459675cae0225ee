"""When services fail: time limits, a circuit breaker, a fallback, another try, a cache. Each is a stage with another one inside."""

import anyio

from streamflow import Event, Message, MessageElement, PipelineBuilder, TextElement, TurnEnd
from streamflow.errors import ProviderError
from streamflow.providers import ProviderStage, Rule, ScriptedProvider
from streamflow.stages import (
    CacheStage,
    CircuitBreaker,
    CircuitBreakerStage,
    FallbackStage,
    MemoryCache,
    RateLimitStage,
    RetryStage,
    StageLike,
    TimeoutStage,
)

BUSY = ProviderError("overloaded", "the model is busy", retryable=True)


def tell(event: Event) -> None:
    if "." in event.name and not event.name.startswith(("pipeline.", "stage.")):
        told = {key: value for key, value in event.data.items() if key != "wait_s"}
        print(f"  ({event.name} {told})")


async def ask(model: StageLike, *questions: str) -> None:
    pipeline = PipelineBuilder().chain(model).on_event(tell).build()
    for question in questions:
        result = await pipeline.run([MessageElement(Message("user", question)), TurnEnd()])
        errors = ", ".join(error.code for error in result.errors)
        print(f"{question}: {result.text or errors}")


async def main():
    large = ScriptedProvider([Rule("hard", "I have to think", error=BUSY), Rule("", "It is large.")], name="large")
    small = ScriptedProvider(default="It is small.", name="small")

    print("provider behind a timeout, behind a circuit breaker, with a fallback:")
    guarded = CircuitBreakerStage(
        TimeoutStage(ProviderStage(large), first_s=3, between_s=10, name="in_time"),
        CircuitBreaker(failures=2, window_s=60, open_s=30, name="large"),
        name="large",
    )
    model = FallbackStage(guarded, ProviderStage(small, name="small"), recover_s=None, name="model")
    await ask(model, "easy", "hard", "hard again", "easy now")

    print("what is too late ends, and the session goes on:")

    async def look_up(element: MessageElement) -> TextElement:
        await anyio.sleep(60 if element.message.text == "slow" else 0)
        return TextElement("Found.")

    await ask(TimeoutStage(look_up, total_s=0.3, on_timeout="end_turn"), "slow", "quick")

    print("another try, before anything has been said:")
    busy_once = iter([BUSY])

    async def connect(element: TextElement) -> TextElement:
        for busy in busy_once:
            raise busy
        return TextElement(f"connected to {element.text}")

    retrying = PipelineBuilder().chain(RetryStage(connect, attempts=3, min_backoff_s=0.01)).on_event(tell).build()
    print((await retrying.run("server")).text)

    print("the same again from a cache:")
    await ask(CacheStage(ProviderStage(small), MemoryCache(ttl_s=60)), "who?", "who?")

    print("no more than two at a time:")
    limited = PipelineBuilder().chain(RateLimitStage(2, 60, mode="reject")).build()
    result = await limited.run(["one ", "two ", "three"])
    print(f"{result.text}and then {result.errors[0].code}")


if __name__ == "__main__":
    anyio.run(main)
