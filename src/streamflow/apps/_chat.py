"""The chat pipeline: route → prompt → model.

Above: users, `cli`. Below: `runtime`, `providers`, `stages`.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias

from ..errors import ConfigError
from ..providers import ProviderStage, as_provider
from ..runtime import PipelineBuilder
from ..stages import PromptStage, RouteRule, RouteStage
from ._tokens import ChatTokenStage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..observe import AsyncListener, Listener
    from ..providers import ProviderLike
    from ..runtime import Pipeline, PipelineConfig
    from ..stages import OnFailure, StageLike

__all__ = ["DEFAULT_RULES", "DEFAULT_SYSTEM", "ChatEvents", "chat_pipeline", "model_stages", "with_listeners"]

ChatEvents: TypeAlias = Literal["off", "token", "partial"]
"""Whether each fragment is also an event `chat.token`: not at all, with the token, or with the text so far as well."""

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
    provider: ProviderLike,
    *,
    system: str | Mapping[str, str] = DEFAULT_SYSTEM,
    rules: Iterable[RouteRule] = DEFAULT_RULES,
    history_limit: int = 10,
    model: str | None = None,
    temperature: float | None = None,
    max_tokens: int | None = None,
    on_failure: OnFailure = "error",
    chat_events: ChatEvents = "off",
    listeners: Iterable[Listener | AsyncListener] = (),
    config: PipelineConfig | None = None,
) -> Pipeline:
    """Return a pipeline that answers one turn of a chat: `route` → `prompt` → `model`.

    ```python
    chat_pipeline("openai:gpt-5-mini").execute_sync("Hello!").text
    ```

    In: the history as `MessageElement`s and last what the user says, as a text or a `MessageElement`.
    Out: `TurnStart`, the fragments of the answer as they arrive, its `MessageElement`, the `UsageElement` if usage is known,
    `TurnEnd`.

    One pipeline serves any number of chats at once: each turn is one run, and runs share nothing. `ChatSession` keeps a history.

    Args:
        provider: The model: a name as in `openai:gpt-5-mini`, an address, a client, a provider; see `as_provider()`. The pipeline
            neither opens nor closes it.
        system: The system message's text, or one for each route, `general` among them.
        rules: What tells the routes apart; see `RouteStage`.
        history_limit: Most messages of the history that the model reads.
        model: Name of the model; None: the provider's default.
        temperature: How freely it samples, from 0; None: the server's default.
        max_tokens: Most tokens of an answer; None: the server's default.
        on_failure: `error`: a failed call of the model fails the run. `end_turn`: it is an `ErrorElement`, `LLM call failed: …`, in
            the place of the rest of the answer.
        chat_events: Whether listeners are told of each fragment, as `chat.token`.
        listeners: Called with the events of every run, as by `PipelineBuilder.on_event()`.
        config: Sizes and limits; `timeout_s` bounds one answer.

    Raises:
        ConfigError: If an argument is wrong; the field is named.
        MissingExtraError: If a package that the provider needs is not installed.

    Source: seed 000.
    """
    model_stage = ProviderStage(
        as_provider(provider), model=model, temperature=temperature, max_tokens=max_tokens, on_failure=on_failure
    )
    builder = with_listeners(PipelineBuilder(config), listeners)
    prompt = PromptStage(system, history_limit=history_limit)
    return builder.chain(RouteStage(rules), prompt, *model_stages(model_stage, chat_events)).build()


def model_stages(model: ProviderStage, chat_events: ChatEvents) -> tuple[StageLike, ...]:
    """Return the stages at the end of a chat: the model, and what tells its tokens if that is wanted.

    Raises:
        ConfigError: If there is no such choice.
    """
    if chat_events not in ("off", "token", "partial"):
        raise ConfigError("chat_events", f"give 'off', 'token' or 'partial', got {chat_events!r:.80}")
    return (model,) if chat_events == "off" else (model, ChatTokenStage(partial=chat_events == "partial"))


def with_listeners(builder: PipelineBuilder, listeners: Iterable[Listener | AsyncListener]) -> PipelineBuilder:
    """Return the builder, with listeners."""
    for one in listeners:
        builder.on_event(one)
    return builder
