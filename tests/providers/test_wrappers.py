"""Providers around providers: try again, ask another one, do not wait for ever. All in virtual time."""

import random
import weakref
from contextlib import aclosing

import anyio
import pytest
from model_memory import ASKED, answer_of, failure_of

from streamflow import MessageElement, PipelineBuilder
from streamflow.elements import Message, TextElement, TurnReset, Usage, UsageElement
from streamflow.errors import ConfigError, ProviderError, StageError
from streamflow.providers import FallbackProvider, ModelRequest, ProviderStage, RetryProvider, TimeoutProvider

BUSY = ProviderError("overloaded", "busy", True)
WRONG = ProviderError("bad_request", "wrong", False)


class Fake:
    """A provider that plays one list per call: elements are given, numbers are waited for, errors are raised."""

    def __init__(self, *calls, name: str = "fake") -> None:
        self.name = name
        self.calls = list(calls)
        self.asked: list[ModelRequest] = []
        self.closed = 0

    async def stream(self, request):
        self.asked.append(request)
        try:
            for step in self.calls.pop(0):
                await anyio.lowlevel.checkpoint()
                if isinstance(step, (int, float)):
                    await anyio.sleep(step)
                elif isinstance(step, ProviderError):
                    raise type(step)(*step.args)
                else:
                    yield step
        finally:
            self.closed += 1


def said(text: str, id: str = "a") -> list:
    """Return a whole answer."""
    return [TextElement(text, id=id), MessageElement(Message("assistant", text, id=id, stop_reason="stop"), id=id)]


READ = UsageElement(Usage(input_tokens=1))


async def test_a_call_that_fails_before_its_answer_is_made_again():
    """semantics 18.6: nothing of the attempt that failed has left, its usage neither."""
    fake = Fake([READ, BUSY], [BUSY], [READ, *said("yes")])

    assert await answer_of(RetryProvider(fake)) == [READ, *said("yes")]
    assert fake.closed == 3
    assert fake.asked == [ASKED] * 3


async def test_a_call_that_fails_in_its_answer_is_not_made_again():
    """semantics 18.6: trying again would say things twice."""
    fake = Fake([TextElement("a"), BUSY], said("no"))

    assert (await failure_of(RetryProvider(fake))).code == "overloaded"
    assert len(fake.asked) == 1


async def test_what_trying_again_cannot_mend_is_not_tried_again():
    """semantics 18.6: `ProviderError.retryable` says."""
    fake = Fake([WRONG], said("no"))

    assert (await failure_of(RetryProvider(fake))).code == "bad_request"
    assert len(fake.asked) == 1


async def test_attempts_have_a_bound_and_the_last_failure_counts():
    """semantics 18.6: `attempts`, the first included."""
    fake = Fake([BUSY], [ProviderError("rate_limited", "later", True)], said("no"))

    assert (await failure_of(RetryProvider(fake, attempts=2))).code == "rate_limited"
    assert len(fake.asked) == 2


async def test_waits_double_up_to_a_bound():
    """semantics 18.6: without chance, 1, 2, 4, 5, 5 seconds."""
    fake = Fake(*[[BUSY]] * 5, said("yes"))
    started = anyio.current_time()
    await answer_of(RetryProvider(fake, attempts=6, min_backoff_s=1, max_backoff_s=5, jitter=0))

    assert anyio.current_time() - started == pytest.approx(17)


async def test_chance_takes_its_part_of_each_wait():
    """semantics 18.6: full jitter, so that those who failed together do not come back together."""
    random.seed(3)
    waits = set()
    for _ in range(20):
        started = anyio.current_time()
        await answer_of(RetryProvider(Fake([BUSY], said("yes")), min_backoff_s=8))
        waits.add(anyio.current_time() - started)

    assert len(waits) == 20
    assert max(waits) <= 8
    assert min(waits) < 4 < max(waits)


@pytest.mark.parametrize(("asked_s", "calls"), [(20.0, 2), (31.0, 1)])
async def test_a_server_is_not_asked_before_it_says(asked_s, calls):
    """semantics 18.6: `Retry-After` is kept, and what asks for more than `max_backoff_s` is final."""
    fake = Fake([ProviderError("rate_limited", "later", True, asked_s)], said("yes"))
    started = anyio.current_time()
    if calls == 2:
        await answer_of(RetryProvider(fake))
    else:
        assert (await failure_of(RetryProvider(fake))).retry_after_s == asked_s

    assert len(fake.asked) == calls
    assert anyio.current_time() - started == pytest.approx(asked_s if calls == 2 else 0)


async def test_a_wait_can_be_cancelled():
    """semantics 18.6: nobody is asked after it."""
    fake = Fake([ProviderError("rate_limited", "later", True, 20.0)], said("no"))
    with anyio.move_on_after(10) as scope:
        await answer_of(RetryProvider(fake))

    assert scope.cancelled_caught
    assert len(fake.asked) == 1


async def test_the_next_provider_answers_when_the_first_cannot():
    """semantics 18.6: whatever the failure is; the name of a model is none of the others'."""
    first, second = Fake([READ, WRONG], name="one"), Fake(said("yes"), name="two")
    provider = FallbackProvider(first, second)

    assert await answer_of(provider) == said("yes")
    assert provider.name == "one"
    assert [first.asked[0].model, second.asked[0].model] == ["m", None]
    assert first.closed == 1


async def test_the_last_failure_is_the_failure_of_all():
    """semantics 18.6: nobody answers, and the error of who was asked last is raised."""
    assert (await failure_of(FallbackProvider(Fake([BUSY]), Fake([BUSY]), Fake([WRONG])))).code == "bad_request"


async def test_a_failure_may_be_none_to_hand_over_after():
    """semantics 18.6: `when` decides."""
    second = Fake(said("no"))
    provider = FallbackProvider(Fake([WRONG]), second, when=lambda failure: failure.code != "bad_request")

    assert (await failure_of(provider)).code == "bad_request"
    assert second.asked == []


@pytest.mark.parametrize("reset", [False, True])
async def test_in_the_middle_of_an_answer_it_fails_or_says_that_it_begins_anew(reset):
    """semantics 18.6: `TurnReset` goes only to who has said that it is understood."""
    second = Fake(said("yes", id="b"))
    provider = FallbackProvider(Fake([TextElement("no", id="a"), BUSY], name="one"), second, reset=reset)
    if reset:
        got = await answer_of(provider)
        assert got == [TextElement("no", id="a"), TurnReset("one: overloaded"), *said("yes", id="b")]
    else:
        assert (await failure_of(provider)).code == "overloaded"
        assert second.asked == []


async def test_an_answer_that_does_not_begin_is_given_up():
    """semantics 18.6: usage is no beginning."""
    fake = Fake([5, READ, 6, *said("late")])
    started = anyio.current_time()
    error = await failure_of(TimeoutProvider(fake, first_token_timeout_s=10))

    assert (error.code, error.retryable) == ("transport", True)
    assert "began no answer within 10 s; raise first_token_timeout_s" in str(error)
    assert anyio.current_time() - started == pytest.approx(10)
    assert fake.closed == 1


async def test_an_answer_that_stalls_is_given_up():
    """semantics 18.6: the pause before the first element is no stall."""
    fake = Fake([8, TextElement("a"), 4, TextElement("b"), 6, *said("late")])
    error = await failure_of(TimeoutProvider(fake, idle_timeout_s=5, first_token_timeout_s=9))

    assert "gave nothing for 5 s; raise idle_timeout_s" in str(error)


async def test_an_answer_that_goes_on_for_ever_is_given_up():
    """semantics 18.6: `timeout_s` is about the whole call."""
    error = await failure_of(TimeoutProvider(Fake([TextElement("a"), 4] * 10), idle_timeout_s=5, timeout_s=10))

    assert "did not finish within 10 s; raise timeout_s" in str(error)


async def test_a_slow_reader_is_not_the_provider_s_fault():
    """semantics 18.6: only waiting for the provider counts."""
    provider = TimeoutProvider(Fake(said("yes")), first_token_timeout_s=1, idle_timeout_s=1, timeout_s=1)
    async with aclosing(provider.stream(ASKED)) as stream:
        async for _ in stream:
            await anyio.sleep(5)


@pytest.mark.parametrize(
    "wrap", [RetryProvider, lambda one: FallbackProvider(one, Fake()), lambda one: TimeoutProvider(one, timeout_s=9)],
    ids=["retry", "fallback", "timeout"],
)  # fmt: skip
async def test_leaving_an_answer_ends_the_call_inside(wrap):
    """`Provider.stream` — Cancellation: the wrapped generator is closed, not left to the garbage collector."""
    fake = Fake([*said("a")[:1], 100])
    stream = wrap(fake).stream(ASKED)
    await anext(stream)
    await stream.aclose()
    assert fake.closed == 1

    fake = Fake([*said("a")[:1], 100])
    with anyio.move_on_after(1) as scope:
        await answer_of(wrap(fake))
    assert scope.cancelled_caught
    assert fake.closed == 1


async def test_listeners_are_told_of_each_retry_and_each_handover():
    """semantics 18.6: `model.retry` and `model.fallback`, in the run in which they happen."""
    seen = []
    fake = FallbackProvider(RetryProvider(Fake([BUSY], [BUSY], name="one"), attempts=2, jitter=0), Fake(said("yes")))
    builder = PipelineBuilder().chain(ProviderStage(fake))
    builder.on_event(lambda event: seen.append((event.name, event.data)) if event.name.startswith("model") else None)
    result = await builder.build().run(MessageElement(Message("user", "Hi")))

    assert result.response == "yes"
    assert [name for name, _ in seen] == ["model.retry", "model.fallback"]
    assert seen[0][1] == {"provider": "one", "code": "overloaded", "attempt": 2, "wait_s": 0.5}
    assert seen[1][1] == {"provider": "one", "code": "overloaded"}


async def test_what_is_not_the_provider_s_failure_passes_through():
    """semantics 18.6: a bug is no reason to try again."""

    class Broken(Fake):
        async def stream(self, request):
            self.asked.append(request)
            raise ZeroDivisionError
            yield

    broken = Broken()
    with pytest.raises(StageError) as caught:
        await (
            PipelineBuilder()
            .chain(ProviderStage(RetryProvider(broken)))
            .build()
            .run(MessageElement(Message("user", "Hi")))
        )

    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert len(broken.asked) == 1


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: RetryProvider(Fake(), attempts=0), "attempts"),
        (lambda: RetryProvider(Fake(), min_backoff_s=0), "min_backoff_s"),
        (lambda: RetryProvider(Fake(), min_backoff_s=2, max_backoff_s=1), "max_backoff_s"),
        (lambda: RetryProvider(Fake(), jitter=2), "jitter"),
        (lambda: FallbackProvider(Fake()), "others"),
        (lambda: TimeoutProvider(Fake()), "timeout_s"),
        (lambda: TimeoutProvider(Fake(), idle_timeout_s=0), "idle_timeout_s"),
        (lambda: TimeoutProvider(Fake(), timeout_s=float("nan")), "timeout_s: nan"),
    ],
    ids=["attempts", "min", "max", "jitter", "others", "none", "idle", "nan"],
)
def test_what_makes_no_sense_is_refused_at_once(make, field):
    """Wrong arguments fail in the constructor, by name."""
    with pytest.raises(ConfigError, match=field):
        make()


def test_their_reprs_show_what_is_inside():
    """For logs."""
    fake = Fake()
    inner = repr(fake)

    assert repr(RetryProvider(fake)) == f"<RetryProvider {inner} attempts=3>"
    assert repr(FallbackProvider(fake, fake)) == f"<FallbackProvider {inner}, {inner}>"
    assert repr(TimeoutProvider(fake, timeout_s=1)) == f"<TimeoutProvider {inner}>"


@pytest.mark.usefixtures("no_gc")
@pytest.mark.parametrize("make", [RetryProvider, lambda fake: FallbackProvider(fake, Fake([WRONG]))])
async def test_a_failure_is_not_kept_by_its_own_traceback(make):
    """semantics 18.6: with a failure that outlives its call, the request and all its messages would."""
    left: list[weakref.ref[ProviderError]] = []
    async with aclosing(make(Fake([WRONG])).stream(ASKED)) as answer:
        try:
            await anext(answer)
        except ProviderError as failure:
            left.append(weakref.ref(failure))

    assert [one() for one in left] == [None]
