"""What a model is told: a template, documents for the question, and a history that fits; what it all costs."""

from collections.abc import Sequence

import anyio

from streamflow import DataElement, Message, MessageElement, PipelineBuilder, TextElement, TurnEnd
from streamflow.context import Document, KeywordIndex, MemoryExtractStage, RetrieveStage
from streamflow.providers import ProviderStage, ScriptedProvider
from streamflow.stages import HistoryWindowStage, ModelPrice, TemplateStage, UsageStage, VariablesStage

INDEX = KeywordIndex(
    [
        Document("Returns are free for 30 days.", id="returns"),
        Document("We ship to Norway and Peru.", id="shipping"),
    ]
)


class Notebook:
    """A memory that keeps what users say."""

    def __init__(self) -> None:
        self.pages: list[str] = []

    async def extract(self, messages: Sequence[Message]) -> None:
        await anyio.sleep(0.01)  # the stream goes on meanwhile
        self.pages.append(f"{len(messages)} message: {messages[-1].text}")


async def main():
    notebook = Notebook()
    model = ScriptedProvider(default="Yes, for 30 days.")
    pipeline = (
        PipelineBuilder()
        .chain(
            HistoryWindowStage(turns=2),
            RetrieveStage(INDEX, k=1, heading="Documents:"),
            VariablesStage({"shop": "Acme"}, lambda run, message: {"name": run.deps}),
            TemplateStage("You work for {shop}. You talk to {name}."),
            ProviderStage(model),
            UsageStage({"scripted": ModelPrice(input=1.0, output=2.0)}, max_calls=10),
            MemoryExtractStage(notebook),
        )
        .build()
    )
    history = [("user", "hi"), ("assistant", "Hello!"), ("user", "{name}?"), ("assistant", "Ada.")]
    turn = [MessageElement(Message(role, text)) for role, text in history]
    async with pipeline.execute([*turn, TextElement("Are returns free?"), TurnEnd()], deps="Ada") as run:
        async for element in run:
            if isinstance(element, TextElement):
                print(element.text, end="")
            elif isinstance(element, DataElement):
                print(f"\n{element.name}: {element.value['calls']} call")

    print("the model has read:")
    for message in model.requests[0].messages:
        print(f"  {message.role}: {' / '.join(message.text.splitlines())}")
    print("remembered:", notebook.pages)


if __name__ == "__main__":
    anyio.run(main)
