"""The streaming chat agent: a configuration, a provider, a way to hand over answers.

Above: users. Below: `_strategies`, `_response`, `runtime`, `providers`.
An agent keeps nothing of an answer, so any number of them can be under way at a time. Who wants a memory uses `ChatSession`, with
the agent's pipeline.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import anyio

from ..errors import ConfigError
from ..providers import ProviderStage, as_provider
from ..runtime import PipelineBuilder, PipelineConfig, check_backend, forbid_inside_a_loop
from ..stages import PromptStage
from ._chat_config import ChatConfig
from ._response import ResponseNotes
from ._strategies import StreamingStrategy, WholeStrategy, question

if TYPE_CHECKING:
    from ..graph import SubGraph
    from ..providers import Provider, ProviderLike
    from ..runtime import BackendName, Pipeline
    from ._response import LLMResponse
    from ._strategies import ChatStrategy
    from ._token_stream import TokenStream

__all__ = ["StreamChatAgent"]


class StreamChatAgent:
    """A chat agent that streams: one message in, the answer in chunks or whole.

    ```python
    agent = StreamChatAgent(ChatConfig(llm_provider="openai", model="gpt-5-mini"))

    async for token in agent.stream_chat("What is Python?"):
        print(token, end="", flush=True)

    print(agent.chat("What is Python?"))  # without async
    ```

    It keeps nothing of an answer: answers may overlap, in any number.

    Args:
        config: Default `ChatConfig()`.
        provider: Who answers, as for `as_provider()`, instead of `config.llm_provider`. A name or a provider brings its own model;
            a client is asked for `config.model`.
        strategy: How answers are handed over; None: `StreamingStrategy` as the configuration says, or `WholeStrategy` where that
            does not stream.

    Raises:
        ConfigError: If an argument is wrong, or the provider's key is missing; the field is named.
        MissingExtraError: If a package that the provider needs is not installed.

    Source: seed 002.
    """

    def __init__(
        self,
        config: ChatConfig | None = None,
        *,
        provider: ProviderLike | None = None,
        strategy: ChatStrategy | None = None,
    ) -> None:
        given = cast("object", config)
        if given is not None and not isinstance(given, ChatConfig):
            raise ConfigError("config", f"give a ChatConfig, got {given!r:.80}")
        config = config if config is not None else ChatConfig()
        chosen = _provider_of(config, provider)
        model = ProviderStage(chosen, temperature=config.temperature, max_tokens=config.max_tokens)
        builder = PipelineBuilder(PipelineConfig(timeout_s=config.timeout_s))
        self._config = config
        self._pipeline = builder.chain(PromptStage(config.system), model).build()
        streaming = StreamingStrategy(config.chunk_size, max_wait_s=config.chunk_wait_s)
        self.strategy: ChatStrategy = strategy or (streaming if config.streaming else WholeStrategy())
        """How answers are handed over."""

    @property
    def config(self) -> ChatConfig:
        """The settings."""
        return self._config

    @property
    def pipeline(self) -> Pipeline:
        """What answers: messages in, a turn of the model out. `ChatSession(agent.pipeline)` remembers."""
        return self._pipeline

    def stream_chat(self, message: str) -> TokenStream:
        """Return the answer in chunks of `chunk_size` tokens, as they come: strings that are not empty and join to the response.

        Cancellation: leaving the loop ends the model's call.

        Raises:
            ConfigError: If the agent does not stream (also a `ValueError`).
            ElementError: If the message is empty.
        """
        if not isinstance(self.strategy, StreamingStrategy):
            raise ConfigError("streaming", "Streaming requires StreamingStrategy (set streaming=True in config)")
        return self.strategy.stream(self, {"message": message})

    def chat(self, message: str, *, backend: BackendName = "asyncio") -> str:
        """Return the whole answer, blocking; `No response` where a strategy of yours gives none.

        Args:
            message: What the user says.
            backend: The event loop that it runs on.

        Raises:
            SyncInAsyncError: If called inside a running event loop; use `await agent.respond(…)` there.
            ElementError: If the message is empty.
            StageError: If the model fails.
            RunTimeoutError: If it takes too long.
        """
        forbid_inside_a_loop("chat", "'await agent.respond(…)' or 'async for token in agent.stream_chat(…)'")
        check_backend(backend)
        question({"message": message})
        told = anyio.run(self.strategy.execute, self, {"message": message}, backend=backend)
        return str(told.get("response", "No response"))

    async def respond(self, message: str) -> LLMResponse:
        """Return the whole answer with what is known of it: tokens, latency, why the model stopped.

        Cancellation: ends the model's call.

        Raises:
            ElementError: If the message is empty.
            StageError: If the model fails.
            RunTimeoutError: If it takes too long.
        """
        notes = ResponseNotes()
        began_s = anyio.current_time()
        async with self._pipeline.execute(question({"message": message})) as run:
            async for element in run:
                notes.see(element, anyio.current_time() - began_s)
        return notes.made()

    def as_stage(self, name: str = "agent") -> SubGraph:
        """Return the agent as a stage of another pipeline: a message of the user in, the turn that answers it out."""
        return self._pipeline.as_stage(name)

    def __repr__(self) -> str:
        return f"<StreamChatAgent {self._config.llm_provider}:{self._config.model} {self.strategy!r}>"


def _provider_of(config: ChatConfig, given: ProviderLike | None) -> Provider:
    if given is None:
        return as_provider(config.llm_provider, model=config.model)
    chosen = as_provider(given)
    return chosen if chosen is given or isinstance(given, str) else as_provider(given, model=config.model)
