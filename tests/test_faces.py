"""The faces of rooms: what is loaded late is there all the same."""

from __future__ import annotations

import pytest

import streamflow
from streamflow import graph, observe, runtime, stages

FACES = [streamflow, graph, observe, runtime, stages]


@pytest.mark.parametrize("face", FACES, ids=lambda face: face.__name__)
def test_a_face_lists_what_it_has_not_loaded_yet(face: object) -> None:
    """`docs/architecture.md`: completion in an editor or a shell knows what is loaded late."""
    assert set(face.__all__) - set(dir(face)) == set()  # type: ignore[attr-defined]


def test_what_was_loaded_late_is_the_same_every_time() -> None:
    """`docs/architecture.md`: a face keeps what it has loaded, so `isinstance()` holds."""
    assert observe.RunStalled is observe.RunStalled
    assert vars(observe)["RunStalled"] is observe.RunStalled
    assert issubclass(observe.RunStalled, streamflow.Event)


@pytest.mark.parametrize("face", FACES, ids=lambda face: face.__name__)
def test_a_name_that_a_face_has_not_is_no_attribute(face: object) -> None:
    """`docs/architecture.md`: a name that is misspelt is Python's own error, naming the module."""
    with pytest.raises(AttributeError, match=r"module 'streamflow.*' has no attribute 'nothing_of_the_kind'"):
        getattr(face, "nothing_of_the_kind")  # noqa: B009 - a type checker would object
