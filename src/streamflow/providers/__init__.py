"""Models: what a provider is, the stage that asks one, and providers.

Above: `agents`, `apps`. Below: `stages`, `wire`, `elements`.
"""

from ._openai import OpenAIProvider
from ._protocol import Effort, ModelRequest, NamedTool, OutputSchema, Provider, ToolChoice, ToolSpec
from ._scripted import Answer, Rule, ScriptedProvider, split_words
from ._stage import ProviderStage

__all__ = [
    "Answer",
    "Effort",
    "ModelRequest",
    "NamedTool",
    "OpenAIProvider",
    "OutputSchema",
    "Provider",
    "ProviderStage",
    "Rule",
    "ScriptedProvider",
    "ToolChoice",
    "ToolSpec",
    "split_words",
]
