"""How an agent's answer is handed over: in chunks as it comes, or whole.

Above: `_agent`, users. Below: `_token_stream`, `runtime`, `stages`.
A strategy knows nothing of the agent but its pipeline, so any of them fits any agent; and it keeps nothing of a run.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Protocol, cast

from ..elements import BatchElement, Message, MessageElement, TextElement
from ..errors import ConfigError, ElementError
from ..runtime import PipelineBuilder
from ..stages import BatchStage, FilterStage, MapStage, checked_count, checked_seconds
from ._token_stream import TokenStream

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..runtime import Pipeline

__all__ = ["ChatStrategy", "HasPipeline", "StreamingStrategy", "WholeStrategy", "question"]


class HasPipeline(Protocol):
    """What a strategy needs of an agent."""

    @property
    def pipeline(self) -> Pipeline:
        """Answers one message of the user."""
        ...


class ChatStrategy(Protocol):
    """How an agent's answer is handed over."""

    async def execute(self, agent: HasPipeline, inputs: Mapping[str, str]) -> dict[str, object]:
        """Return the whole answer as `response`, with what else there is to say of it.

        Args:
            agent: Whose pipeline answers.
            inputs: What is asked, as `message`.
        """
        ...


class StreamingStrategy:
    """Hand over an answer in chunks of so many tokens, as it comes.

    ```python
    strategy = StreamingStrategy(chunk_size=5)
    async for chunk in strategy.stream(agent, {"message": "Hello"}):
        print(chunk, end="", flush=True)
    ```

    Args:
        chunk_size: Tokens of the provider in each chunk, from 1 up; the last one has the rest. No letter of the text is changed.
        max_wait_s: Longest time, in seconds, that a token waits for its chunk to become full; None: no limit.

    Raises:
        ConfigError: If a number is out of its range.

    Source: seed 002 (StreamingStrategy).
    """

    def __init__(self, chunk_size: int = 1, *, max_wait_s: float | None = None) -> None:
        self.chunk_size: int = checked_count(chunk_size, "chunk_size", "StreamingStrategy")
        """Tokens in each chunk."""
        if max_wait_s is not None:
            checked_seconds(max_wait_s, "max_wait_s", "StreamingStrategy")
        self.max_wait_s: float | None = max_wait_s
        """Longest time that a token waits, in seconds."""
        self._chunked: weakref.WeakKeyDictionary[Pipeline, Pipeline] = weakref.WeakKeyDictionary()

    def stream(self, agent: HasPipeline, inputs: Mapping[str, str]) -> TokenStream:
        """Return the chunks of the answer, none of them empty; it starts when it is iterated, or entered.

        Args:
            agent: Whose pipeline answers.
            inputs: What is asked, as `message`.

        Raises:
            ConfigError: If `inputs` has no message.
            ElementError: If it is empty.
        """
        return TokenStream(self._pipeline_of(agent), question(inputs))

    async def execute(self, agent: HasPipeline, inputs: Mapping[str, str]) -> dict[str, object]:
        """Return `response`, the number of `chunks` that it came in, and `streamed`; for an empty message, `error` says so.

        Cancellation: ends the call of the model.

        Raises:
            StageError: If the model fails.
            RunTimeoutError: If it takes too long.
            ConfigError: If `inputs` has no message.
        """
        try:
            stream = self.stream(agent, inputs)
        except ElementError as error:
            return {"response": "", "chunks": 0, "streamed": True, "error": str(error)}
        async with stream:
            chunks = [chunk async for chunk in stream]
        return {"response": "".join(chunks), "chunks": len(chunks), "streamed": True}

    def _pipeline_of(self, agent: HasPipeline) -> Pipeline:
        if self.chunk_size == 1:
            return agent.pipeline
        chunked = self._chunked.get(agent.pipeline)
        if chunked is None:
            chunked = self._chunked[agent.pipeline] = _chunks_of(agent.pipeline, self.chunk_size, self.max_wait_s)
        return chunked

    def __repr__(self) -> str:
        return f"StreamingStrategy(chunk_size={self.chunk_size}, max_wait_s={self.max_wait_s})"


class WholeStrategy:
    """Hand over an answer when it is whole."""

    async def execute(self, agent: HasPipeline, inputs: Mapping[str, str]) -> dict[str, object]:
        """Return `response`, `chunks` (1) and `streamed` (False); for an empty message, `error` says so.

        Cancellation: ends the call of the model.

        Raises:
            StageError: If the model fails.
            RunTimeoutError: If it takes too long.
            ConfigError: If `inputs` has no message.
        """
        try:
            asked = question(inputs)
        except ElementError as error:
            return {"response": "", "chunks": 0, "streamed": False, "error": str(error)}
        result = await agent.pipeline.run(asked)
        return {"response": result.response, "chunks": 1, "streamed": False}

    def __repr__(self) -> str:
        return "WholeStrategy()"


def question(inputs: Mapping[str, str]) -> MessageElement:
    """Return what is asked.

    Raises:
        ConfigError: If there is no message.
        ElementError: If it is empty.
    """
    message = cast("Mapping[str, object]", inputs).get("message")
    if not isinstance(message, str):
        raise ConfigError("inputs", "has no text under 'message'; give {'message': 'Hello'}")
    if not message.strip():
        raise ElementError("the message is empty; say something")
    return MessageElement(Message("user", message))


def _chunks_of(pipeline: Pipeline, size: int, max_wait_s: float | None) -> Pipeline:
    """Return a pipeline that answers as this one, in chunks."""
    said = FilterStage(_is_said, name="said")
    batch = BatchStage(size, max_wait_s=max_wait_s, name="chunk", accepts=TextElement)
    builder = PipelineBuilder(pipeline.config)
    return builder.chain(pipeline.as_stage("agent"), said, batch, MapStage(_joined, name="join")).build()


def _is_said(one: TextElement) -> bool:
    return one.text != ""


def _joined(batch: BatchElement) -> TextElement:
    texts = [one for one in batch.items if isinstance(one, TextElement)]
    return TextElement("".join(one.text for one in texts), id=texts[0].id)
