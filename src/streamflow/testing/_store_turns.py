"""Rules of what is stored: turns as units, in order, compared and set, never doubled, never half.

Above: `_check_store`, which loads them. Below: `_store_case`.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

import anyio

from ..elements import ImagePart, Message
from ..errors import StateConflictError, StreamflowError
from ..state import StoreLimits, Turn
from ._conformance import rule
from ._store_cancel import cancelled_at
from ._store_case import RICH, StoreTrial, fresh, opened, said, turn_of

if TYPE_CHECKING:
    from ..state import StateStore

__all__: list[str] = []

_WRITERS: Final = 50
_TICKS: Final = 12


@rule("ST-01", "What is loaded is what was appended, in the order of the commits.", holds="19.1", subject="store")
async def _order(trial: StoreTrial) -> None:
    async with opened(trial) as store:
        talk = fresh()
        trial.given("a conversation that does not exist")
        nothing = await store.load(talk)
        trial.require((nothing.revision, nothing.turns) == (0, ()), f"it was loaded as {nothing!r:.200}")
        trial.require(await store.info(talk) is None, "info() knows it")
        for number in range(1, 6):
            trial.given(f"turn {number} of 5 turns that are appended one after the other")
            revision = await store.append(talk, Turn(f"t{number}", said(f"q{number}", f"a{number}")))
            trial.require(revision == number, f"its revision was {revision}")
        history = await store.load(talk)
        ids = [turn.id for turn in history.turns]
        trial.require(ids == ["t1", "t2", "t3", "t4", "t5"], f"the turns came as {ids}")
        texts = [message.text for message in history.messages]
        trial.require(texts == [f"{who}{n}" for n in range(1, 6) for who in "qa"], f"the messages came as {texts}")
        revisions = [turn.revision for turn in history.turns]
        trial.require((history.revision, revisions) == (5, [1, 2, 3, 4, 5]), f"the revisions were {revisions}")
        told = await store.info(talk)
        counts = None if told is None else (told.revision, told.turns, told.messages)
        trial.require(counts == (5, 5, 10), f"info() counted {counts}")


@rule(
    "ST-02",
    "Messages come back as they were: text of all kinds, parts, bytes, large ones.",
    holds="19.5",
    subject="store",
)
async def _fidelity(trial: StoreTrial) -> None:
    large = (
        Message("user", [ImagePart(data=bytes(range(256)) * 1024, mime="image/png")]),
        Message("assistant", "x" * 300_000),
    )
    async with opened(trial) as store:
        for what, messages in (
            ("a tool call, empty and strange text", RICH),
            ("256 KiB of bytes, 300,000 letters", large),
        ):
            trial.given(what)
            talk = fresh("größe/✓ 'quoted\" %s ? {}")
            await store.append(talk, Turn("ü" * 10 + "'; --", messages, "cut"))
            (turn,) = (await store.load(talk)).turns
            trial.require(turn.messages == messages, f"came back as {turn.messages!r:.300}")
            trial.require(
                (turn.id, turn.status) == ("ü" * 10 + "'; --", "cut"), f"came back as {turn.id!r}, {turn.status}"
            )


@rule("ST-03", "Of two writers on one revision one wins, and the other is told who.", holds="19.2", subject="store")
async def _compare_and_set(trial: StoreTrial) -> None:
    async with opened(trial) as store:
        talk = fresh()
        trial.given("two writers that have both seen revision 0")
        await store.append(talk, turn_of("first"), expected=0)
        error = await _conflict(trial, store, talk, turn_of("second"), 0)
        trial.require((error.expected, error.actual) == (0, 1), f"was told {error.expected}, {error.actual}")
        trial.require(error.winner == "first", f"was told that {error.winner!r} won")
        trial.given("a writer that has seen a revision which there is not yet")
        await _conflict(trial, store, talk, turn_of("third"), 7)
        trial.given("one that does not care")
        trial.require(await store.append(talk, turn_of("fourth")) == 2, "was not appended behind")
        ids = [turn.id for turn in (await store.load(talk)).turns]
        trial.require(ids == ["first", "fourth"], f"there are {ids}")


@rule(
    "ST-04",
    "Of many writers at a time exactly one wins each revision, and no turn is lost.",
    holds="19.2",
    subject="store",
)
async def _many_writers(trial: StoreTrial) -> None:
    async with opened(trial) as store:
        talk, won, lost = fresh(), list[str](), list[str]()
        trial.given(f"{_WRITERS} writers that have all seen revision 0")

        async def write(id: str) -> None:
            try:
                await store.append(talk, turn_of(id), expected=0)
                won.append(id)
            except StateConflictError:
                lost.append(id)

        async with anyio.create_task_group() as group:
            for number in range(_WRITERS):
                group.start_soon(write, f"w{number}")
        trial.require((len(won), len(lost)) == (1, _WRITERS - 1), f"{len(won)} won, {len(lost)} were told")
        ids = [turn.id for turn in (await store.load(talk)).turns]
        trial.require(ids == won, f"there are {ids}, and {won} won")

        talk = fresh()
        trial.given(f"{_WRITERS} writers that do not care")
        async with anyio.create_task_group() as group:
            for number in range(_WRITERS):
                group.start_soon(store.append, talk, turn_of(f"w{number}"))
        history = await store.load(talk)
        trial.require({turn.id for turn in history.turns} == {f"w{n}" for n in range(_WRITERS)}, "a turn was lost")
        revisions = [turn.revision for turn in history.turns]
        trial.require(revisions == list(range(1, _WRITERS + 1)), f"the revisions were {revisions}")


@rule(
    "ST-05",
    "A turn that is appended again is not doubled, and its id belongs to it alone.",
    holds="19.3",
    subject="store",
)
async def _idempotent(trial: StoreTrial) -> None:
    async with opened(trial) as store:
        talk, turn = fresh(), turn_of("t1", "q", "a")
        await store.append(talk, turn, expected=0)
        await store.append(talk, turn_of("t2"))
        for expected in (None, 0, 1):
            trial.given(f"the same turn again, expected={expected}")
            revision = await store.append(talk, turn, expected=expected)
            trial.require(revision == 1, f"its revision was {revision}")
        history = await store.load(talk)
        trial.require([one.id for one in history.turns] == ["t1", "t2"], "it is there twice")
        trial.given("another turn of the same id")
        await _conflict(trial, store, talk, turn_of("t1", "q", "something else"), None)
        trial.require(await store.load(talk) == history, "the refused turn changed what is stored")
        trial.given("find()")
        found = await store.find(talk, "t1")
        trial.require(found == history.turns[0], f"find() gave {found!r:.200}")
        trial.require(await store.find(talk, "t9") is None, "find() gave a turn that is not there")
        trial.require(await store.find(fresh(), "t1") is None, "find() gave a turn of another conversation")


@rule("ST-06", "The newest turn can be continued while it is cut, and no other.", holds="19.3", subject="store")
async def _continued(trial: StoreTrial) -> None:
    async with opened(trial) as store:
        talk = fresh()
        await store.append(talk, turn_of("t1", "q1", "a1"))
        await store.append(talk, turn_of("t2", "q2", status="cut"))
        trial.given("a cut turn, and one of the same id that begins with its messages")
        revision = await store.append(talk, turn_of("t2", "q2", "a2"), expected=2)
        trial.require(revision == 3, f"its revision was {revision}")
        history = await store.load(talk)
        told = [(turn.id, turn.status, len(turn.messages), turn.revision) for turn in history.turns]
        trial.require(told == [("t1", "whole", 2, 1), ("t2", "whole", 2, 3)], f"there are {told}")
        info = await store.info(talk)
        trial.require(info is not None and (info.turns, info.messages) == (2, 4), f"info() counted {info}")
        trial.given("its beginning, which comes late")
        trial.require(await store.append(talk, turn_of("t2", "q2", status="cut")) == 3, "was not known as stored")
        trial.given("a longer one, when it is whole")
        await _conflict(trial, store, talk, turn_of("t2", "q2", "a2", "q"), None)
        trial.given("a cut turn, continued by somebody who has seen an older revision")
        await store.append(talk, turn_of("t3", "q3", status="cut"))
        await _conflict(trial, store, talk, turn_of("t3", "q3", "a3"), 3)
        trial.given("a cut turn with another one behind it")
        await store.append(talk, turn_of("t4"))
        await _conflict(trial, store, talk, turn_of("t3", "q3", "a3"), None)


@rule(
    "ST-07",
    "A cancelled append is done or is not, never a part of it, and asking again mends it.",
    holds="19.4",
    subject="store",
)
async def _cancelled(trial: StoreTrial) -> None:
    async with opened(trial) as store:
        for how in ("scope", "native") if trial.variant.backend == "asyncio" else ("scope",):
            talk = fresh()
            for tick in range(_TICKS):
                trial.given(f"an append that is cancelled ({how}) after {tick} rounds of the event loop")
                turn = turn_of(f"t{tick}", "q", "a")
                await cancelled_at(tick, functools.partial(store.append, talk, turn), how=how)
                found = await store.find(talk, turn.id)
                trial.require(found is None or found.messages == turn.messages, f"half of it is there: {found!r:.200}")
                revision = await store.append(talk, turn)
                trial.require(revision == tick + 1, f"asking again gave revision {revision}, not {tick + 1}")
            history = await store.load(talk)
            trial.require(len(history.turns) == _TICKS, f"{_TICKS} turns were appended, {len(history.turns)} are there")


@rule("ST-08", "The last messages, and those since a revision, come in whole turns.", holds="19.5", subject="store")
async def _window(trial: StoreTrial) -> None:
    async with opened(trial) as store:
        talk = fresh()
        for number in range(1, 5):
            await store.append(talk, turn_of(f"t{number}", "q", "a"))
        for last, wanted in ((0, 0), (1, 1), (2, 1), (3, 2), (8, 4), (99, 4)):
            trial.given(f"last={last} of 4 turns of 2 messages")
            history = await store.load(talk, last=last)
            ids = [turn.id for turn in history.turns]
            trial.require(ids == ["t1", "t2", "t3", "t4"][4 - wanted :], f"there came {ids}")
            trial.require(history.revision == 4, f"the revision was {history.revision}")
        for since, wanted in ((0, 4), (2, 2), (4, 0), (9, 0)):
            trial.given(f"since={since} of 4 turns")
            count = len((await store.load(talk, since=since)).turns)
            trial.require(count == wanted, f"there came {count}")
        trial.given("both")
        ids = [turn.id for turn in (await store.load(talk, last=3, since=3)).turns]
        trial.require(ids == ["t4"], f"there came {ids}")


@rule("ST-09", "A replacement takes the place of all turns, as a unit.", holds="19.1", subject="store")
async def _replaced(trial: StoreTrial) -> None:
    async with opened(trial) as store:
        talk = fresh()
        for number in range(1, 4):
            await store.append(talk, turn_of(f"t{number}"))
        trial.given("3 turns that 2 others replace")
        revision = await store.replace(talk, (turn_of("n1"), turn_of("n2", "q", "a")), expected=3)
        history = await store.load(talk)
        trial.require((revision, history.revision) == (4, 4), f"the revision was {revision}")
        trial.require([turn.id for turn in history.turns] == ["n1", "n2"], "others are there")
        trial.given("a writer that has seen an older revision")
        try:
            await store.replace(talk, (), expected=3)
        except StateConflictError:
            pass
        else:
            trial.require(False, "it replaced what it had not seen")
        trial.require(await store.load(talk) == history, "the refused replacement changed what is stored")
        trial.given("nothing in the place of all")
        await store.replace(talk, ())
        trial.require((await store.load(talk)).turns == (), "something is left")
        await store.append(talk, turn_of("t1"), expected=5)


@rule(
    "ST-10",
    "What is too large is refused by the name of its limit, and changes nothing.",
    holds="19.5",
    subject="store",
)
async def _limits(trial: StoreTrial) -> None:
    limits = StoreLimits(
        max_message_bytes=400, max_turn_messages=3, max_turn_bytes=900, max_load_messages=4, max_document_bytes=100
    )
    try:
        store = trial.subject.factory(limits=limits)
    except TypeError:
        trial.skip("the factory takes no limits=")
    async with store:
        talk = fresh()
        await store.append(talk, turn_of("t1"))
        for what, turn, name in (
            ("a large message", turn_of("t2", "x" * 500), "max_message_bytes"),
            ("many messages", turn_of("t2", "q", "a", "q", "a"), "max_turn_messages"),
            ("a large turn", turn_of("t2", *["x" * 300] * 3), "max_turn_bytes"),
        ):
            trial.given(what)
            await _refused(trial, store.append(talk, turn), name)
        trial.given("a large document")
        await _refused(trial, store.put(fresh(), "x" * 200), "max_document_bytes")
        trial.require([turn.id for turn in (await store.load(talk)).turns] == ["t1"], "something of it was stored")
        trial.given("5 messages, of which 4 may be loaded")
        for number in range(2, 6):
            await store.append(talk, turn_of(f"t{number}"))
        await _refused(trial, store.load(talk), "max_load_messages")
        trial.require(len((await store.load(talk, last=4)).turns) == 4, "4 of them could not be loaded")
        trial.given("ids that are none")
        for id in ("", "x" * 300, "a\x00b", "a\nb"):
            await _refused(trial, store.append(id, turn_of("t")), "conversation")
        await _refused(trial, store.append(talk, Turn("t", ())), "messages")


async def _conflict(
    trial: StoreTrial, store: StateStore, talk: str, turn: Turn, expected: int | None
) -> StateConflictError:
    try:
        revision = await store.append(talk, turn, expected=expected)
    except StateConflictError as error:
        trial.require(error.key == talk, f"the error is about {error.key!r}")
        return error
    message = f"turn {turn.id!r} was stored as revision {revision}, and should have been refused"
    raise AssertionError(message)


async def _refused(trial: StoreTrial, call: object, word: str) -> None:
    try:
        await call  # type: ignore[misc]
    except StreamflowError as error:
        trial.require(word in str(error), f"the error does not name {word}: {error}")
        return
    trial.require(False, "it was not refused")
