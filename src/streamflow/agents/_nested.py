"""An agent as a tool of another one.

Above: users. Below: `_agent_stage`, `_tool`.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from ..elements import (
    AudioElement,
    DataElement,
    ImageElement,
    Message,
    TextElement,
    ThinkingElement,
    TurnReset,
    UsageElement,
)
from ..errors import ConfigError, ToolError
from ..providers import ToolSpec
from ._tool import Tool

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..elements import JsonValue, StreamElement
    from ._agent_stage import AgentStage
    from ._tool import Approve, ToolContext

__all__ = ["agent_tool"]

_DEPTH: ContextVar[int] = ContextVar("streamflow_agent_depth", default=0)
_SHOWN = (TextElement, ThinkingElement, AudioElement, ImageElement, DataElement)


def agent_tool(
    name: str,
    agent: AgentStage,
    *,
    description: str,
    max_depth: int = 3,
    timeout_s: float | None = 600.0,
    approve: Approve | None = None,
) -> Tool:
    """Return a tool that hands a task over to another agent, and gives back its answer.

    What that agent says while it works streams out of the agent that has called it: text, thoughts, media and data, each with
    `metadata["agent"]`, the name of the tool, or several with slashes between them if agents call agents. What its model calls use
    is counted, also by the limits of the agent that has called it.

    Args:
        name: What the model calls it.
        agent: Who does the task. It sees the task alone, not the conversation.
        description: What it can do and when to use it, for the model to read.
        max_depth: Most agents that may be inside each other; the next one is not begun, and the model is told so.
        timeout_s: Longest time of a task, in seconds; None: what `Tools` says.
        approve: Whether calls may run; None: what `Tools` says.

    Raises:
        ConfigError: If the name cannot be one, or a number is out of its range.
    """
    if max_depth < 1:
        raise ConfigError("max_depth", f"{max_depth} is out of range; give 1 or more")

    async def hand_over(args: Mapping[str, JsonValue], context: ToolContext[object]) -> str:
        task = args.get("task")
        if set(args) != {"task"} or not isinstance(task, str) or not task.strip():
            raise ToolError(
                "The call was not run: give the one argument 'task', a text that says all there is to know."
            )
        depth = _DEPTH.get()
        if depth >= max_depth:
            raise ToolError(f"The task was not begun: {depth} agents are inside each other already. Do it yourself.")

        async def send(element: StreamElement) -> None:
            if isinstance(element, _SHOWN) or _is_told(element):
                inner = element.metadata.get("agent")
                await context.send(element.with_metadata(agent=f"{name}/{inner}" if inner else name))

        token = _DEPTH.set(depth + 1)
        try:
            answer = await agent.answer([Message("user", task)], send, deps=context.deps)
        finally:
            _DEPTH.reset(token)
        if answer.pending:
            raise ToolError("The task was not finished: a tool that it needs waits for a person.")
        if answer.limit is not None:
            return f"{answer.text}\n[not finished: the limit of {answer.limit} was reached]".strip()
        return answer.text

    parameters: dict[str, JsonValue] = {
        "type": "object",
        "properties": {"task": {"type": "string", "description": "What to do, with all that is needed to do it."}},
        "required": ["task"],
        "additionalProperties": False,
    }
    spec = ToolSpec(name, description, parameters)
    return Tool.from_schema(spec, hand_over, timeout_s=timeout_s, approve=approve)


def _is_told(element: StreamElement) -> bool:
    """Return whether control of an agent inside another is for those who look on: what a call has used, which answer to forget."""
    if isinstance(element, UsageElement):
        return element.final
    # One without it would have whoever looks on forget more than was said here.
    return isinstance(element, TurnReset) and bool(element.answer)
