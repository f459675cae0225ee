"""The chat pipeline: route → prompt → model.

Above: users, `cli`. Below: `runtime`, `providers`, `stages`.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from ..providers import ProviderStage
from ..runtime import PipelineBuilder
from ..stages import PromptStage, RouteRule, RouteStage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..providers import Provider
    from ..runtime import Pipeline, PipelineConfig

__all__ = ["DEFAULT_RULES", "DEFAULT_SYSTEM", "chat_pipeline"]

DEFAULT_RULES: tuple[RouteRule, ...] = (
    RouteRule("support", ("help", "support", "issue"), 0.9),
    RouteRule("sales", ("buy", "purchase", "price"), 0.85),
)
"""What a message is about, where nobody says otherwise; all else is `general`."""

DEFAULT_SYSTEM: Mapping[str, str] = MappingProxyType(
    {
        "support": "You are a helpful support agent. Be empathetic and solution-focused.",
        "sales": "You are a friendly sales assistant. Be helpful but not pushy.",
        "general": "You are a helpful AI assistant. Be friendly and informative.",
    }
)
"""The system message for each route, where nobody says otherwise."""


def chat_pipeline(
    provider: Provider,
    *,
    system: str | Mapping[str, str] = DEFAULT_SYSTEM,
    rules: Iterable[RouteRule] = DEFAULT_RULES,
    history_limit: int = 10,
    model: str | None = None,
    temperature: float | None = None,
    max_tokens: int | None = None,
    config: PipelineConfig | None = None,
) -> Pipeline:
    """Return a pipeline that answers one turn of a chat: `route` → `prompt` → `model`.

    In: the history as `MessageElement`s and last what the user says, as a text or a `MessageElement`.
    Out: `TurnStart`, the fragments of the answer as they arrive, its `MessageElement`, the `UsageElement` if usage is known,
    `TurnEnd`.

    One pipeline serves any number of chats at once: each turn is one run, and runs share nothing. `ChatSession` keeps a history.

    Args:
        provider: The model. The pipeline neither opens nor closes it.
        system: The system message's text, or one for each route, `general` among them.
        rules: What tells the routes apart; see `RouteStage`.
        history_limit: Most messages of the history that the model reads.
        model: Name of the model; None: the provider's default.
        temperature: How freely it samples, from 0; None: the server's default.
        max_tokens: Most tokens of an answer; None: the server's default.
        config: Sizes and limits; `timeout_s` bounds one answer.

    Raises:
        ConfigError: If an argument is wrong; the field is named.

    Source: seed 000.
    """
    return (
        PipelineBuilder(config)
        .chain(
            RouteStage(rules),
            PromptStage(system, history_limit=history_limit),
            ProviderStage(provider, model=model, temperature=temperature, max_tokens=max_tokens),
        )
        .build()
    )
