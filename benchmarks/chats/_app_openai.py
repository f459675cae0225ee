"""The official client of OpenAI alone, with a tool loop written by hand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import openai

from . import TOOL_S
from ._served import SYSTEM, application, streaming

__all__ = ["make_app"]

_PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
_TOOLS: Any = [
    {"type": "function", "function": {"name": "lookup", "description": "Look up.", "parameters": _PARAMETERS}}
]


async def lookup(city: str) -> str:
    """Look up."""
    await asyncio.sleep(TOOL_S)
    return f"It is sunny in {city}."


def _said(message: str) -> list[Any]:
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": message}]


def _add(calls: dict[int, dict[str, Any]], parts: Any) -> None:
    """Add fragments of tool calls."""
    for part in parts or ():
        call = calls.setdefault(part.index, {"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
        call["id"] += part.id or ""
        if part.function is not None:
            call["function"]["name"] += part.function.name or ""
            call["function"]["arguments"] += part.function.arguments or ""


async def _run(call: dict[str, Any]) -> dict[str, Any]:
    told = await lookup(**json.loads(call["function"]["arguments"]))
    return {"role": "tool", "tool_call_id": call["id"], "content": told}


def make_app(model_url: str) -> Any:
    """Return the application."""
    completions = openai.AsyncOpenAI(api_key="none", base_url=model_url).chat.completions
    asked: Any = {"model": "bench", "stream": True, "stream_options": {"include_usage": True}}

    async def answer(message: str) -> AsyncIterator[str]:
        async for chunk in await completions.create(messages=_said(message), **asked):
            if chunk.choices and chunk.choices[0].delta.content:
                yield chunk.choices[0].delta.content

    async def answer_with_tools(message: str) -> AsyncIterator[str]:
        messages = _said(message)
        while True:
            calls: dict[int, dict[str, Any]] = {}
            async for chunk in await completions.create(messages=messages, tools=_TOOLS, **asked):
                for choice in chunk.choices:
                    if choice.delta.content:
                        yield choice.delta.content
                    _add(calls, choice.delta.tool_calls)
            if not calls:
                return
            messages.append({"role": "assistant", "content": None, "tool_calls": list(calls.values())})
            messages += [await _run(call) for call in calls.values()]

    def chat(message: str) -> Any:
        return streaming(answer(message))

    def agent(message: str) -> Any:
        return streaming(answer_with_tools(message))

    return application(chat, agent)
