"""LangChain: `ChatOpenAI` for the chat, `create_agent` for the tool."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from langchain.agents import create_agent
from langchain_core.messages import AIMessageChunk
from langchain_openai import ChatOpenAI

from . import TOOL_S
from ._served import SYSTEM, application, streaming

__all__ = ["make_app"]


async def lookup(city: str) -> str:
    """Look up."""
    await asyncio.sleep(TOOL_S)
    return f"It is sunny in {city}."


def make_app(model_url: str) -> Any:
    """Return the application."""
    model = ChatOpenAI(model="bench", api_key="none", base_url=model_url, stream_usage=True)  # type: ignore[arg-type]
    made = create_agent(model, [lookup], system_prompt=SYSTEM)

    async def answer(message: str) -> AsyncIterator[str]:
        async for chunk in model.astream([("system", SYSTEM), ("user", message)]):
            yield chunk.text

    async def answer_with_tools(message: str) -> AsyncIterator[str]:
        said: Any = {"messages": [("user", message)]}
        async for chunk, _ in made.astream(said, stream_mode="messages"):
            if isinstance(chunk, AIMessageChunk):
                yield chunk.text

    def chat(message: str) -> Any:
        return streaming(answer(message))

    def agent(message: str) -> Any:
        return streaming(answer_with_tools(message))

    return application(chat, agent)
