"""A conversation: the history, and one run of a pipeline for each turn.

Above: users, `cli`. Below: `runtime`.

What is kept: a turn is kept whole or not at all. When a reply's turn ends, the user's message and everything that the turn answered
are appended in one step. A turn that fails, is cancelled, times out or is left early leaves the history as it was, so it never
holds a question without its answer, and asking again repeats nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import anyio

from ..elements import EndOfStream, Message, MessageElement, StreamElement, TextElement, TextPart, TurnEnd, TurnReset
from ..errors import ConfigError, ElementError, RunStateError, RunTimeoutError, StageError
from ._response import LLMResponse, ResponseNotes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from types import TracebackType
    from typing import Self

    from ..runtime import Pipeline, Run

__all__ = ["ChatReply", "ChatSession"]


class ChatSession:
    """A conversation that remembers what was said.

    ```python
    session = ChatSession(chat_pipeline(provider))
    async with session.reply("Hello!") as reply:
        async for text in reply.text():
            print(text, end="", flush=True)
    ```

    Replies may overlap: each sees what was whole when it was asked for, and is appended whole when its turn ends.

    Args:
        pipeline: What answers a turn: `chat_pipeline()`, or one of your own that takes messages and sends a `MessageElement` of the
            assistant, no older ones. Any number of sessions can share one.
        history: What was said before.
    """

    def __init__(self, pipeline: Pipeline, *, history: Iterable[Message] = ()) -> None:
        if not callable(getattr(pipeline, "execute", None)):
            what = f"a value of type {type(pipeline).__name__} is no pipeline"
            raise ConfigError("pipeline", f"{what}; give one, as chat_pipeline(provider) makes it")
        self._pipeline = pipeline
        # No bound: it is the user's conversation, and the prompt takes only its end. Give a new session a shorter history.
        self._history = list(history)

    @property
    def history(self) -> tuple[Message, ...]:
        """What was said, oldest first: whole turns only."""
        return tuple(self._history)

    def reply(self, said: str | Message, *, deps: object = None) -> ChatReply:
        """Return the reply to what the user says; it starts when its `async with` or `async for` is entered.

        Args:
            said: The user's message.
            deps: What stages find as `run.deps`.

        Raises:
            ElementError: If the message is empty or not the user's.
        """
        message = Message("user", said) if isinstance(said, str) else said
        if not _is_said_by_user(message):
            raise ElementError(
                f"reply() takes what the user says: a text that is not empty, or a Message; got {said!r:.80}"
            )
        source = [MessageElement(one) for one in (*self._history, message)]
        return ChatReply(self._pipeline.execute(source, deps=deps), message, self._history.extend)

    def __repr__(self) -> str:
        return f"<ChatSession of {len(self._history)} messages>"


def _is_said_by_user(message: object) -> bool:
    if not isinstance(message, Message) or message.role != "user":
        return False
    return bool(message.text.strip()) or any(not isinstance(part, TextPart) for part in message.parts)


class _Turn:
    """What one turn has answered so far; kept once it is whole."""

    def __init__(self, question: Message, keep: Callable[[Iterable[Message]], None]) -> None:
        self._question = question
        self._keep = keep
        self._answers: list[Message] = []
        self._is_kept = False
        self._began_s: float | None = None
        self.notes = ResponseNotes()
        """What the record of the turn is made of."""

    def begin(self) -> None:
        """Note when it began; later calls change nothing."""
        if self._began_s is None:
            self._began_s = anyio.current_time()

    @property
    def elapsed_s(self) -> float:
        """Seconds since it began."""
        return 0.0 if self._began_s is None else anyio.current_time() - self._began_s

    def see(self, element: StreamElement) -> StreamElement:
        """Note what `element` says of the turn, and return it."""
        self.notes.see(element, self.elapsed_s)
        if isinstance(element, MessageElement) and element.message.role in {"assistant", "tool"}:
            self._answers.append(element.message)
        elif isinstance(element, TurnReset):
            self._answers = [one for one in self._answers if element.answer and one.id != element.answer]
        is_end = isinstance(element, TurnEnd) or (isinstance(element, EndOfStream) and element.reason == "done")
        if is_end and not self._is_kept and any(one.role == "assistant" for one in self._answers):
            self._is_kept = True
            self._keep((self._question, *self._answers))
        return element


class _Elements:
    """One iteration of a reply. It holds no `Run`, so that a bare loop that is left ends the run at once."""

    def __init__(self, elements: AsyncIterator[StreamElement], turn: _Turn) -> None:
        self._elements = elements
        self._turn = turn
        turn.begin()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StreamElement:
        return self._turn.see(await anext(self._elements))


class _Text:
    """One iteration of a reply's text. No generator: one that is left early is closed late."""

    def __init__(self, elements: _Elements) -> None:
        self._elements = elements

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        while True:
            element = await anext(self._elements)
            if isinstance(element, TextElement) and "agent" not in element.metadata:
                return element.text


class ChatReply:
    """One turn: iterate its elements, or its text, as they arrive. Made by `ChatSession.reply()`.

    Use it with `async with`; a bare `async for element in session.reply("…")` is as safe while the reply is not stored. Once its
    `TurnEnd` has been taken, the turn is in the session's history; left earlier, failed or cancelled, it is not.
    """

    def __init__(self, run: Run, question: Message, keep: Callable[[Iterable[Message]], None]) -> None:
        self._run = run
        self._turn = _Turn(question, keep)

    def __aiter__(self) -> AsyncIterator[StreamElement]:
        return _Elements(aiter(self._run), self._turn)

    def text(self) -> AsyncIterator[str]:
        """Iterate the text fragments of the answer alone, as strings; not what agents say that are its tools."""
        return _Text(_Elements(aiter(self._run), self._turn))

    async def message(self) -> Message:
        """Iterate what is left and return the answer.

        Cancellation: the run goes on until the reply is left.

        Raises:
            StageError: If a stage failed.
            RunTimeoutError: If it took too long.
            RunStateError: If the pipeline answered nothing.
        """
        answer: Message | None = None
        async for element in self:
            if isinstance(element, MessageElement) and element.message.role == "assistant":
                answer = element.message
            elif isinstance(element, TurnReset) and not element.answer:
                answer = None
        if answer is None:
            raise RunStateError(f"{self._run.run_id} gave no message of the assistant; end the pipeline with a model")
        return answer

    async def response(self, *, errors: Literal["raise", "record"] = "raise") -> LLMResponse:
        """Iterate what is left and return the record of the answer: text, tokens, latency, why it stopped.

        Args:
            errors: `raise` raises a failure of the run; `record` tells it in the record, with `LLM call failed: …` for one of the
                model. A failed turn is not in the session's history either way.

        Cancellation: the run goes on until the reply is left.

        Raises:
            StageError: If a stage failed, and `errors` is `raise`.
            RunTimeoutError: If it took too long, and `errors` is `raise`.
            ConfigError: If `errors` is neither.
        """
        if errors not in ("raise", "record"):
            raise ConfigError("errors", f"give 'raise' or 'record', got {errors!r:.80}")
        try:
            async for _ in self:
                pass
        except (StageError, RunTimeoutError) as error:
            if errors == "raise":
                raise
            self._turn.notes.fail(error, self._turn.elapsed_s)
        return self._turn.notes.made()

    @property
    def run(self) -> Run:
        """The run that answers. What is iterated here directly is not seen by the session."""
        return self._run

    async def __aenter__(self) -> Self:
        self._turn.begin()
        await self._run.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Literal[False]:
        return await self._run.__aexit__(kind, error, traceback)
