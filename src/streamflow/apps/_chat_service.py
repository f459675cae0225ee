"""Conversations with a model that calls tools: kept in a store, answered step by step.

Above: users, `cli`. Below: `_chat_stream`, `_chat_records`, `agents`, `state`, `runtime`.

What is kept: a turn is stored once, before `ChatDone` tells its id. It has been made on what the conversation was when it began; if
somebody else has written meanwhile, it is not stored, and `ChatError` says so. A turn whose client has left, that was stopped or
has failed, is stored as cut, with a result for each tool call, or not at all: see `cut`.
"""

from __future__ import annotations

import functools
import uuid
from collections import OrderedDict
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from ..agents import AgentStage, Limits, Tools
from ..elements import (
    Message,
    MessageElement,
    Metadata,
    StreamElement,
    TextPart,
    ToolDecisionElement,
    TurnEnd,
    open_calls,
)
from ..errors import ConfigError, ElementError, StateError
from ..providers import ModelRequest, checked_provider
from ..runtime import PipelineBuilder
from ..state import StateStoreLoadStage, StateStoreSaveStage
from ..transports import ChatServiceReader
from ._chat_records import (
    ChatConversation,
    ChatConversationPage,
    ChatMessage,
    ChatSettings,
    messages_of,
    read_settings,
    settings_key,
    written_settings,
)
from ._chat_stream import ChatStream
from ._noted_usage import NotedUsage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ..agents import ToolLike
    from ..providers import Effort, Provider
    from ..runtime import Pipeline, PipelineConfig, Run
    from ..stages import ModelPrice
    from ..state import StateStore

__all__ = ["ChatService", "ProviderOf"]

ProviderOf: TypeAlias = "Provider | Callable[[ChatConversation], Provider]"
"""Who answers: one provider for all, or a function of the conversation."""

_MAX_PIPELINES = 128


class ChatService:
    """Chats with tools, in any store: made, listed, answered, deleted.

    ```python
    async with SQLiteStore("chat.db") as store:
        service = ChatService(store, provider, tools=[weather])
        chat = await service.create(ChatSettings(title="Travel", system="Be brief."))
        async with service.stream_response(chat.id, "Do I need an umbrella in Rome?") as response:
            async for event in response:
                ...
    ```

    One service answers any number of conversations at a time. Two responses in one conversation do not mix: the first that is done
    is stored, and the other one is told that it came too late.

    Args:
        store: Where conversations are kept; open.
        provider: Who answers. The service neither opens nor closes it.
        tools: What the model may call, with the rules under which they run.
        limits: How far one response may go; 20 rounds.
        history_messages: Most stored messages that the model reads; None: all. A call is never divided from its results.
        cut: What becomes of a turn that is stopped, fails, or whose client has left: `store`, marked as cut, or `drop`. One that
            waits for a person is cut, too: with `drop` there is nothing to decide about.
        effort: How much a model thinks where thinking is asked for.
        prices: What models cost, by name, for `Usage.cost_usd`.
        config: Sizes and limits of the runs; `timeout_s` bounds one response.

    Raises:
        ConfigError: If an argument is wrong; the field is named.

    Source: seed 004.
    """

    def __init__(
        self,
        store: StateStore,
        provider: ProviderOf,
        *,
        tools: Tools | Iterable[ToolLike] = (),
        limits: Limits | None = None,
        history_messages: int | None = None,
        cut: Literal["store", "drop"] = "store",
        effort: Effort = "medium",
        prices: Mapping[str, ModelPrice] | None = None,
        config: PipelineConfig | None = None,
    ) -> None:
        if not callable(getattr(store, "append", None)):
            what = f"a value of type {type(store).__name__} is no StateStore"
            raise ConfigError("store", f"{what}; give the store first, and then the provider")
        self._store = store
        self._provider = provider if callable(provider) else checked_provider(provider)
        self._tools = tools if isinstance(tools, Tools) else Tools(tools)
        self._limits = limits if limits is not None else Limits()
        self._effort: Effort = effort
        self._prices = dict(prices or {})
        self._config = config
        self._load = functools.partial(StateStoreLoadStage, store, last=history_messages)
        self._save = functools.partial(StateStoreSaveStage, store, cut=cut)
        for make in (self._load, self._save):
            make()  # a wrong argument is an error here
        self._pipelines: OrderedDict[tuple[object, ...], Pipeline] = OrderedDict()

    @property
    def tools(self) -> Tools:
        """What the model may call."""
        return self._tools

    async def create(self, settings: ChatSettings | None = None, *, id: str | None = None) -> ChatConversation:
        """Make a conversation, and return it.

        Args:
            settings: How it is answered.
            id: Names it; None: an id that nobody has.

        Cancellation: it was made or not; its settings may be the usual ones.

        Raises:
            StateConflictError: If there is one with this id.
            StateError: If the store fails.
        """
        name = uuid.uuid4().hex if id is None else id
        info = await self._store.create(name)
        given = settings if settings is not None else ChatSettings()
        revision = await self._store.put(settings_key(name), written_settings(given))
        return ChatConversation(name, given, 0, info.revision, revision, info.created_s, info.created_s)

    async def conversation(self, id: str) -> ChatConversation:
        """Return a conversation.

        Raises:
            StateError: `not_found` if there is none; any other if the store fails.
        """
        info = await self._store.info(id)
        if info is None:
            raise StateError("not_found", f"there is no conversation {id!r:.80}")
        return read_settings(info, await self._store.get(settings_key(id)))

    async def conversations(
        self, *, prefix: str = "", after: str | None = None, limit: int = 50
    ) -> ChatConversationPage:
        """Return a page of the conversations, in the order of their ids.

        Args:
            prefix: Only those whose id begins so: give conversations of one user ids with a beginning of their own.
            after: Only those behind this id; None: from the first one.
            limit: Most of one page.

        Raises:
            StateError: If the store fails.
        """
        page = await self._store.conversations(prefix=prefix, after=after, limit=limit)
        found = [read_settings(one, await self._store.get(settings_key(one.id))) for one in page.conversations]
        return ChatConversationPage(tuple(found), page.next)

    async def update(self, id: str, settings: ChatSettings, *, expected: int | None = None) -> ChatConversation:
        """Change how a conversation is answered, from the next response on, and return it.

        Args:
            id: Whose settings they are.
            settings: The new ones; `conversation.settings.replace(…)` changes some.
            expected: The `settings_revision` that the writer has seen; None: it does not matter.

        Raises:
            StateConflictError: If somebody else has changed them meanwhile.
            StateError: `not_found` if there is no such conversation; any other if the store fails.
        """
        found = await self.conversation(id)
        revision = await self._store.put(settings_key(id), written_settings(settings), expected=expected)
        return msgspec.structs.replace(found, settings=settings, settings_revision=revision)

    async def delete(self, id: str) -> bool:
        """Forget a conversation, and return whether there was one.

        A response that is under way is then not stored, but for the first one of a conversation, which makes it anew.

        Raises:
            StateError: If the store fails.
        """
        was_there = await self._store.delete(id)
        await self._store.remove(settings_key(id))
        return was_there

    async def messages(self, id: str, *, last: int | None = None) -> tuple[ChatMessage, ...]:
        """Return what was said in a conversation, oldest first; answers with their steps.

        Args:
            id: The conversation.
            last: Only the newest turns, as many as are needed to have this many stored messages; None: all.

        Raises:
            StateError: `not_found` if there is none; any other if the store fails.
        """
        await self.conversation(id)
        history = await self._store.load(id, last=last)
        return tuple(message for turn in history.turns for message in messages_of(turn))

    def stream_response(
        self,
        id: str,
        message: str | Message,
        *,
        tools: Iterable[str] | None = None,
        thinking: bool | None = None,
        snapshots: bool = False,
        deps: object = None,
    ) -> ChatStream:
        """Return the response to what the user says; it begins when its `async with` or `async for` is entered.

        Args:
            id: The conversation.
            message: What the user says.
            tools: Names of the tools that the model may call; None: all that the service has.
            thinking: Whether the model is asked to think; None: as the conversation says.
            snapshots: Whether a step of text is told whole each time that it grows, as in the seed.
            deps: What tools find in their context.

        Raises:
            ElementError: If the message is empty, or not the user's.
            ConfigError: If there is no such tool.
        """
        said = Message("user", message) if isinstance(message, str) else message
        if said.role != "user" or not (said.text.strip() or any(not isinstance(one, TextPart) for one in said.parts)):
            raise ElementError("stream_response() takes what the user says: a text that is not empty, or a Message")
        source = (MessageElement(said, metadata=Metadata({"conversation": id})), TurnEnd())

        async def begin() -> tuple[Run, ChatServiceReader]:
            return await self._begin(id, source, tools, thinking, deps), ChatServiceReader(snapshots=snapshots)

        self._chosen(tools)
        return ChatStream(begin)

    def resume(
        self,
        id: str,
        decisions: Mapping[str, bool],
        *,
        tools: Iterable[str] | None = None,
        thinking: bool | None = None,
        snapshots: bool = False,
        deps: object = None,
    ) -> ChatStream:
        """Return the rest of a response that waits for a person, who has decided. The numbers of its steps go on.

        What has run does not run again; calls that nobody has decided about wait on.

        Args:
            id: The conversation.
            decisions: Whether to run a call, by its id; the ids are the `pending` ones of `ChatDone`.
            tools: As for `stream_response()`, and so the others.
            thinking: Whether the model is asked to think; None: as the conversation says.
            snapshots: Whether a step of text is told whole each time that it grows.
            deps: What tools find in their context.

        Raises:
            ConfigError: If there are no decisions, or there is no such tool.
        """
        if not decisions:
            raise ConfigError("decisions", "there are none; give True or False for each call that waits")
        where = Metadata({"conversation": id})
        told = [ToolDecisionElement(call, allow=bool(yes), metadata=where) for call, yes in decisions.items()]
        source = (*told, TurnEnd())

        async def begin() -> tuple[Run, ChatServiceReader]:
            await self.conversation(id)
            turns = (await self._store.load(id, last=1)).turns
            waiting = turns[-1].messages if turns else ()
            if open_calls(waiting) is None:
                raise StateError("not_found", f"no call of conversation {id!r:.80} waits for a decision")
            reader = ChatServiceReader(snapshots=snapshots, after=waiting)
            return await self._begin(id, source, tools, thinking, deps), reader

        self._chosen(tools)
        return ChatStream(begin)

    async def _begin(
        self,
        id: str,
        source: tuple[StreamElement, ...],
        tools: Iterable[str] | None,
        thinking: bool | None,
        deps: object,
    ) -> Run:
        conversation = await self.conversation(id)
        pipeline = self._pipeline_for(conversation, self._chosen(tools), thinking)
        return pipeline.execute(source, deps=deps)

    def _chosen(self, tools: Iterable[str] | None) -> Tools:
        return self._tools if tools is None else self._tools.only(tools)

    def _pipeline_for(self, conversation: ChatConversation, tools: Tools, thinking: bool | None) -> Pipeline:
        """Return the pipeline for these settings; those that are used are kept, since runs of one share nothing."""
        settings = conversation.settings
        thinks = settings.thinking if thinking is None else thinking
        provider = self._provider(conversation) if callable(self._provider) else self._provider
        key = (settings.replace(title=""), thinks, tuple(one.name for one in tools), id(provider))
        found = self._pipelines.pop(key, None)
        if found is None:
            found = self._build(settings, thinks, tools, provider)
        self._pipelines[key] = found
        if len(self._pipelines) > _MAX_PIPELINES:
            self._pipelines.popitem(last=False)
        return found

    def _build(self, settings: ChatSettings, thinks: bool, tools: Tools, provider: Provider) -> Pipeline:
        request = ModelRequest(
            messages=(),
            model=settings.model,
            temperature=settings.temperature,
            max_tokens=settings.max_tokens,
            effort=self._effort if thinks else None,
        )
        agent = AgentStage(
            NotedUsage(provider),
            tools,
            instructions=settings.system,
            request=request,
            limits=self._limits,
            prices=self._prices,
        )
        return PipelineBuilder(self._config).chain(self._load(), agent, self._save()).build()
