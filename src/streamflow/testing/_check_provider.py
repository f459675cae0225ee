"""Prove a provider: `check_provider()` runs the checks of all rules about providers.

Above: users. Below: the modules with the rules of providers, `_conformance_runner`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..errors import ConfigError
from . import _provider_faults, _provider_life, _provider_order
from ._conformance import BACKENDS, Variant
from ._conformance_runner import conform, run_checks
from ._provider_case import FEATURES, ProviderCase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractAsyncContextManager

    from ..providers import ModelRequest, Provider
    from ._conformance_report import Report
    from ._conformance_runner import Clock
    from ._fake_llm import FakeLLM
    from ._provider_case import Feature

__all__ = ["PROVIDER_VARIANTS", "check_provider"]

_RULES: Final = (_provider_order, _provider_faults, _provider_life)
"""Where the rules about providers are: importing these modules has registered them."""

PROVIDER_VARIANTS: Final = tuple(Variant(backend) for backend in BACKENDS)
"""The circumstances: each event loop."""


def check_provider(
    factory: Callable[[FakeLLM], Provider | AbstractAsyncContextManager[Provider]],
    *,
    features: Iterable[Feature] = FEATURES,
    scripted: bool = True,
    request: ModelRequest | None = None,
    secret: str | None = None,
    turns: int = 1000,
    rules: Iterable[str] | None = None,
    skip: Mapping[str, str] | None = None,
    effort: int = 1,
    clock: Clock = "virtual",
) -> Report:
    """Run a provider through all rules about providers, on asyncio and trio, and return what was found.

    The provider asks a scripted model, so that every answer and every failure can be had: over one of the three wires of `FakeLLM`
    without a socket, or `fake.provider` itself, for one that wraps another. Blocks until done, in event loops of its own: not for
    use inside one. Time is virtual.

    ```python
    check_provider(lambda fake: OpenAIProvider("http://fake/v1", client=fake_client(fake)))
    check_provider(lambda fake: RetryProvider(fake.provider))
    ```

    Args:
        factory: Called with a fake server, returns a provider that asks it, or a context manager that gives one. Called for each
            check, inside the event loop.
        features: What the provider's answers may consist of beyond text; rules and answers about others are left out.
        scripted: Whether it asks the fake server. If not, it has one answer of its own, and most rules are skipped.
        request: What to ask one that has an answer of its own.
        secret: The key that the factory gave it; it must appear nowhere.
        turns: How many turns a long life has.
        rules: Ids of the rules to check; None: all.
        skip: Reasons for leaving out rules, by id; they are part of the report.
        effort: How many times the usual number of random examples to try.
        clock: `real` for a provider that waits for sockets or programs, which know nothing of virtual time.

    Raises:
        ConformanceError: If a rule is broken; says which, and shows the shortest answer or schedule.
        ConfigError: If an argument cannot be; names it.
    """
    offered = frozenset(features)
    unknown = sorted(offered - set(FEATURES))
    if unknown:
        raise ConfigError("features", f"{unknown[0]!r} is none; there are {', '.join(FEATURES)}")
    if turns < 1:
        raise ConfigError("turns", f"{turns} is no number of turns; give 1 or more")
    if request is not None and scripted:
        raise ConfigError("request", "is for a provider with an answer of its own; give scripted=False too")
    case = ProviderCase(factory, offered, scripted, request, secret, turns)
    report = run_checks(
        "provider",
        case,
        PROVIDER_VARIANTS,
        name="the provider",
        rules=rules,
        skip=skip,
        clock=clock,
        effort=effort,
    )
    return conform(report)
