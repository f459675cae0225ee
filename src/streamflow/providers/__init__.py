"""Models: what a provider is, the stage that asks one, and providers.

Above: `agents`, `apps`. Below: `stages`, `wire`, `elements`.
"""

from ._anthropic import AnthropicProvider
from ._openai import OpenAIAPI, OpenAIProvider
from ._protocol import CITATION, Effort, ModelRequest, NamedTool, OutputSchema, Provider, ToolChoice, ToolSpec
from ._script import (
    AudioStep,
    CitationStep,
    CutStep,
    DelayStep,
    ErrorStep,
    ImageStep,
    MalformedStep,
    RefusalStep,
    ScriptTurn,
    Step,
    StopStep,
    TextStep,
    ThinkingStep,
    ToolCallStep,
    UsageStep,
    When,
    split_chars,
    split_randomly,
    split_words,
)
from ._script_file import load_script
from ._scripted import Answer, Rule, ScriptedProvider
from ._stage import ProviderStage

__all__ = [
    "CITATION",
    "Answer",
    "AnthropicProvider",
    "AudioStep",
    "CitationStep",
    "CutStep",
    "DelayStep",
    "Effort",
    "ErrorStep",
    "ImageStep",
    "MalformedStep",
    "ModelRequest",
    "NamedTool",
    "OpenAIAPI",
    "OpenAIProvider",
    "OutputSchema",
    "Provider",
    "ProviderStage",
    "RefusalStep",
    "Rule",
    "ScriptTurn",
    "ScriptedProvider",
    "Step",
    "StopStep",
    "TextStep",
    "ThinkingStep",
    "ToolCallStep",
    "ToolChoice",
    "ToolSpec",
    "UsageStep",
    "When",
    "load_script",
    "split_chars",
    "split_randomly",
    "split_words",
]
