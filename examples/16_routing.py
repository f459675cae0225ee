"""Routing: a rule chooses the way of each element, free workers share the work, a monitor looks on, a listener joins and leaves."""

from collections import Counter

import anyio

from streamflow import (
    DROP,
    AudioElement,
    MapAsyncStage,
    PassthroughStage,
    PipelineBuilder,
    Router,
    SinkStage,
    TextElement,
)


def transcribe(element: AudioElement) -> TextElement:
    return TextElement(f"({element.duration_s:g} s of speech)")


def is_question(element: TextElement) -> bool:
    return element.text.endswith("?")


def worker(name: str, seconds: float) -> MapAsyncStage:
    async def answer(element: TextElement) -> TextElement:
        await anyio.sleep(seconds)
        return TextElement(f"answer to {element.text!r}", metadata=element.metadata).with_metadata(by=name)

    return MapAsyncStage(answer, concurrency=1, name=name)


SEEN: Counter[str] = Counter()

# By content: sound is transcribed, text goes on as it is, and anything else is dropped, which is said and counted.
CONTENT = Router.by_type({AudioElement: transcribe, TextElement: "reader"})
# By rules, in order; what none of them applies to goes to the default.
INTENT = Router.by_rules((is_question, "questions"), (lambda element: "sell" in element.text, "orders"))

PIPELINE = (
    PipelineBuilder()
    .add(*(PassthroughStage(name) for name in ("intake", "reader", "questions", "orders", "small_talk")))
    .route("intake", CONTENT, default=DROP)
    .merge(PassthroughStage("texts"), transcribe, "reader")
    .route("texts", INTENT, default="small_talk")
    .balance("questions", worker("slow", 0.2), worker("quick", 0.02), buffer=1)
    .tap("texts", SinkStage(lambda element: SEEN.update([type(element).__name__]), name="monitor"))
    .branch("small_talk", dynamic=True)
    .build()
)


async def main():
    questions = [TextElement(f"question {number}?") for number in range(8)]
    source = [AudioElement(bytes(48_000)), TextElement("sell me a car"), *questions]
    result = await PIPELINE.run(source)
    answers = Counter(element.metadata.get("by") for element in result.elements)
    print(
        "as they are:", sorted(one.text for one in result.elements if isinstance(one, TextElement) and not one.metadata)
    )
    print(
        f"answers: {answers['slow'] + answers['quick']}, most of them by the quick one: {answers['quick'] > answers['slow']}"
    )
    print("the monitor saw", dict(SEEN))

    # A live run: somebody listens in for a while.
    async with PIPELINE.execute() as run:
        async with run.subscribe("small_talk") as listener:
            await run.send("nice weather")
            print("heard:", await anext(listener))
        await run.send("indeed")
        run.close_input()
        print("all of it:", (await run.result()).text)


if __name__ == "__main__":
    anyio.run(main)
