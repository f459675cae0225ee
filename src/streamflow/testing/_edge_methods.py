"""A hook before each operation at an edge, for as long as a block lasts; without one the methods are those of `channels`.

Above: `_chaos`, `_edge_faults`. Below: `channels`, the chains of fused stages and what moves bursts, replaced meanwhile for the
whole process. A hook runs before an element moves, never between the moving and the return: what an edge promises about
cancellation holds.
"""

# pyright: reportPrivateUsage=false
from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Literal, Never, Protocol, TypeAlias, cast

from ..channels import ReceiveEnd, SendEnd, _wait, pass_head
from ..runtime import _chain, _consuming, _engine, _feeding
from ..stages import _loops

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Callable, Generator, Iterable, Iterator

__all__ = ["EdgeHook", "EndKind", "hooked_edges", "one_wake_up_per_turn", "replaced"]

EndKind: TypeAlias = Literal["send", "receive"]
"""Which end of an edge it is."""


class EdgeHook(Protocol):
    """Hears of every operation at an edge before it begins."""

    async def before(self, kind: EndKind, end: SendEnd[Never] | ReceiveEnd[object]) -> None:
        """Wait, raise, or let it go on."""
        ...

    def allows_quick(self, end: SendEnd[Never] | ReceiveEnd[object]) -> bool:
        """Say whether an attempt that cannot wait may be made now; else its caller takes the long way."""
        ...


@contextlib.contextmanager
def hooked_edges(hook: EdgeHook) -> Generator[None]:
    """Let `hook` hear of every operation at every edge."""
    with replaced(_replacements(hook)):
        yield


@contextlib.contextmanager
def replaced(replacements: Iterable[tuple[object, str, object]]) -> Generator[None]:
    """Replace methods of classes and functions of modules, each given with where it is and its name, and put them back."""
    with contextlib.ExitStack() as undo:
        for owner, name, replacement in tuple(replacements):
            undo.callback(setattr, owner, name, vars(owner)[name])
            setattr(owner, name, replacement)
        yield


def one_wake_up_per_turn() -> contextlib.AbstractContextManager[None]:
    """Give asyncio a turn for each task that is woken by one that was woken, where there is little to do too: more to look at."""
    return replaced([(_wait, "LITTLE", 0)])


def _replacements(hook: EdgeHook) -> Iterator[tuple[object, str, object]]:
    for owner in _with_subclasses(SendEnd):
        its = vars(owner)
        if "send" in its:
            yield owner, "send", _late_send(hook, its["send"])
        if "send_all" in its:
            yield owner, "send_all", _send_all
        if "send_each" in its:
            yield owner, "send_each", _send_each
        if "try_send" in its:
            yield owner, "try_send", _attempt(hook, its["try_send"], refusal=False)
    yield ReceiveEnd, "__anext__", _late_receive(hook, vars(ReceiveEnd)["__anext__"])
    yield ReceiveEnd, "try_receive", _attempt(hook, vars(ReceiveEnd)["try_receive"], refusal=None)
    yield _chain.Chain, "_pump", _careful_pump(hook, vars(_chain.Chain)["_pump"])
    yield _chain.Chain, "_pass_through", _careful_burst(hook, vars(_chain.Chain)["_pass_through"])
    yield _chain, "pass_head", _late_head(hook)
    yield _chain.Chain, "_has_line", _never
    yield _loops, "can_pump", _never  # bursts are no operations: elements go one by one, and a source has a task
    yield _consuming, "is_quick_edge", _never
    yield _engine, "feeder_of", _feeder_with_a_task


def _feeder_with_a_task(*about: Any, may_be_pulled: bool, may_be_driven: bool) -> Any:
    del may_be_pulled
    return _feeding.feeder_of(*about, may_be_pulled=False, may_be_driven=may_be_driven)


def _with_subclasses(owner: type[object]) -> Iterator[type[object]]:
    yield owner
    for one in owner.__subclasses__():
        yield from _with_subclasses(one)


def _late_send(hook: EdgeHook, original: Callable[..., Any]) -> object:
    async def send(self: SendEnd[Any], item: object) -> None:
        await hook.before("send", self)
        await original(self, item)

    return send


def _late_receive(hook: EdgeHook, original: Callable[..., Any]) -> object:
    async def receive(self: ReceiveEnd[Any]) -> object:
        await hook.before("receive", self)
        return await original(self)

    return receive


def _attempt(hook: EdgeHook, original: Callable[..., Any], *, refusal: object) -> object:
    def attempt(self: SendEnd[Never] | ReceiveEnd[object], *args: object) -> object:
        return original(self, *args) if hook.allows_quick(self) else refusal

    return attempt


def _careful_pump(hook: EdgeHook, original: Callable[..., Any]) -> object:
    async def pump(self: _chain.Chain, member: Any) -> None:
        # What is not moved here in one go is taken one by one right behind it.
        if hook.allows_quick(member.source) and hook.allows_quick(member.target):
            await original(self, member)

    return pump


def _careful_burst(hook: EdgeHook, original: Callable[..., Any]) -> object:
    async def pass_through(self: _chain.Chain, first: int) -> None:
        members = self._alive()
        if all(hook.allows_quick(end) for one in members for end in (one.source, one.target)):
            await original(self, first)

    return pass_through


def _late_head(hook: EdgeHook) -> object:
    async def late(source: ReceiveEnd[object]) -> bool:
        if await pass_head(source):
            return True
        await hook.before("receive", source)
        if source.backlog:
            return await pass_head(source)
        return source.state != "cancelled"  # swept meanwhile; of a closed end the reader is told when it takes

    return late


def _never(*_: object) -> bool:
    return False


def _as_it_is(item: Any) -> Any:
    return item


async def _send_all(
    self: SendEnd[Any], items: AsyncIterable[Any], convert: Callable[[Any], Any] = _as_it_is, *, closes: bool = False
) -> None:
    """Do what `SendEnd.send_all()` does, without its fast path."""
    try:
        async for item in items:
            await self.send(convert(item))
    finally:
        if closes:
            await cast("AsyncGenerator[Any, None]", items).aclose()


async def _send_each(self: SendEnd[Any], items: Iterable[Any], convert: Callable[[Any], Any] = _as_it_is) -> None:
    """Do what `SendEnd.send_each()` does, without its fast path."""
    for item in items:
        await self.send(convert(item))
