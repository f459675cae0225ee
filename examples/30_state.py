"""A conversation that survives: two turns in SQLite, then the file is opened again, as after a restart.

The loading stage puts what was said before in front of the question; the saving stage stores each turn as a unit before its end is
told, also when nobody listens to the end.
"""

import tempfile
from pathlib import Path

import anyio

from streamflow import PipelineBuilder, TextElement
from streamflow.providers import ProviderStage, ScriptedProvider
from streamflow.state import SQLiteStore, StateStore, StateStoreLoadStage, StateStoreSaveStage


def chat(store: StateStore, provider: ScriptedProvider):
    return (
        PipelineBuilder()
        .chain(StateStoreLoadStage(store, last=20), ProviderStage(provider), StateStoreSaveStage(store))
        .build()
    )


async def main() -> None:
    deps = {"conversation": "ann/1"}
    path = Path(tempfile.mkdtemp()) / "chat.db"

    async with SQLiteStore(path) as store:
        pipeline = chat(store, ScriptedProvider())
        for text in ("My name is Ann.", "I like tea."):
            result = await pipeline.run(text, deps=deps)
            print("stored as revision", result.elements[-1].metadata["revision"])

    provider = ScriptedProvider(delay_s=0.05)
    async with SQLiteStore(path) as store:
        async with chat(store, provider).execute("What is my name?", deps=deps) as run:
            async for element in run:
                if isinstance(element, TextElement):
                    break  # the client goes away in the middle of the answer

        print("the model has read:")
        for message in provider.requests[0].messages:
            print(f"  {message.role}: {message.text}")
        history = await store.load("ann/1")
        print("turns:", *(turn.status for turn in history.turns))
        print("the last one:", *(message.text for message in history.turns[-1].messages), sep=" / ")


if __name__ == "__main__":
    anyio.run(main)
