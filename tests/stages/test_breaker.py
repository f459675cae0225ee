"""`CircuitBreaker` and `CircuitBreakerStage`: when nobody is asked, and when somebody is again."""

from __future__ import annotations

from collections.abc import Iterable

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streamflow import (
    ConfigError,
    ErrorElement,
    Event,
    PipelineBuilder,
    PipelineConfig,
    StageError,
    StreamElement,
    TextElement,
    stage,
)
from streamflow.errors import CircuitOpenError
from streamflow.stages import CircuitBreaker, CircuitBreakerStage
from streamflow.testing import run_stage, run_virtual


class BoomError(Exception):
    """What the service of these tests raises."""


class RefusedError(Exception):
    """What is no fault of the service."""


class Service:
    """Works, fails or takes its time as the text says, and counts who asks."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def __call__(self, element: TextElement) -> TextElement:
        self.asked.append(element.text)
        word, _, wait = element.text.partition(" ")
        await anyio.sleep(float(wait or 0))
        if word == "fail":
            raise BoomError
        if word == "refuse":
            raise RefusedError
        return TextElement("ok")


def guarded(service: Service, breaker: CircuitBreaker | None = None, **options: object) -> CircuitBreakerStage:
    return CircuitBreakerStage(stage(name="service")(service.__call__), breaker, **options)  # type: ignore[arg-type]


def words(elements: Iterable[StreamElement]) -> list[str]:
    return [one.code if isinstance(one, ErrorElement) else "ok" for one in elements]


async def test_it_opens_after_failures_and_closes_after_a_probe() -> None:
    """semantics 3.9: closed, open, half-open; while it is open the service is left alone; each change is told once."""
    told: list[str] = []

    def note(event: Event) -> None:
        if event.name.startswith("circuit."):
            told.append(f"{event.name} {event.data['circuit']}")

    service, breaker = Service(), CircuitBreaker(failures=2, window_s=60, open_s=10, name="service")
    outer = guarded(service, breaker, on_open="end_turn")
    pipeline = PipelineBuilder(PipelineConfig(timeout_s=600)).on_event(note).chain(outer).build()

    async def ask(*texts: str) -> list[str]:
        return words((await pipeline.run(texts)).elements)

    assert await ask("work", "fail", "work", "fail", "work") == [
        "ok",
        "stage_failed",
        "ok",
        "stage_failed",
        "circuit_open",
    ]
    assert breaker.state == "open"
    await anyio.sleep(9)
    assert await ask("work") == ["circuit_open"]
    await anyio.sleep(1)
    assert await ask("fail", "work") == ["stage_failed", "circuit_open"]
    await anyio.sleep(10)
    assert await ask("work", "fail", "work") == ["ok", "stage_failed", "ok"]
    assert len(service.asked) == 8
    assert told == [f"circuit.{what} service" for what in ("opened", "half_open", "opened", "half_open", "closed")]


async def test_while_it_is_open_a_stage_around_it_learns_of_it_at_once() -> None:
    """semantics 3.9: an error with the stage and how long it will be; the failure itself is the cause of its own run's."""
    service = Service()
    outer = guarded(service, CircuitBreaker(failures=1, open_s=10))
    with pytest.raises(StageError) as caught:
        await run_stage(outer, ["fail"])
    assert isinstance(caught.value.__cause__, BoomError)
    await anyio.sleep(4)

    with pytest.raises(StageError) as caught:
        await run_stage(outer, ["work"])

    cause = caught.value.__cause__
    assert isinstance(cause, CircuitOpenError)
    assert (cause.stage, cause.retry_after_s) == ("circuit_breaker/service", pytest.approx(6))
    assert service.asked == ["fail"]


async def test_its_notice_says_what_it_was() -> None:
    """semantics 3.9, 1.5: the code and text of the error element are those of the refusal, and those of a failure say no text."""
    outer = guarded(Service(), CircuitBreaker(failures=1, open_s=10), on_open="end_turn")
    failed, refused = await run_stage(outer, ["fail", "work"])

    assert isinstance(failed, ErrorElement)
    assert (failed.code, failed.message) == ("stage_failed", "stage 'circuit_breaker' failed: BoomError")
    assert isinstance(refused, ErrorElement)
    assert refused.code == "circuit_open"
    assert refused.retryable


async def test_only_as_many_probes_as_allowed_go_through_at_a_time() -> None:
    """semantics 3.9: half open it lets probes through and nobody else; all must succeed."""
    breaker = CircuitBreaker(failures=1, open_s=1, probes=2)
    first = breaker.enter()
    assert first is not None
    first.failed()
    assert breaker.enter() is None
    assert breaker.retry_after_s() == 1
    await anyio.sleep(1)
    probes = [breaker.enter() for _ in range(3)]
    assert [probe is not None for probe in probes] == [True, True, False]
    assert breaker.state == "half_open"
    assert breaker.retry_after_s() == 0
    for probe in probes[:2]:
        assert probe is not None
        assert breaker.state == "half_open"
        probe.succeeded()
    assert breaker.state == "closed"


async def test_a_probe_that_ends_without_an_outcome_makes_room_for_another() -> None:
    """semantics 3.9: a call that is cancelled with its run counts neither way."""
    service, breaker = Service(), CircuitBreaker(failures=1, open_s=1)
    outer = guarded(service, breaker, on_open="end_turn")
    await run_stage(outer, ["fail"])
    await anyio.sleep(1)
    pipeline = PipelineBuilder().chain(outer).build()
    async with pipeline.execute("work 50"):
        await anyio.sleep(5)
        assert breaker.state == "half_open"
        assert breaker.enter() is None

    assert breaker.state == "half_open"
    assert words(await run_stage(outer, ["work"])) == ["ok"]
    assert breaker.state == "closed"


async def test_what_was_begun_in_an_earlier_state_says_nothing_about_this_one() -> None:
    """semantics 3.9: a slow success from before does not close it, a slow failure does not open it again."""
    breaker = CircuitBreaker(failures=1, open_s=1)
    old, older, bad = breaker.enter(), breaker.enter(), breaker.enter()
    assert old is not None
    assert older is not None
    assert bad is not None
    bad.failed()
    old.succeeded()
    assert breaker.state == "open"
    breaker.reset()
    older.failed()
    assert breaker.state == "closed"
    assert repr(breaker) == "<CircuitBreaker 'circuit' closed>"


async def test_failures_that_do_not_count_are_answers() -> None:
    """semantics 3.9: a request that is refused is no fault of the service."""
    for counts in (BoomError, (BoomError, OSError), lambda error: isinstance(error, BoomError)):
        breaker = CircuitBreaker(failures=2)
        outer = guarded(Service(), breaker, counts=counts, on_open="end_turn")
        await run_stage(outer, ["refuse"] * 9)
        assert breaker.state == "closed"
        await run_stage(outer, ["fail"] * 2)
        assert breaker.state == "open"


async def test_stages_that_share_one_share_what_it_knows() -> None:
    """semantics 3.9: it protects a service, whoever asks; one that is not given is the stage's own."""
    breaker = CircuitBreaker(failures=1)
    one, other, alone = guarded(Service(), breaker), guarded(Service(), breaker), guarded(Service())
    with pytest.raises(StageError):
        await run_stage(one, ["fail"])

    with pytest.raises(StageError, match="CircuitOpenError"):
        await run_stage(other, ["work"])
    assert words(await run_stage(alone, ["work"])) == ["ok"]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_it_goes_on_from_one_event_loop_to_the_next(backend: str) -> None:
    """semantics 3.9: blocking calls have a loop each, whose clocks begin anywhere; what it knows stays."""
    breaker = CircuitBreaker(failures=1, open_s=1000)

    async def fail() -> None:
        await anyio.sleep(5000)
        call = breaker.enter()
        assert call is not None
        call.failed()

    async def ask() -> tuple[bool, bool]:
        refused = breaker.enter() is None
        await anyio.sleep(1001)
        return refused, breaker.enter() is None

    run_virtual(fail, backend=backend)  # type: ignore[arg-type]
    assert run_virtual(ask, backend=backend) == (True, False)  # type: ignore[arg-type]


class Clock:
    """Time is a number."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time


class BreakerModel(RuleBasedStateMachine):
    """The breaker against a plain account of what it promises."""

    @initialize(failures=st.integers(1, 3), probes=st.integers(1, 3))
    def begin(self, failures: int, probes: int) -> None:
        self.clock = Clock()
        self.failures, self.probes = failures, probes
        self.breaker = CircuitBreaker(failures=failures, window_s=10, open_s=5, probes=probes)
        self.breaker._clock = self.clock  # type: ignore[assignment]
        self.calls: list[tuple[object, int]] = []
        self.epoch, self.state, self.opened, self.failed = 0, "closed", 0.0, []
        self.asking = self.succeeded = 0

    def change(self, state: str) -> None:
        self.state, self.epoch = state, self.epoch + 1
        self.asking = self.succeeded = 0
        self.failed, self.opened = [], self.clock.time

    @rule(seconds=st.sampled_from([1, 3, 5, 10]))
    def wait(self, seconds: int) -> None:
        self.clock.time += seconds

    @rule()
    def enter(self) -> None:
        if self.state == "open" and self.clock.time - self.opened >= 5:
            self.change("half_open")
        may = self.state == "closed" or (self.state == "half_open" and self.asking + self.succeeded < self.probes)
        call = self.breaker.enter()
        assert (call is not None) == may
        if call is not None:
            self.asking += self.state == "half_open"
            self.calls.append((call, self.epoch))

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), outcome=st.sampled_from(["succeeded", "failed", "nothing"]))
    def leave(self, data: st.DataObject, outcome: str) -> None:
        call, epoch = self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))
        if outcome != "nothing":
            getattr(call, outcome)()
        with call:  # type: ignore[attr-defined]
            pass
        if epoch != self.epoch:
            return
        if self.state == "half_open":
            self.asking -= 1
            self.succeeded += outcome == "succeeded"
            if outcome == "failed":
                self.change("open")
            elif self.succeeded == self.probes:
                self.change("closed")
        elif outcome == "failed":
            self.failed.append(self.clock.time)
            if sum(at > self.clock.time - 10 for at in self.failed) >= self.failures:
                self.change("open")

    @invariant()
    def agrees(self) -> None:
        assert not hasattr(self, "state") or self.breaker.state == self.state


class TestBreaker(BreakerModel.TestCase):
    """semantics 3.9: states, counts, probes and times of every sequence of calls and outcomes."""


@given(st.integers(1, 4), st.lists(st.booleans(), max_size=12))
async def test_the_service_is_asked_until_it_has_failed_too_often(failures: int, script: list[bool]) -> None:
    """semantics 3.9: the stage asks exactly while the breaker is closed."""
    service = Service()
    outer = guarded(service, CircuitBreaker(failures=failures), on_open="end_turn")
    texts = ["work" if works else "fail" for works in script]

    got = words(await run_stage(outer, texts))

    failed = [number for number, works in enumerate(script) if not works]
    asked = failed[failures - 1] + 1 if len(failed) >= failures else len(script)
    assert service.asked == texts[:asked]
    assert got == [("ok" if works else "stage_failed") for works in script[:asked]] + ["circuit_open"] * (
        len(script) - asked
    )


def test_wrong_options_are_named() -> None:
    """styleguide 3: a wrong argument fails in the constructor, by the name of its field."""
    for option, value in (("failures", 0), ("window_s", 0), ("open_s", -1), ("probes", 0)):
        with pytest.raises(ConfigError) as caught:
            CircuitBreaker(**{option: value})  # type: ignore[arg-type]
        assert caught.value.field == option
    for option, value in (
        ("breaker", 3),
        ("counts", 3),
        ("counts", ()),
        ("counts", int),
        ("counts", KeyboardInterrupt),
    ):
        with pytest.raises(ConfigError) as caught:
            guarded(Service(), **{option: value})  # type: ignore[arg-type]
        assert caught.value.field == option
