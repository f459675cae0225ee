"""Models: what a provider is, the stage that asks one, and providers.

Above: `agents`, `apps`. Below: `stages`, `wire`, `elements`.
"""

from ._openai import OpenAIProvider
from ._protocol import ModelRequest, Provider
from ._scripted import Answer, Rule, ScriptedProvider, split_words
from ._stage import ProviderStage

__all__ = [
    "Answer",
    "ModelRequest",
    "OpenAIProvider",
    "Provider",
    "ProviderStage",
    "Rule",
    "ScriptedProvider",
    "split_words",
]
