"""`StateStoreLoadStage` and `StateStoreSaveStage` in runs: what is stored, when, and what is read in the next turn."""

from __future__ import annotations

import anyio
import pytest

from streamflow import (
    BaseStage,
    Message,
    MessageElement,
    Metadata,
    PipelineBuilder,
    PipelineConfig,
    Resource,
    StageKind,
    TextElement,
    TurnEnd,
)
from streamflow.elements import (
    TextPart,
    ToolCallPart,
    ToolResultElement,
    ToolResultPart,
    TurnReset,
    TurnStart,
)
from streamflow.errors import ConfigError, RunTimeoutError, StageError, StateConflictError, StateError
from streamflow.providers import ProviderStage, ScriptedProvider
from streamflow.state import (
    MemoryStore,
    SQLiteStore,
    StateStoreLoadStage,
    StateStoreSaveStage,
    Turn,
    TurnInput,
    check_history,
)
from streamflow.testing import cancel_sweep


class Model(BaseStage):
    """Answers each turn with a script: elements are sent, numbers are waited, exceptions are raised."""

    kind = StageKind.ACCUMULATE
    accepts = (MessageElement, TurnEnd)
    emits = (TextElement, MessageElement, ToolResultElement, TurnStart, TurnEnd, TurnReset)
    max_held = 1000

    def __init__(self, *script):
        super().__init__("model")
        self._script = script
        self.read: list[list[str]] = []

    async def process(self, input, output):
        held, ended = [], None
        async for element in input:
            if isinstance(element, MessageElement):
                held.append(element.message.text)
                continue
            ended = element
            await self._answer(held, output)
            await output.send(element)
            held = []
        if held:
            await self._answer(held, output)
            if ended is None and "no end" not in self._script:
                await output.send(TurnEnd())

    async def _answer(self, held, output):
        self.read.append(held)
        for step in self._script:
            if isinstance(step, Exception):
                raise step
            if isinstance(step, (int, float)):
                await anyio.sleep(step)
            elif step != "no end":
                await output.send(step)


def answer(text="Hi!", **more) -> MessageElement:
    return MessageElement(Message("assistant", text, stop_reason="stop"), **more)


SPEAKS = (TurnStart(), TextElement("Hi"), TextElement("!"), answer(), 0)


def pipeline(store, *script, load=None, config=None, model=None, **save):
    built = PipelineBuilder(config) if config else PipelineBuilder()
    return built.chain(
        StateStoreLoadStage(store, conversation="c", **(load or {})),
        model or Model(*(script or SPEAKS)),
        StateStoreSaveStage(store, **save),
    ).build()


async def stored(store, talk="c"):
    """Return the turns as status and texts, after having looked that they make a lawful history."""
    turns = (await store.load(talk)).turns
    return [(turn.status, *(message.text for message in turn.messages)) for turn in turns]


async def test_a_turn_is_stored_and_the_next_run_reads_it():
    """19.11: the question and its answer, as one turn; the model of the next run reads them first."""
    async with MemoryStore() as store:
        provider = ScriptedProvider()
        chat = pipeline(store, model=ProviderStage(provider))
        await chat.run("one")
        await chat.run("two")

        assert await stored(store) == [("whole", "one", "You said: one"), ("whole", "two", "You said: two")]
        texts = [message.text for message in provider.requests[1].messages]
        assert texts == ["one", "You said: one", "two"]


async def test_a_turn_is_committed_before_its_end_is_told():
    """19.11, seed 004: who has seen the end can rely on it, and knows where it is stored."""
    store = Flaky()
    store.pause, store.fails = 1.0, 0
    async with store, pipeline(store).execute("hello") as run:
        async for element in run:
            if isinstance(element, TurnEnd):
                (turn,) = (await store.load("c")).turns
                assert dict(element.metadata) == {"conversation": "c", "turn": turn.id, "revision": 1}
                return
    pytest.fail("there was no end")


@pytest.mark.parametrize("capacity", [1, 16])
async def test_a_turn_that_waits_reads_what_the_one_before_has_stored(capacity):
    """19.12: turns that come faster than they are answered are loaded one after the other."""
    async with MemoryStore() as store:
        model = Model(0.5, *SPEAKS)
        chat = pipeline(store, model=model, config=PipelineConfig(buffer_size=capacity))
        await chat.run(["one", TurnEnd(), TextElement("two"), TurnEnd(), TextElement("three")])

        assert model.read == [["one"], ["one", "Hi!", "two"], ["one", "Hi!", "two", "Hi!", "three"]]
        assert [turn.revision for turn in (await store.load("c")).turns] == [1, 2, 3]


async def test_a_client_that_leaves_leaves_what_was_said_as_cut():
    """19.11, agents' pain 8: the answer is not lost because nobody listens any more."""
    async with MemoryStore() as store:
        chat = pipeline(store, TurnStart(), TextElement("Hel"), TextElement("lo"), 1, answer("Hello you"))
        async with chat.execute("hello") as run:
            async for element in run:
                if isinstance(element, TextElement) and element.text == "lo":
                    break

        assert await stored(store) == [("cut", "hello", "Hello")]


async def test_a_run_that_times_out_leaves_what_was_said_as_cut():
    """19.11: a limit of time is no reason to forget."""
    async with MemoryStore() as store:
        chat = pipeline(store, TextElement("Hel"), 10, answer(), config=PipelineConfig(timeout_s=1))
        with pytest.raises(RunTimeoutError):
            await chat.run("hello")

        assert await stored(store) == [("cut", "hello", "Hel")]


async def test_a_model_that_fails_leaves_what_was_said_as_cut():
    """19.11: the failure is told as ever, and what had been said is kept."""
    async with MemoryStore() as store:
        chat = pipeline(store, TextElement("Hel"), 1, ValueError("broken"))
        with pytest.raises(StageError, match="broken"):
            await chat.run("hello")

        assert await stored(store) == [("cut", "hello", "Hel")]
        with pytest.raises(StageError, match="after its message"):
            await pipeline(store, answer(), ValueError("after its message")).run("again")

        assert (await stored(store))[1] == ("cut", "again", "Hi!")


async def test_nothing_is_stored_of_a_turn_that_never_began():
    """19.11: a question without a beginning of its answer can be asked again."""
    async with MemoryStore() as store:
        with pytest.raises(StageError):
            await pipeline(store, ValueError("at once")).run("hello")
        with anyio.move_on_after(1):
            await pipeline(store, 10, answer()).run("hello")

        assert await stored(store) == []


async def test_a_cut_turn_can_be_dropped():
    """19.11, seed 003: where only whole payloads may be stored, a stream that broke writes nothing."""
    async with MemoryStore() as store:
        with pytest.raises(StageError):
            await pipeline(store, TextElement("Hel"), ValueError("broken"), cut="drop").run("hello")
        assert await stored(store) == []
        await pipeline(store, cut="drop").run("hello")

        assert await stored(store) == [("whole", "hello", "Hi!")]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["incremental", "log"])
async def test_a_run_cancelled_at_every_tick_leaves_a_lawful_history(mode):
    """19.11: whole, cut or nothing, wherever it is cancelled; never a call without its result, never a turn twice."""
    calls = Message("assistant", [TextPart("let me see"), ToolCallPart("k", "find")], stop_reason="tool_calls")
    script = (
        TurnStart(),
        TextElement("let me see"),
        MessageElement(calls),
        ToolResultElement("k", "find", "found"),
        MessageElement(Message("tool", [ToolResultPart("k", "found", name="find")])),
        TextElement("Hi"),
        answer(),
    )
    async with MemoryStore() as store:
        seen: set[str] = set()

        async def talk():
            await pipeline(store, *script, mode=mode, config=PipelineConfig(buffer_size=1)).run("hello")

        async def look(outcome):
            turns = (await store.load("c")).turns
            assert len(turns) <= 1
            for turn in turns:
                check_history(turn.messages)
                assert turn.messages[0].text == "hello"
                seen.add(turn.status)
                results = [one for message in turn.messages for one in message.tool_results]
                assert all(one.status in {"ok", "cancelled"} for one in results)
            seen.update(["nothing"] if not turns else [])
            assert outcome.cancelled or turns[0].status == "whole"
            await store.delete("c")

        await cancel_sweep(talk, check=look)

        assert seen == {"nothing", "cut", "whole"}


@pytest.mark.parametrize("how", ["native", "timeout"])
async def test_a_native_cancellation_in_a_commit_is_made_good(how, anyio_backend_name):
    """19.4: asyncio cancels through a shield; the commit is made again, under its id."""
    async with MemoryStore() as store:

        async def talk():
            await pipeline(store).run("hello")

        async def look(outcome):
            assert [turn[0] for turn in await stored(store)] in ([], ["cut"], ["whole"])
            await store.delete("c")

        report = await cancel_sweep(talk, how=how, check=look)
        assert report.completed or anyio_backend_name == "trio"


async def test_an_interruption_stores_the_cut_message():
    """19.11, 15.5: what the model's stage makes of an interrupted answer is what is stored."""
    async with MemoryStore() as store:
        chat = pipeline(store, model=ProviderStage(ScriptedProvider(delay_s=1)))
        async with chat.execute() as run:
            await run.send("hello")
            await run.send(TurnEnd())
            async for element in run:
                if isinstance(element, TextElement):
                    run.interrupt()
                if isinstance(element, TurnEnd):
                    assert element.stop_reason == "interrupted"
                    break

        assert await stored(store) == [("cut", "hello", "You")]


async def test_of_two_runs_on_one_conversation_one_wins_and_the_other_is_told():
    """19.2: the one that was slower learns which turn was first, and its end is not passed on."""
    async with MemoryStore() as store:
        ends, told = [], []

        async def talk(text, pause):
            try:
                async with pipeline(store, TurnStart(), pause, answer()).execute(text) as run:
                    ends.extend([text async for element in run if isinstance(element, TurnEnd)])
            except StageError as error:
                told.append((text, error.__cause__))

        async with anyio.create_task_group() as group:
            group.start_soon(talk, "fast", 1)
            group.start_soon(talk, "slow", 2)

        (turn,) = (await store.load("c")).turns
        assert turn.messages[0].text == "fast"
        assert ends == ["fast"]
        ((text, cause),) = told
        assert text == "slow"
        assert isinstance(cause, StateConflictError)
        assert (cause.expected, cause.actual, cause.winner) == (0, 1, turn.id)


async def test_a_conflict_can_append_behind_what_was_first():
    """19.2: where order does not matter, nobody's turn is lost."""
    async with MemoryStore() as store:
        async with anyio.create_task_group() as group:
            for text, pause in (("fast", 1), ("slow", 2)):
                chat = pipeline(store, TurnStart(), pause, answer(), on_conflict="append")
                group.start_soon(chat.run, text)

        assert [turn[1] for turn in await stored(store)] == ["fast", "slow"]


class Flaky(MemoryStore):
    """Loses answers: the first calls write, and then fail."""

    fails = 2
    code = "unavailable"
    pause = 0.0

    async def append(self, conversation, turn, *, expected=None):
        revision = await super().append(conversation, turn, expected=expected)
        await anyio.sleep(self.pause)
        if self.fails:
            self.fails -= 1
            raise StateError(self.code, "lost; try again", retryable=True)
        return revision


async def test_a_commit_whose_answer_was_lost_is_not_doubled():
    """19.3: it is tried again under its id."""
    async with Flaky() as store:
        await pipeline(store).run("hello")

        assert await stored(store) == [("whole", "hello", "Hi!")]


async def test_a_store_that_stays_away_fails_the_run_before_its_end_is_told():
    """19.11: an end that was told is stored; after the last try there is no end, but the failure."""
    store = Flaky()
    store.fails = 99
    async with store:
        ends = []
        with pytest.raises(StageError, match="lost; try again"):
            async with pipeline(store).execute("hello") as run:
                ends = [element async for element in run if isinstance(element, TurnEnd)]
    assert ends == []


async def test_a_commit_has_a_deadline():
    """19.11: a store that hangs cannot hold the run."""
    store = Flaky()
    store.fails, store.pause = 0, 3600.0
    async with store:
        began = anyio.current_time()
        with pytest.raises(StageError, match="longer than 2 s; raise commit_timeout_s"):
            await pipeline(store, commit_timeout_s=2).run("hello")

    assert anyio.current_time() - began < 10


async def test_a_failing_commit_of_a_left_run_is_logged_without_what_was_said(caplog):
    """19.14: nobody is there to be told, so the log is; it repeats neither text nor messages."""
    store = Flaky()
    store.fails = 99
    async with store, pipeline(store, TextElement("a secret"), 5, answer()).execute("my secret") as run:
        async for _ in run:
            break

    assert "a cut turn could not be stored: StateError" in caplog.text
    assert "secret" not in caplog.text


async def test_log_mode_stores_each_message_as_soon_as_it_is_whole():
    """19.11: what a long turn has done is not lost with the process; the turn is cut until its end."""
    called = Message("assistant", [ToolCallPart("k", "find")], stop_reason="tool_calls")
    found = Message("tool", [ToolResultPart("k", "found")])
    async with MemoryStore() as store:
        script = (TurnStart(), MessageElement(called), 1, MessageElement(found), 1, answer(), 1)
        counts = []
        async with pipeline(store, *script, mode="log").execute("hello") as run:
            async for element in run:
                if isinstance(element, MessageElement):
                    (turn,) = (await store.load("c")).turns
                    counts.append((turn.status, len(turn.messages)))

        assert counts == [("cut", 2), ("cut", 3), ("cut", 4)]
        (turn,) = (await store.load("c")).turns
        assert (turn.status, len(turn.messages)) == ("whole", 4)


async def test_full_mode_stores_what_has_passed_in_the_place_of_all():
    """19.11: a stage between may change the history; without any history on its way nothing is forgotten."""

    class Shorten(BaseStage):
        async def process(self, input, output):
            history = []
            async for element in input:
                if isinstance(element, MessageElement) and element.metadata.get("history"):
                    history.append(element)
                    continue
                for kept in history[-1:]:
                    await output.send(kept)
                history = []
                await output.send(element)

    async with MemoryStore() as store:
        for number in range(3):
            await store.append(
                "c", Turn(f"t{number}", (Message("user", f"q{number}"), Message("assistant", f"a{number}")))
            )
        compact = PipelineBuilder().chain(
            StateStoreLoadStage(store, conversation="c"), Shorten(), StateStoreSaveStage(store, mode="full")
        )
        await compact.build().run([MessageElement(Message("assistant", "noted"))])
        assert await stored(store) == [("whole", "a2", "noted")]

        with pytest.raises(StageError, match="would forget the history"):
            await pipeline(store, mode="full").run("hello")
        assert await stored(store) == [("whole", "a2", "noted")]


async def test_finished_results_of_a_cut_turn_are_kept_and_open_calls_get_one():
    """19.13, agents' pain 12: what a tool has given is not done again; what is open is told as cancelled."""
    calls = Message("assistant", [ToolCallPart("a", "find"), ToolCallPart("b", "find")], stop_reason="tool_calls")
    async with MemoryStore() as store:
        script = (TurnStart(), MessageElement(calls), ToolResultElement("a", "find", "found"), 1, ValueError("broken"))
        with pytest.raises(StageError):
            await pipeline(store, *script).run("hello")

        (turn,) = (await store.load("c")).turns
        check_history(turn.messages)
        results = [(one.call_id, one.status, one.text) for one in turn.messages[-1].tool_results]
        assert results[0] == ("a", "ok", "found")
        assert results[1][:2] == ("b", "cancelled")


async def test_calls_that_wait_for_a_consent_stay_open_until_their_results_come():
    """19.13: the turn that brings the results is read with them in their place."""
    calls = Message("assistant", [ToolCallPart("a", "delete")], stop_reason="approval")

    class Asking(Model):
        async def process(self, input, output):
            async for _ in input:
                pass
            await output.send(MessageElement(calls))
            await output.send(TurnEnd(stop_reason="approval", pending=("a",)))

    async with MemoryStore() as store:
        await pipeline(store, model=Asking()).run("hello")
        (turn,) = (await store.load("c")).turns
        assert (turn.status, len(turn.messages)) == ("cut", 2)

        provider = ScriptedProvider()
        result = MessageElement(Message("tool", [ToolResultPart("a", "deleted")]))
        await pipeline(store, model=ProviderStage(provider)).run([result, TextElement("thanks")])
        roles = [message.role for message in provider.requests[0].messages]
        assert roles == ["user", "assistant", "tool", "user"]
        check_history(provider.requests[0].messages)


async def test_a_retracted_answer_is_not_stored():
    """19.11: after a `TurnReset` the fragments and messages before it were never said."""
    async with MemoryStore() as store:
        script = (TurnStart(), TextElement("wrong"), answer("wrong"), TurnReset(), *SPEAKS)
        await pipeline(store, *script).run("hello")
        with pytest.raises(StageError):
            await pipeline(store, TextElement("wrong"), TurnReset(), TextElement("Hi"), ValueError("broken")).run(
                "again"
            )

        assert await stored(store) == [("whole", "hello", "Hi!"), ("cut", "again", "Hi")]


async def test_a_turn_without_an_end_is_stored_at_the_end_of_the_input():
    """19.11: a pipeline that knows no turns has one."""
    async with MemoryStore() as store:
        await pipeline(store, answer(), "no end").run("hello")

        assert await stored(store) == [("whole", "hello", "Hi!")]


async def test_a_saving_stage_alone_stores_what_passes_it():
    """19.11: without a loading stage the messages of the user are those that pass."""
    async with MemoryStore() as store:
        chat = PipelineBuilder().chain(StateStoreSaveStage(store, conversation="c")).build()
        said = [MessageElement(Message("user", "hello")), answer(), TurnEnd()]
        result = await chat.run(said)

        assert await stored(store) == [("whole", "hello", "Hi!")]
        assert [type(one) for one in result.elements] == [MessageElement, MessageElement, TurnEnd]


async def test_a_loading_stage_alone_marks_the_history_and_waits_for_nobody():
    """19.12: the messages of the history say so, a cut one too, and the new ones keep their header."""
    async with MemoryStore() as store:
        await store.append("c", Turn("t", (Message("user", "q"), Message("assistant", "a")), "cut"))
        chat = PipelineBuilder().chain(StateStoreLoadStage(store, conversation="c", announces=False)).build()
        new = MessageElement(Message("user", "hello"), metadata=Metadata({"lang": "en"}))
        result = await chat.run([new, TurnEnd(), TextElement("more"), TurnEnd()])

        first = result.elements[:3]
        assert [(one.message.text, one.cut, dict(one.metadata)) for one in first] == [
            ("q", False, {"history": True}),
            ("a", True, {"history": True}),
            ("hello", False, {"lang": "en"}),
        ]
        assert not any(isinstance(one, TurnInput) for one in result.elements)
        assert len(result.elements) == 8


@pytest.mark.parametrize(
    ("last", "texts"), [(0, []), (1, ["a2"]), (3, ["a1", "q2", "a2"]), (99, ["q1", "a1", "q2", "a2"])]
)
async def test_the_last_messages_are_counted_in_messages(last, texts):
    """19.12: the store gives whole turns, the stage the number that was asked for."""
    async with MemoryStore() as store:
        for number in (1, 2):
            await store.append(
                "c", Turn(f"t{number}", (Message("user", f"q{number}"), Message("assistant", f"a{number}")))
            )
        model = Model(*SPEAKS)
        await pipeline(store, model=model, load={"last": last}).run("hello")

        assert model.read == [[*texts, "hello"]]


async def test_only_what_is_newer_than_a_revision_can_be_loaded():
    """19.12: a summary stands for what is older; a function is asked in each turn."""
    async with MemoryStore() as store:
        for number in (1, 2):
            await store.append("c", Turn(f"t{number}", (Message("user", f"q{number}"),)))
        model = Model(*SPEAKS)
        await pipeline(store, model=model, load={"since": lambda run: run.deps}).run("hello", deps=1)

        assert model.read == [["q2", "hello"]]


async def test_whose_turn_it_is_can_be_said_in_four_ways():
    """19.12: a constant, a function, the message's metadata, the run's deps; else a clear error."""
    async with MemoryStore() as store:

        def chat(given=None):
            return (
                PipelineBuilder()
                .chain(StateStoreLoadStage(store, conversation=given), Model(*SPEAKS), StateStoreSaveStage(store))
                .build()
            )

        class Deps:
            conversation = "by attribute"

        await chat("by constant").run("x")
        await chat(lambda run, first: f"by function {run.deps} {first.message.text}").run("x", deps=7)
        await chat().run(TextElement("x", metadata=Metadata({"conversation": "by metadata"})))
        await chat().run("x", deps={"conversation": "by key"})
        await chat().run("x", deps=Deps())
        with pytest.raises(StageError, match="nobody says which conversation"):
            await chat().run("x")

        found = {one.id for one in (await store.conversations()).conversations}
        assert found == {"by constant", "by function 7 x", "by metadata", "by key", "by attribute"}


async def test_the_runs_of_one_pipeline_and_their_conversations_do_not_mix():
    """19.12: many users at a time, each with a history of their own."""
    async with MemoryStore() as store:
        chat = (
            PipelineBuilder()
            .chain(StateStoreLoadStage(store), Model(TurnStart(), 0.1, answer()), StateStoreSaveStage(store))
            .build()
        )

        async def talk(user):
            for number in range(3):
                await chat.run(f"{user}{number}", deps={"conversation": user})

        async with anyio.create_task_group() as group:
            for user in "abcdefgh":
                group.start_soon(talk, user)

        for user in "abcdefgh":
            assert await stored(store, user) == [("whole", f"{user}{n}", "Hi!") for n in range(3)]


def test_a_store_can_be_a_resource_of_the_pipeline(tmp_path):
    """19.8: opened for its runs, also the blocking ones, and closed with it."""
    store = Resource(lambda: SQLiteStore(tmp_path / "chat.db", synchronous="normal"), name="store")
    model = Model(*SPEAKS)
    chat = pipeline(store, model=model)
    chat.execute_sync("one")
    chat.execute_sync("two")

    assert model.read == [["one"], ["one", "Hi!", "two"]]


WRONG = [
    (StateStoreLoadStage, {"conversation": 7}, "conversation"),
    (StateStoreLoadStage, {"last": -1}, "last"),
    (StateStoreLoadStage, {"since": "x"}, "since"),
    (StateStoreLoadStage, {"max_messages": 0}, "max_messages"),
    (StateStoreSaveStage, {"conversation": ""}, "conversation"),
    (StateStoreSaveStage, {"mode": "all"}, "mode"),
    (StateStoreSaveStage, {"cut": "keep"}, "cut"),
    (StateStoreSaveStage, {"mode": "log", "cut": "drop"}, "cut"),
    (StateStoreSaveStage, {"on_conflict": "win"}, "on_conflict"),
    (StateStoreSaveStage, {"mode": "full", "on_conflict": "append"}, "on_conflict"),
    (StateStoreSaveStage, {"commit_timeout_s": 0}, "commit_timeout_s"),
]


@pytest.mark.parametrize(
    ("kind", "options", "field"), WRONG, ids=[f"{place}-{one[2]}" for place, one in enumerate(WRONG)]
)
def test_a_wrong_option_is_refused_by_its_name(kind, options, field):
    """The style: in the constructor, not in a running task."""
    with pytest.raises(ConfigError) as caught:
        kind(MemoryStore(), **options)

    assert caught.value.field == field


async def test_a_turn_with_too_many_messages_is_a_clear_error():
    """19.12: what is held is bounded."""
    async with MemoryStore() as store:
        said = [MessageElement(Message("user", "x"))] * 3
        with pytest.raises(StageError, match="raise max_messages"):
            await pipeline(store, load={"max_messages": 2}).run(said)


async def test_a_commit_is_told_to_listeners_without_what_was_said():
    """19.14: an event says which turn of which conversation, and nothing of its content."""
    async with MemoryStore() as store:
        events = []
        built = PipelineBuilder().chain(
            StateStoreLoadStage(store, conversation="c"), Model(*SPEAKS), StateStoreSaveStage(store)
        )
        await built.on_event(events.append).build().run("my secret")

        (told,) = [event for event in events if event.name == "state.committed"]
        assert (told.data["conversation"], told.data["revision"], told.data["status"]) == ("c", 1, "whole")
        assert "secret" not in repr(events)
