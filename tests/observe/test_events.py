"""Events and the bus that hands them to listeners."""

from __future__ import annotations

import logging

import pytest

from streamflow.observe import Event, EventBus


def test_an_event_says_what_happened_where() -> None:
    """semantics 5.12: an immutable value; the stage is None for the run itself."""
    event = Event("run.started", "run-1")

    assert (event.name, event.run_id, event.stage, dict(event.data)) == ("run.started", "run-1", None, {})
    assert Event("a", "run-1", "s", {"x": 1}) == Event("a", "run-1", "s", {"x": 1})
    with pytest.raises(AttributeError):
        event.name = "other"


def test_events_that_say_nothing_share_no_data() -> None:
    """`Event`: a listener that keeps something in one event's data does not write into all others."""
    assert Event("a", "run-1").data is not Event("b", "run-1").data


def test_every_listener_hears_every_event_in_order() -> None:
    """semantics 5.12: inline, in the order in which the listeners were given."""
    heard: list[str] = []
    bus = EventBus(
        [lambda event: heard.append(f"first {event.name}"), lambda event: heard.append(f"second {event.name}")]
    )

    for name in ("a", "b"):
        bus.publish(Event(name, "run-1"))

    assert heard == ["first a", "second a", "first b", "second b"]


def test_without_listeners_nothing_happens(caplog: pytest.LogCaptureFixture) -> None:
    """semantics 5.12: the usual case is silent."""
    EventBus().publish(Event("a", "run-1"))

    assert caplog.records == []


def test_a_listener_that_raises_is_told_once_and_goes_on_being_called(caplog: pytest.LogCaptureFixture) -> None:
    """semantics 5.12: its exceptions are logged once each, with the traceback; the others hear everything."""
    heard: list[str] = []

    def broken(event: Event) -> None:
        heard.append(f"broken {event.name}")
        raise ZeroDivisionError

    def worse(event: Event) -> None:
        raise KeyError(event.name)

    bus = EventBus([broken, worse, lambda event: heard.append(event.name)])
    with caplog.at_level(logging.ERROR, "streamflow"):
        for name in ("a", "b", "c"):
            bus.publish(Event(name, "run-1"))

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
        EventBus([broken]).publish(Event("a", run_id))

    assert len(caplog.records) == 2


def test_the_wish_to_stop_the_program_passes() -> None:
    """semantics 5.7: `KeyboardInterrupt` is nobody's to swallow."""

    def interrupted(_event: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        EventBus([interrupted]).publish(Event("a", "run-1"))
