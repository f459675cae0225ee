"""The strategies are there for who has Hypothesis, and cost nothing to who has not."""

from __future__ import annotations

import subprocess
import sys

import pytest

import streamflow.testing
from streamflow.errors import MissingExtraError


def test_hypothesis_is_imported_only_when_a_strategy_is_asked_for() -> None:
    """The kit is usable without the extra `testing`."""
    program = """
import sys
import streamflow.testing
assert "hypothesis" not in sys.modules
from streamflow.testing import elements
assert "hypothesis" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_without_hypothesis_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The absence of an optional dependency is an error that names the extra."""
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    monkeypatch.delitem(sys.modules, "streamflow.testing._strategies", raising=False)
    monkeypatch.delattr(streamflow.testing, "_strategies", raising=False)
    with pytest.raises(MissingExtraError, match=r"streamflow-runtime\[testing\]"):
        streamflow.testing.elements()


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    """As for any module."""
    with pytest.raises(AttributeError, match="no attribute 'element'"):
        streamflow.testing.element  # type: ignore[attr-defined]  # noqa: B018
