"""Tools that a model may call, and agents: models that call them until they have an answer.

Above: users, `apps`. Below: `providers`, `stages`, `wire`, `elements`.
"""

from __future__ import annotations

from ..elements import ToolDecisionElement
from ._agent_stage import AgentAnswer, AgentStage
from ._limits import Finish, LimitKind, Limits
from ._mcp import open_mcp_tools
from ._nested import agent_tool
from ._tool import Approval, Approve, Tool, ToolContext, tool
from ._tool_stage import ToolStage
from ._tools import ToolLike, Tools

__all__ = [
    "AgentAnswer",
    "AgentStage",
    "Approval",
    "Approve",
    "Finish",
    "LimitKind",
    "Limits",
    "Tool",
    "ToolContext",
    "ToolDecisionElement",
    "ToolLike",
    "ToolStage",
    "Tools",
    "agent_tool",
    "open_mcp_tools",
    "tool",
]
