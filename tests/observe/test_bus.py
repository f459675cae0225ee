"""The bus hands events to listeners and lets none of them change anything."""

from __future__ import annotations

import functools
import logging

import pytest

from streamflow.observe import Event, EventBus, is_async_listener


def event(name: str = "a", run_id: str = "run-1") -> Event:
    return Event(name=name, run_id=run_id)


def test_every_listener_hears_every_event_in_order() -> None:
    """semantics 5.12: inline, in the order in which the listeners were given."""
    heard: list[str] = []
    bus = EventBus([lambda one: heard.append(f"first {one.name}"), lambda one: heard.append(f"second {one.name}")])

    for name in ("a", "b"):
        bus.publish(event(name))

    assert heard == ["first a", "second a", "first b", "second b"]


def test_without_listeners_nothing_happens(caplog: pytest.LogCaptureFixture) -> None:
    """semantics 5.12: the usual case is silent."""
    EventBus().publish(event())

    assert caplog.records == []


def test_a_bus_says_whether_anybody_listens() -> None:
    """`EventBus.active`: no event is made for nobody."""
    heard: list[Event] = []
    bus = EventBus()

    assert not bus.active
    bus.add(heard.append)
    assert bus.active
    bus.remove(heard.append)  # a new object, which is equal
    assert not bus.active
    assert EventBus([heard.append]).active


def test_a_listener_hears_what_happens_while_it_is_there() -> None:
    """`EventBus.add`, `remove`: once for each time that it was added; removing what is not there does nothing."""
    heard: list[str] = []

    def listen(one: Event) -> None:
        heard.append(one.name)

    bus = EventBus()
    bus.publish(event("before"))
    bus.add(listen)
    bus.add(listen)
    bus.publish(event("twice"))
    bus.remove(listen)
    bus.publish(event("once"))
    bus.remove(listen)
    bus.remove(listen)
    bus.publish(event("after"))

    assert heard == ["twice", "twice", "once"]


def test_a_listener_that_comes_or_goes_during_an_event_disturbs_no_other() -> None:
    """`EventBus`: an event goes to those who listened when it was published."""
    heard: list[str] = []

    def late(one: Event) -> None:
        heard.append(f"late {one.name}")

    def changes(one: Event) -> None:
        heard.append(f"changes {one.name}")
        bus.remove(changes)
        bus.add(late)

    bus = EventBus([changes, lambda one: heard.append(f"stays {one.name}")])
    bus.publish(event("a"))
    bus.publish(event("b"))

    assert heard == ["changes a", "stays a", "stays b", "late b"]


def test_a_listener_that_raises_is_told_once_and_goes_on_being_called(caplog: pytest.LogCaptureFixture) -> None:
    """semantics 5.12: its exceptions are logged once each, with the traceback; the others hear everything."""
    heard: list[str] = []

    def broken(one: Event) -> None:
        heard.append(f"broken {one.name}")
        raise ZeroDivisionError

    def worse(one: Event) -> None:
        raise KeyError(one.name)

    bus = EventBus([broken, worse, lambda one: heard.append(one.name)])
    with caplog.at_level(logging.ERROR, "streamflow"):
        for name in ("a", "b", "c"):
            bus.publish(event(name))

    assert heard == ["broken a", "a", "broken b", "b", "broken c", "c"]
    assert [(one.name, one.exc_info[0]) for one in caplog.records] == [
        ("streamflow.observe", ZeroDivisionError),
        ("streamflow.observe", KeyError),
    ]
    assert all("failed on 'a'; told once" in one.getMessage() for one in caplog.records)


def test_each_run_has_a_bus_and_is_told_for_itself(caplog: pytest.LogCaptureFixture) -> None:
    """semantics 5.12: what one run has complained about, another still tells."""

    def broken(_event: Event) -> None:
        raise ZeroDivisionError

    for run_id in ("run-1", "run-2"):
        EventBus([broken]).publish(event(run_id=run_id))

    assert len(caplog.records) == 2


def test_the_wish_to_stop_the_program_passes() -> None:
    """semantics 5.7: `KeyboardInterrupt` is nobody's to swallow."""

    def interrupted(_event: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        EventBus([interrupted]).publish(event())


def test_a_function_that_hides_an_async_one_is_told_how_to_mend_it(caplog: pytest.LogCaptureFixture) -> None:
    """semantics 5.12: nothing would happen, and nobody would know; there is no warning about a coroutine besides."""

    async def save(_event: Event) -> None:
        """Never awaited."""

    bus = EventBus([lambda one: save(one) if one else None])
    bus.publish(event())
    bus.publish(event())

    assert len(caplog.records) == 1
    assert "give on_event() the async function itself" in caplog.text


class Sync:
    def __call__(self, one: Event) -> None:
        """Listen."""

    def listen(self, one: Event) -> None:
        """Listen."""


class Async:
    async def __call__(self, one: Event) -> None:
        """Listen."""

    async def listen(self, one: Event) -> None:
        """Listen."""


async def async_listener(one: Event, more: int = 0) -> None:
    """Listen."""


def sync_listener(one: Event) -> None:
    """Listen."""


@pytest.mark.parametrize(
    ("listener", "is_async"),
    [
        (async_listener, True),
        (functools.partial(async_listener, more=1), True),
        (Async(), True),
        (Async().listen, True),
        (functools.partial(functools.partial(Async())), True),
        (sync_listener, False),
        (functools.partial(sync_listener), False),
        (Sync(), False),
        (Sync().listen, False),
        (Async, False),
        ([].append, False),
        (print, False),
        (None, False),
    ],
)
def test_an_async_listener_is_known_by_how_it_is_called(listener: object, is_async: bool) -> None:
    """`is_async_listener`: functions, methods, objects, and what is bound to some arguments; a class makes an object."""
    assert is_async_listener(listener) is is_async
