"""Models: what a provider is, the stage that asks one, and providers.

Above: `agents`, `apps`. Below: `stages`, `wire`, `elements`.
"""

from ._answer import AnswerReader
from ._anthropic import AnthropicProvider
from ._chat_client import ChatClient, StreamingChatClient
from ._clients import AnthropicClientProvider, OpenAIClientProvider, SDKClient
from ._fallback import FallbackProvider
from ._given import PROVIDER_NAMES, ProviderLike, as_provider
from ._openai import OpenAIAPI, OpenAIProvider
from ._protocol import (
    CITATION,
    Effort,
    ModelRequest,
    NamedTool,
    OutputSchema,
    Provider,
    ToolChoice,
    ToolSpec,
    checked_provider,
)
from ._retry import RetryProvider
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
from ._spans import ModelSpan, told_usage
from ._stage import ProviderStage
from ._timeout import TimeoutProvider

__all__ = [
    "CITATION",
    "PROVIDER_NAMES",
    "Answer",
    "AnswerReader",
    "AnthropicClientProvider",
    "AnthropicProvider",
    "AudioStep",
    "ChatClient",
    "CitationStep",
    "CutStep",
    "DelayStep",
    "Effort",
    "ErrorStep",
    "FallbackProvider",
    "ImageStep",
    "MalformedStep",
    "ModelRequest",
    "ModelSpan",
    "NamedTool",
    "OpenAIAPI",
    "OpenAIClientProvider",
    "OpenAIProvider",
    "OutputSchema",
    "Provider",
    "ProviderLike",
    "ProviderStage",
    "RefusalStep",
    "RetryProvider",
    "Rule",
    "SDKClient",
    "ScriptTurn",
    "ScriptedProvider",
    "Step",
    "StopStep",
    "StreamingChatClient",
    "TextStep",
    "ThinkingStep",
    "TimeoutProvider",
    "ToolCallStep",
    "ToolChoice",
    "ToolSpec",
    "UsageStep",
    "When",
    "as_provider",
    "checked_provider",
    "load_script",
    "split_chars",
    "split_randomly",
    "split_words",
    "told_usage",
]
