"""streamflow: the chat pipeline, and an agent as a stage, each as a response of server-sent events."""

from __future__ import annotations

from typing import Any

import anyio

from streamflow import Message, MessageElement, PipelineBuilder
from streamflow.agents import AgentStage
from streamflow.apps import chat_pipeline
from streamflow.providers import OpenAIProvider
from streamflow.transports import sse_response

from . import TOOL_S
from ._served import SYSTEM, application

__all__ = ["make_app"]


async def lookup(city: str) -> str:
    """Look up."""
    await anyio.sleep(TOOL_S)
    return f"It is sunny in {city}."


def make_app(model_url: str) -> Any:
    """Return the application."""
    provider = OpenAIProvider(model_url, model="bench", api_key="none")
    talker = chat_pipeline(provider, system=SYSTEM)
    worker = PipelineBuilder().chain(AgentStage(provider, [lookup], instructions=SYSTEM)).build()

    def chat(message: str) -> Any:
        return sse_response(talker.execute(message))

    def agent(message: str) -> Any:
        return sse_response(worker.execute(MessageElement(Message("user", message))))

    return application(chat, agent, lambda: provider)
