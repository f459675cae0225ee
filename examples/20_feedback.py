"""A loop: a small agent that calls a tool until it knows enough, with a limit, and an end that comes by itself."""

from collections.abc import AsyncIterator, Mapping

from streamflow import (
    PipelineBuilder,
    ReceiveEnd,
    SendEnd,
    StageError,
    TextElement,
    ToolCallElement,
    ToolResultElement,
    stage,
)

CAPITALS = {"Peru": "Lima", "Chad": "N'Djamena"}


@stage(outputs={"call": ToolCallElement, "answer": TextElement})
async def model(
    input: ReceiveEnd[TextElement | ToolResultElement],
    outputs: Mapping[str, SendEnd[ToolCallElement | TextElement]],
) -> None:
    """Ask the tool about each country of the question, one after the other; then answer."""
    known: list[str] = []
    wanted: list[str] = []
    async for element in input:
        if isinstance(element, TextElement):
            known, wanted = [], element.text.split()
        else:
            known.append(str(element.content))
        if wanted:
            country = wanted.pop(0)
            print(f"  model asks for {country}")
            await outputs["call"].send(ToolCallElement(country, "capital_of", {"country": country}))
        else:
            await outputs["answer"].send(TextElement(", ".join(known)))


@stage
async def tool(calls: AsyncIterator[ToolCallElement]) -> AsyncIterator[ToolResultElement]:
    """Look it up."""
    async for call in calls:
        yield ToolResultElement(call.call_id, call.name, CAPITALS.get(call.call_id, "unknown"))


def agent(max_rounds: int) -> PipelineBuilder:
    """What the tool found goes back to the model, and before new questions; the answer is the way out."""
    builder = PipelineBuilder().add(model).chain("model:call", tool)
    return builder.feedback("tool", "model", buffer=4, max_rounds=max_rounds)


def main() -> None:
    pipeline = agent(max_rounds=5).build()
    print(pipeline.execute_sync("Peru Chad").text)
    try:
        agent(max_rounds=1).build().execute_sync("Peru Chad Mali")
    except StageError as error:
        print(f"{error.stage}: {type(error.__cause__).__name__}")


if __name__ == "__main__":
    main()
