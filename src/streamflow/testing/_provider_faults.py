"""Rules about failure: what a provider makes of a server that fails, breaks off, or talks nonsense.

Above: `check_provider`, which loads them. Below: `_provider_case`.
"""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Final

from ..elements import Message, TextElement, ToolCallElement
from ..providers import CutStep, ErrorStep, MalformedStep, ModelRequest, StopStep, TextStep, ToolCallStep
from ._conformance import rule
from ._provider_case import ProviderTrial, answers, ask, need_script, opened, request_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..errors import ProviderError
    from ..providers import Step
    from ._provider_case import Answered

__all__: list[str] = []

_HOLDS = "18.14"
_CODES: Final = frozenset(
    {"transport", "auth", "rate_limited", "overloaded", "bad_request", "truncated", "protocol", "refused"}
)
_RETRYABLE: Final = frozenset({"rate_limited", "overloaded", "transport", "truncated"})
_PROMPT: Final = "a question that is nobody's business"


async def _failed(trial: ProviderTrial, *steps: Step) -> tuple[Answered, ProviderError]:
    """Return what came of a call that must fail."""
    async with opened(trial, steps) as (provider, _, _):
        answered = await ask(provider, request_of(trial, _PROMPT))
    trial.require(answered.message is None, "it sent a message, as if the answer were whole")
    trial.require(answered.failure is not None, "it ended silently")
    assert answered.failure is not None
    trial.require(answered.failure.code in _CODES, f"its code {answered.failure.code!r} is none of {sorted(_CODES)}")
    return answered, answered.failure


@rule(
    "PR-20",
    "A failure is one `ProviderError` whose code says what kind, whether to try again, and when.",
    holds=_HOLDS,
    subject="provider",
)
async def _taxonomy(trial: ProviderTrial) -> None:
    need_script(trial)
    for code in ("auth", "rate_limited", "overloaded", "bad_request", "refused"):
        trial.given(f"a server that answers with {code}")
        answered, failure = await _failed(trial, ErrorStep(code, "no luck", retry_after_s=2))
        # Not every wire has a word for a request that is refused for what it says.
        fits = failure.code == code or (code, failure.code) == ("refused", "bad_request")
        trial.require(fits, f"its code is {failure.code!r}")
        trial.require(failure.retryable == (code in _RETRYABLE), f"its retryable is {failure.retryable}")
        trial.require(not answered.elements, f"it sent {answered.elements!r:.200} before")
        if code == "rate_limited":
            trial.require(failure.retry_after_s == 2, f"its retry_after_s is {failure.retry_after_s}, not 2")


@rule(
    "PR-21",
    "A failure in the middle comes behind what was said before it, with neither usage nor message.",
    holds=_HOLDS,
    subject="provider",
)
async def _in_the_middle(trial: ProviderTrial) -> None:
    need_script(trial)
    for code in ("overloaded", "rate_limited"):
        trial.given(f"two words, then {code}")
        answered, failure = await _failed(trial, TextStep("one two"), ErrorStep(code, "no luck"))
        said = "".join(one.text for one in answered.elements if isinstance(one, TextElement))
        trial.require(said == "one two", f"{said!r} came before the failure")
        trial.require(failure.code == code, f"its code is {failure.code!r}")


@rule("PR-22", "An answer that breaks off is never taken for a whole one.", holds=_HOLDS, subject="provider")
async def _truncated(trial: ProviderTrial) -> None:
    need_script(trial)
    for name, steps in answers(trial):
        said = [step for step in steps if not isinstance(step, StopStep)]  # behind which nothing is played
        for length in range(len(said) + 1):
            trial.given(f"{name}, cut off after {length} steps")
            _, failure = await _failed(trial, *said[:length], CutStep())
            trial.require(failure.code in {"truncated", "transport"}, f"its code is {failure.code!r}")
            trial.require(failure.retryable, "it says that trying again does not help")


@rule("PR-23", "What is none of the protocol is an error of the protocol.", holds=_HOLDS, subject="provider")
async def _malformed(trial: ProviderTrial) -> None:
    need_script(trial)
    shapes: Sequence[tuple[Step, ...]] = ((MalformedStep(),), (TextStep("a"), MalformedStep()))
    for steps in shapes:
        trial.given(f"nonsense after {len(steps) - 1} words")
        _, failure = await _failed(trial, *steps)
        trial.require((failure.code, failure.retryable) == ("protocol", False), f"it is {failure!r}")


@rule("PR-24", "A call whose arguments are no object says so, and is never dropped.", holds=_HOLDS, subject="provider")
async def _bad_arguments(trial: ProviderTrial) -> None:
    need_script(trial)
    if "tools" not in trial.subject.features:
        trial.skip("this provider has no tools")
    for raw in ('{"a": ', "[1]", '{"a": 1}}'):
        trial.given(f"the arguments {raw!r}")
        async with opened(trial, [ToolCallStep("f", raw=raw)]) as (provider, _, _):
            answered = await ask(provider, request_of(trial))
        calls = [one for one in answered.elements if isinstance(one, ToolCallElement)]
        trial.require(answered.failure is None, f"the call failed: {answered.failure!r}")
        trial.require(len(calls) == 1, f"there are {len(calls)} calls")
        trial.require(calls[0].error is not None, "the call has no error")
        trial.require(calls[0].raw == raw, f"what was written became {calls[0].raw!r}")


@rule("PR-25", "Neither key nor question is in an error or a repr.", holds=_HOLDS, subject="provider")
async def _no_secret(trial: ProviderTrial) -> None:
    need_script(trial)
    secret = trial.subject.secret
    if secret is None:
        trial.skip("this provider was made without a secret")
    for code in ("bad_request", "auth", "overloaded"):
        for before in ((), (TextStep("a"),)):
            trial.given(f"a server that quotes the key and the question with {code}")
            step = ErrorStep(code, f"bad key {secret} for {_PROMPT}")
            async with opened(trial, (*before, step)) as (provider, _, _):
                answered = await ask(provider, request_of(trial, _PROMPT))
                told = repr(provider) + str(answered.failure) + repr(answered.failure)
            assert answered.failure is not None
            told += "".join(traceback.format_exception(answered.failure))
            trial.require(secret not in told, "the key is in the error or the repr")
            trial.require(_PROMPT not in told, "the question is in the error")


@rule(
    "PR-26",
    "A request that cannot be sent is a bad request; nothing else is raised.",
    holds=_HOLDS,
    subject="provider",
)
async def _bad_requests(trial: ProviderTrial) -> None:
    need_script(trial)
    requests = {
        "no messages": (),
        "an empty message": (Message("user", ""),),
        "a message without parts": (Message("user", []),),
        "a lone surrogate": (Message("user", "\ud800"),),
    }
    for name, messages in requests.items():
        trial.given(name)
        async with opened(trial, [TextStep("a")]) as (provider, _, _):
            answered = await ask(provider, ModelRequest(messages=messages, model="m"))
        failure = answered.failure
        whole = failure is None and answered.message is not None
        trial.require(whole or (failure is not None and failure.code == "bad_request"), f"it came to {failure!r}")


@rule("PR-27", "A call that has failed leaves the provider as good as before.", holds=_HOLDS, subject="provider")
async def _after_failure(trial: ProviderTrial) -> None:
    need_script(trial)
    for step in (ErrorStep("auth", "no"), CutStep(), MalformedStep()):
        trial.given(f"a call after one that failed with {type(step).__name__}")
        async with opened(trial, [TextStep("a"), step], [TextStep("fine")]) as (provider, model, _):
            await ask(provider, request_of(trial))
            answered = await ask(provider, request_of(trial))
        text = None if answered.message is None else answered.message.text
        trial.require(text == "fine", f"the next answer is {text!r}, {answered.failure!r}")
        trial.require(model.listeners == 0, f"{model.listeners} calls are still open")
