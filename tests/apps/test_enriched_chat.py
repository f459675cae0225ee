"""Row C6: route, profile and memory at the same time, joined before the model, which never waits longer than it is told."""

from __future__ import annotations

from collections.abc import Mapping

import anyio
import pytest

from streamflow import (
    ConfigError,
    Event,
    Message,
    MessageElement,
    Metadata,
    TextElement,
    TurnEnd,
    current_run,
)
from streamflow.apps import ChatSession, EnrichStage, enriched_chat_pipeline, enriched_system
from streamflow.providers import ScriptedProvider
from streamflow.testing import assert_all_stages_stopped, run_stage

SECRET = "password: 1234"
PROFILE = {"display_name": "Ada", "goals": ["learn", "ship", "rest", "more"]}
MEMORY = {"recent_topics": ["Rust", "tea"]}
FULL = "You are a helpful AI assistant. You're talking to Ada. Their goals: learn, ship, rest Recent topics: Rust, tea"
BARE = "You are a helpful AI assistant."


class Service:
    """Knows one thing, after a while."""

    def __init__(self, found: object, *, after_s: float = 0.0, error: Exception | None = None) -> None:
        self.found, self.after_s, self.error = found, after_s, error
        self.asked: list[str] = []
        self.ended = 0

    async def enrich(self, said: MessageElement) -> Mapping[str, object] | None:
        self.asked.append(said.message.text)
        try:
            await anyio.sleep(self.after_s)
        finally:
            self.ended += 1
        if self.error is not None:
            raise self.error
        return self.found  # type: ignore[return-value]


def system_of(provider: ScriptedProvider, call: int = 0) -> str:
    return provider.requests[call].messages[0].text


async def test_c6_branches_work_at_the_same_time_and_the_model_waits_for_all_of_them() -> None:
    """C6: 3 s and 2 s are 3 s together; the model is asked behind both; the prompt is the seed's, letter by letter."""
    provider = ScriptedProvider()
    began = anyio.current_time()
    profile, memory = Service(PROFILE, after_s=3), Service(MEMORY, after_s=2)

    result = await enriched_chat_pipeline(provider, profile=profile, memory=memory, enrich_timeout_s=10).run(
        "I need help"
    )

    assert anyio.current_time() - began == 3
    assert [(one.role, one.text) for one in provider.requests[0].messages] == [
        ("system", FULL),
        ("user", "I need help"),
    ]
    assert profile.asked == memory.asked == ["I need help"]
    assert result.errors == ()
    assert result.response == "You said: I need help"


@pytest.mark.parametrize(
    ("profile", "memory", "code", "kind"),
    [
        (Service(PROFILE, after_s=3600), Service(MEMORY), "enrichment_timeout", None),
        (Service(PROFILE, error=ValueError(SECRET)), Service(MEMORY), "enrichment_failed", "ValueError"),
        (Service(PROFILE, error=TimeoutError()), Service(MEMORY), "enrichment_failed", "TimeoutError"),
        (Service(["no", "mapping"]), Service(MEMORY), "enrichment_invalid", None),
        (Service({"big": "x" * 100_000}), Service(MEMORY), "enrichment_invalid", None),
        (Service({"object": object()}), Service(MEMORY), "enrichment_invalid", None),
    ],
)
async def test_c6_the_answer_does_without_a_service_that_is_slow_or_fails(
    profile: Service, memory: Service, code: str, kind: str | None
) -> None:
    """C6: a limit of time; what is missing is told as an element and an event, with the class and not the words of the error."""
    provider = ScriptedProvider()
    heard: list[Event] = []
    began = anyio.current_time()

    pipeline = enriched_chat_pipeline(
        provider, profile=profile, memory=memory, enrich_timeout_s=2, listeners=[heard.append]
    )
    result = await pipeline.run("hi")

    assert system_of(provider) == f"{BARE} Recent topics: Rust, tea"
    (error,) = result.errors
    assert (error.code, error.stage, error.fatal) == (code, "profile", False)
    assert SECRET not in repr(result.elements)
    (told,) = [one for one in heard if one.name == "enrichment.skipped"]
    assert told.data == {"reason": code.removeprefix("enrichment_"), "error": kind}
    assert anyio.current_time() - began == (2 if code == "enrichment_timeout" else 0)
    assert profile.ended == len(profile.asked)


async def test_c6_a_history_longer_than_any_edge_does_not_stop_the_join() -> None:
    """C6: profile and memory say nothing until the turn ends, while the messages fill every edge: nobody waits for ever."""
    provider = ScriptedProvider()
    history = [MessageElement(Message("user" if n % 2 == 0 else "assistant", f"m{n}")) for n in range(200)]
    profile = Service(PROFILE, after_s=1)

    pipeline = enriched_chat_pipeline(provider, profile=profile, memory=Service(None))
    await pipeline.run([*history, TextElement("and now?")])

    assert profile.asked == ["and now?"]
    assert [one.text for one in provider.requests[0].messages[1:]] == [*(f"m{n}" for n in range(190, 200)), "and now?"]


async def test_c6_each_turn_is_enriched_anew_and_nothing_of_one_falls_into_the_next() -> None:
    """C6: several turns in one run; what was known of the first user is not told of the second."""
    provider = ScriptedProvider()

    async def profile(said: MessageElement) -> Mapping[str, str] | None:
        user = said.metadata.get("user")
        return {"display_name": str(user)} if user else None

    def said(text: str, **metadata: str) -> MessageElement:
        return MessageElement(Message("user", text), metadata=Metadata(metadata))

    source = [said("a", user="Ada"), TurnEnd(), said("b"), TurnEnd(), said("c", user="Cy"), TurnEnd()]
    result = await enriched_chat_pipeline(provider, profile=profile, memory=Service({})).run(source)

    assert [system_of(provider, call) for call in range(3)] == [
        f"{BARE} You're talking to Ada.",
        BARE,
        f"{BARE} You're talking to Cy.",
    ]
    assert [one.index for one in result.elements if isinstance(one, TurnEnd)] == [0, 1, 2]


async def test_c6_a_session_and_the_runs_dependencies_reach_the_services() -> None:
    """C6: with a history; `current_run().deps` says who it is."""
    provider = ScriptedProvider()

    async def profile(said: MessageElement) -> Mapping[str, object]:
        return {"display_name": current_run().deps}

    session = ChatSession(enriched_chat_pipeline(provider, profile=profile, memory=Service(MEMORY)))
    for text in ("one", "two"):
        async with session.reply(text, deps="Bo") as reply:
            assert (await reply.response()).content == f"You said: {text}"

    assert len(session.history) == 4
    assert system_of(provider, 1) == f"{BARE} You're talking to Bo. Recent topics: Rust, tea"
    assert len(provider.requests[1].messages) == 4


async def test_c6_who_leaves_cancels_the_services() -> None:
    """C6: cancelled in the middle of the enrichment, both calls end and the model is not asked."""
    provider, profile, memory = ScriptedProvider(), Service(None, after_s=3600), Service(None, after_s=3600)

    with anyio.move_on_after(1):
        await enriched_chat_pipeline(provider, profile=profile, memory=memory, enrich_timeout_s=9999).run("hi")

    assert (profile.ended, memory.ended, provider.calls) == (1, 1, 0)
    await assert_all_stages_stopped()


@pytest.mark.parametrize(
    ("profile", "memory", "system"),
    [
        ({}, {}, BARE),
        ({"display_name": ""}, {"recent_topics": []}, BARE),
        ({"display_name": 7, "goals": "learn"}, {"recent_topics": [1, "tea"]}, f"{BARE} Recent topics: tea"),
        (PROFILE, MEMORY, FULL),
    ],
)
def test_c6_the_system_message_is_the_seeds_and_leaves_out_what_is_not_there(
    profile: Mapping[str, object], memory: Mapping[str, object], system: str
) -> None:
    """C6: three goals, three topics; a single text is no list of letters, which the original made of it."""
    assert enriched_system("general", profile, memory) == system  # type: ignore[arg-type]


async def test_a_service_is_not_asked_where_the_user_says_nothing() -> None:
    """`EnrichStage` Out: at capacity 1, an empty input, a turn without a user, and one with one."""
    service = Service(PROFILE)
    stage = EnrichStage(service, name="profile")

    assert await run_stage(stage, [], capacity=1) == []
    assert await run_stage(EnrichStage(service, name="profile"), [TurnEnd()]) == [TurnEnd()]
    assert service.asked == []


def test_what_is_no_service_is_refused_where_the_pipeline_is_made() -> None:
    """The field is named: `profile`, `memory`, `system`, `timeout_s`."""

    class Blocking:
        def enrich(self, said: MessageElement) -> None: ...

    good = Service(None)
    for field, options in {
        "profile": {"profile": Blocking(), "memory": good},
        "memory": {"profile": good, "memory": "redis://"},
        "system": {"profile": good, "memory": good, "system": "Be kind."},
        "timeout_s": {"profile": good, "memory": good, "enrich_timeout_s": 0},
    }.items():
        with pytest.raises(ConfigError) as caught:
            enriched_chat_pipeline(ScriptedProvider(), **options)  # type: ignore[arg-type]
        assert caught.value.field == field
