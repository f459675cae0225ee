"""The same pipelines without async: one call that returns everything, and a plain loop that streams."""

from collections.abc import AsyncIterator, Iterator

from streamflow import PipelineBuilder, PipelineConfig, TextElement, stage


@stage
async def shout(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    async for element in stream:
        yield TextElement(element.text.upper())


# Narrow edges, so that you see how little the source is ahead of the loop that reads.
PIPELINE = PipelineBuilder(PipelineConfig(buffer_size=1)).chain(shout).build()


def many_words() -> Iterator[str]:
    for number in range(1_000_000):
        yield f"word {number}"


def main():
    # `execute_sync` blocks until the run has ended.
    result = PIPELINE.execute_sync(["hello, ", "world"])
    print(result.text, "-", result.reason)

    # `stream_sync` gives each element as it comes. `with` ends the run when the loop is left early.
    with PIPELINE.stream_sync(many_words()) as elements:
        for count, element in enumerate(elements, 1):
            print(element)
            if count == 3:
                break

    # What a run raises is raised here too, and there is no event loop to close.
    print(f"At most {PIPELINE.max_in_flight} elements were in flight.")


if __name__ == "__main__":
    main()
