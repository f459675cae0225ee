"""What every test gets: the event loop, its clock, and its guards.

- **Event loops.** Every async test runs on `asyncio` (debug mode) and on `trio`, each time on a new clock that starts at
  0 and jumps when every task waits: `sleep(3600)` costs nothing. A deadlock on asyncio is an error that lists the tasks.
  A test for one of them: `@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)`.
- **Real time.** A test that talks to a real peer over sockets or to a subprocess is marked `@pytest.mark.real_clock` (or
  has `pytestmark = pytest.mark.real_clock` in its module); it runs on both loops with their ordinary clocks. Sockets
  between tasks of one test work on virtual time too.
- **Blocking calls** in a running asyncio loop raise `blockbuster.BlockingError`, in every test. What the test tools
  themselves need is allowed below; a test that must block on purpose does so in a worker thread.
- **Hypothesis.** `@given` works on async tests: every example gets its own event loop and clock. Profiles: `default`
  and `thorough` (`HYPOTHESIS_PROFILE=thorough`). Where the variable `CI` is set, examples are the same in every run.
- **Coverage** (`make coverage`) looks on at the tests that take a blink (not marked `slow`), and at the first case of slow ones
  of the kernel: further ones go over the same lines, and slowly.
- **`no_gc`** keeps the garbage collector off during a test that must not depend on it.
"""

from __future__ import annotations

import gc
import os
import sys
from typing import TYPE_CHECKING

import pytest
from blockbuster import blockbuster_ctx
from hypothesis import settings

from streamflow.testing import virtual_time

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamflow.testing import BackendName

settings.register_profile("default", deadline=None, max_examples=40, derandomize="CI" in os.environ, print_blob=True)
settings.register_profile("thorough", deadline=None, max_examples=2000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


_KERNEL = {"channels", "elements", "graph", "observe", "properties", "runtime", "stages"}
"""Folders with the tests of what `make coverage` holds."""
_LOOKED_AT = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "real_clock: runs on the ordinary clock of its event loop, see tests/conftest.py"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    seen: set[tuple[str, str]] = set()
    for item in items:
        test, _, case = item.nodeid.partition("[")
        which = test, "trio" if "trio" in case else ""
        is_slow = item.get_closest_marker("slow") is not None
        item.stash[_LOOKED_AT] = not is_slow or (test.split("/")[1] in _KERNEL and which not in seen)
        seen.add(which)


def pytest_collection_finish() -> None:
    """Take what collecting has made out of the garbage collector's sight: each of its rounds would look at all of it again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    tracer = sys.gettrace()
    if item.stash[_LOOKED_AT]:
        return (yield)
    sys.settrace(None)
    try:
        return (yield)
    finally:
        sys.settrace(tracer)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
    """The event loop of an async test, and its clock."""
    backend: BackendName = request.param
    if request.node.get_closest_marker("real_clock") is None:
        return backend, virtual_time(backend)
    return backend, {"debug": True} if backend == "asyncio" else {}


@pytest.fixture(scope="session", autouse=True)
def _no_blocking_calls() -> Iterator[None]:
    with blockbuster_ctx() as guard:
        for function in guard.functions.values():
            # Coverage locks its data while several threads are looked at.
            function.can_block_in("coverage/collector.py", {"lock_data"})
            # Hypothesis and pytest read source files from inside a running test, Hypothesis also for likely values.
            function.can_block_in("inspect.py", {"getsourcefile", "getabsfile"})
            function.can_block_in("hypothesis/internal/conjecture/providers.py", {"_get_local_constants"})
        yield


@pytest.fixture
def no_gc() -> Iterator[None]:
    """Keep the garbage collector off for one test."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
