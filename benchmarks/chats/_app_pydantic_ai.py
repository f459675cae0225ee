"""pydantic-ai: one agent without tools, one with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from . import TOOL_S
from ._served import SYSTEM, application, streaming

__all__ = ["make_app"]


async def lookup(city: str) -> str:
    """Look up."""
    await asyncio.sleep(TOOL_S)
    return f"It is sunny in {city}."


def make_app(model_url: str) -> Any:
    """Return the application."""
    model = OpenAIChatModel("bench", provider=OpenAIProvider(base_url=model_url, api_key="none"))
    talker: Any = Agent(model, system_prompt=SYSTEM)
    worker: Any = Agent(model, system_prompt=SYSTEM, tools=[lookup])

    async def answer(by: Any, message: str) -> AsyncIterator[str]:
        async with by.run_stream(message) as result:
            async for text in result.stream_text(delta=True, debounce_by=None):
                yield text  # noqa: ASYNC119 - as its documentation has it

    def chat(message: str) -> Any:
        return streaming(answer(talker, message))

    def agent(message: str) -> Any:
        return streaming(answer(worker, message))

    return application(chat, agent)
