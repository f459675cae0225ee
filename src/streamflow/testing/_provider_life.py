"""Rules about the life of a call: who leaves ends it, calls do not meet, nothing is left behind.

Above: `check_provider`, which loads them. Below: `_provider_case`, `_sweep`.
"""

from __future__ import annotations

import gc
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING

import anyio
from anyio.lowlevel import checkpoint

from ..providers import DelayStep, TextStep, ThinkingStep, ToolCallStep
from ._conformance import rule
from ._provider_case import ProviderTrial, ask, need_script, opened, request_of
from ._sweep import cancel_sweep
from ._tasks import assert_no_tasks_left, tasks_alive

if TYPE_CHECKING:
    from collections.abc import Generator

    from ._sweep import CancelMode, Outcome

__all__: list[str] = []

_HOLDS = "18.14"
_STEPS = (TextStep("one two"), ToolCallStep("f", {"x": 1}))


async def _quiet() -> None:
    """Let what is just ending end."""
    for _ in range(20):
        await checkpoint()


@rule(
    "PR-30",
    "Who closes an answer early, after any element, ends the call of the model.",
    holds=_HOLDS,
    subject="provider",
)
async def _closed_early(trial: ProviderTrial) -> None:
    need_script(trial)
    steps = (ThinkingStep("Hm."), *_STEPS) if "thinking" in trial.subject.features else _STEPS
    for taken in range(1, 4):
        trial.given(f"closed after {taken} elements")
        async with opened(trial, [*steps, DelayStep()]) as (provider, model, fake):
            async with aclosing(provider.stream(request_of(trial))) as stream:
                for _ in range(taken):
                    await anext(stream)
                trial.require(model.listeners == 1, "the model was not asked")
            await _quiet()
            trial.require(model.listeners == 0, "the call of the model goes on")
            trial.require(all(call.how == "disconnected" for call in fake.calls), "the server has not noticed")


@rule(
    "PR-31",
    "Cancelled at any moment, a call ends that of the model, and the next one is answered.",
    holds=_HOLDS,
    subject="provider",
    heavy=True,
)
async def _cancelled(trial: ProviderTrial) -> None:
    await _swept(trial, "scope")


@rule(
    "PR-32",
    "The same holds for `asyncio.Task.cancel()` and `asyncio.timeout()`.",
    holds=_HOLDS,
    subject="provider",
    heavy=True,
)
async def _cancelled_natively(trial: ProviderTrial) -> None:
    need_script(trial)
    if trial.variant.backend != "asyncio":
        trial.skip("such cancellation exists on asyncio only")
    await _swept(trial, "native")


async def _swept(trial: ProviderTrial, how: CancelMode) -> None:
    need_script(trial)
    trial.given(f"cancelled by {how}")
    async with opened(trial, _STEPS) as (provider, model, _):

        async def scenario() -> None:
            answered = await ask(provider, request_of(trial))
            if answered.failure is not None:
                raise answered.failure

        def check(outcome: Outcome[None]) -> None:
            trial.given(f"cancelled by {how} at tick {outcome.tick}")
            trial.require(model.listeners == 0, "the call of the model goes on")

        await cancel_sweep(scenario, how=how, check=check)
        trial.given(f"the call after those that were cancelled by {how}")
        await scenario()


@rule("PR-33", "Calls that are made at a time do not meet.", holds=_HOLDS, subject="provider")
async def _concurrent(trial: ProviderTrial) -> None:
    need_script(trial)
    for count in (2, 10):
        trial.given(f"{count} calls at a time")
        texts: dict[int, str | None] = {}
        async with opened(trial, [TextStep("You said"), DelayStep(1), TextStep(" {text}!")]) as (provider, _, _):

            async def one(number: int) -> None:
                answered = await ask(provider, request_of(trial, f"no{number}"))
                texts[number] = None if answered.message is None else answered.message.text  # noqa: B023

            start = anyio.current_time()
            async with anyio.create_task_group() as tasks:
                for number in range(count):
                    tasks.start_soon(one, number)
            took = anyio.current_time() - start
        wanted = {number: f"You said no{number}!" for number in range(count)}
        trial.require(texts == wanted, f"the answers are {texts}")
        trial.require(took < 1.5, f"they waited for each other: {took:.3g} s for answers of 1 s")


@rule(
    "PR-34",
    "After many turns nothing is left: no task, no call, no memory.",
    holds=_HOLDS,
    subject="provider",
    heavy=True,
)
async def _long_life(trial: ProviderTrial) -> None:
    turns = trial.subject.turns
    trial.given(f"{turns} turns")
    before_all = tasks_alive()
    with _only_new_objects():
        async with opened(trial, _STEPS) as (provider, model, _):
            for _ in range(20):  # what is made once, and kept
                await ask(provider, request_of(trial))
            before = _objects()
            for _ in range(turns):
                await ask(provider, request_of(trial))
            grown = _objects() - before
    trial.require(model.listeners == 0, f"{model.listeners} calls are still open")
    trial.require(grown < 200 + turns / 2, f"{grown} objects more than before")
    await assert_no_tasks_left(before_all)


@contextmanager
def _only_new_objects() -> Generator[None]:
    """Let the garbage collector look at nothing that was there before: in a large program that would take most of the time."""
    was_frozen = gc.get_freeze_count() > 0
    if not was_frozen:
        gc.freeze()
    try:
        yield
    finally:
        if not was_frozen:
            gc.unfreeze()


def _objects() -> int:
    """Return how many objects there are, without cancel scopes, of which trio keeps some that have ended, in tuples."""
    gc.collect()
    return sum(type(one) is not tuple and type(one).__name__ != "CancelScope" for one in gc.get_objects())
