"""Resources: what runs share, opened once and closed once; and an orderly end of a pipeline that is still at work."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from streamflow import (
    BaseStage,
    PipelineBuilder,
    PipelineBusyError,
    PipelineConfig,
    ReceiveEnd,
    Resource,
    RunContext,
    SendEnd,
    TextElement,
)


class Client:
    """Stand in for a pool of connections."""

    calls = 0

    async def ask(self, question: str) -> str:
        self.calls += 1
        return f"{question}? Call {self.calls}."


@asynccontextmanager
async def open_client() -> AsyncIterator[Client]:
    print("client: opened")
    try:
        yield Client()
    finally:
        print("client: closed")


CLIENT = Resource(open_client)


class Ask(BaseStage):
    resources = (CLIENT,)  # so `async with pipeline` opens it; else it is opened when a stage asks for it first

    async def process(
        self, input: ReceiveEnd[TextElement], output: SendEnd[TextElement], run: RunContext[object]
    ) -> None:
        client = await run.resource(CLIENT)
        async for element in input:
            await output.send(TextElement(await client.ask(element.text)))


async def main():
    pipeline = PipelineBuilder(PipelineConfig(max_concurrent_runs=1)).chain(Ask()).build()
    async with pipeline:
        for question in ("One", "Two"):
            print((await pipeline.run(question)).text)

        async with pipeline.execute() as run:
            texts = run.text()
            await run.send("Three")
            print(await anext(texts))

            # No more runs at a time than the client can bear: one more is refused, and does not wait.
            try:
                await pipeline.run("Four")
            except PipelineBusyError as error:
                print(f"refused: {error}")

            # The orderly end: no new runs, no more input, and what is on its way still arrives. Then the client is closed.
            # Leaving the block of the pipeline does the same.
            await run.send("Five")
            await pipeline.shutdown(timeout_s=5)
            print([text async for text in texts])


if __name__ == "__main__":
    anyio.run(main)
