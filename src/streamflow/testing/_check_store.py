"""Prove a store: `check_store()` runs the checks of all rules about stores.

Above: users. Below: the modules with the rules of stores, `_conformance_runner`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from . import _store_rest, _store_turns
from ._conformance import BACKENDS, Variant
from ._conformance_runner import conform, run_checks
from ._store_case import StoreCase

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ._conformance_report import Report
    from ._conformance_runner import Clock
    from ._store_case import StoreFactory

__all__ = ["check_store"]

_RULES: Final = (_store_turns, _store_rest)
"""Where the rules about stores are: importing these modules has registered them."""


def check_store(
    factory: StoreFactory,
    *,
    durable: bool = True,
    expiry_s: float | None = None,
    clock: Clock = "virtual",
    rules: Iterable[str] | None = None,
    skip: Mapping[str, str] | None = None,
    name: str | None = None,
) -> Report:
    """Run a store through all rules about stores, on asyncio and trio, and return what was found.

    Blocks until done, in event loops of its own: not for use inside one. It writes conversations and documents with ids of their
    own, and leaves them there.

    ```python
    check_store(lambda **given: SQLiteStore(path, **given), clock="real")
    ```

    Args:
        factory: Returns a store that is not open, over the same data each time; called with `limits=` and `ttl_s=` by the rules
            that need them, which are skipped if it raises `TypeError` then.
        durable: Whether what was written is there for another object over the same data.
        expiry_s: A time to live to wait for, in seconds; default an hour when time is virtual, a fifth of a second when it is real.
        clock: `real` for a store that waits for threads or a server, or that dates things by a clock of its own.
        rules: Ids of the rules to check; None: all.
        skip: Reasons for leaving out rules, by id; they are part of the report.
        name: What the report calls the store; default its class.

    Raises:
        ConformanceError: If a rule is broken; says which, and shows the shortest input or schedule.
        ConfigError: If an id is unknown.
    """
    ttl_s = expiry_s if expiry_s is not None else (3600.0 if clock == "virtual" else 0.2)
    case = StoreCase(factory, durable, ttl_s)
    return conform(
        run_checks(
            "store",
            case,
            [Variant(backend) for backend in BACKENDS],
            name=type(factory()).__name__ if name is None else name,
            rules=rules,
            skip=skip,
            clock=clock,
            limit_s=ttl_s + 7200.0 if clock == "virtual" else None,
        )
    )
