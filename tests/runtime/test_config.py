"""`PipelineConfig` refuses wrong values at once and names the field."""

from __future__ import annotations

import math

import pytest

from streamflow import ConfigError, PipelineBuilder, PipelineConfig


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "16", None])
def test_a_buffer_holds_at_least_one_element(value):
    """Bad input: capacity 0 or negative, or no integer."""
    with pytest.raises(ConfigError, match="buffer_size: an edge holds at least 1 element, got ") as caught:
        PipelineConfig(buffer_size=value)
    assert caught.value.field == "buffer_size"


@pytest.mark.parametrize(
    "field", ["timeout_s", "first_element_timeout_s", "idle_timeout_s", "backpressure_timeout_s", "shutdown_timeout_s"]
)
@pytest.mark.parametrize("value", [0, -1, math.inf, math.nan, "5", True])
def test_a_limit_is_a_positive_number_of_seconds(field: str, value):
    """Bad input: a limit that is none."""
    with pytest.raises(ConfigError) as caught:
        PipelineConfig(**{field: value})
    assert caught.value.field == field


def test_a_shutdown_needs_a_deadline():
    """5.5: waiting without end is no shutdown."""
    with pytest.raises(ConfigError, match="shutdown_timeout_s"):
        PipelineConfig(shutdown_timeout_s=None)  # type: ignore[arg-type]


def test_replace_makes_a_checked_copy():
    """R5: settings are immutable; a copy is checked like the original."""
    config = PipelineConfig(timeout_s=3)
    assert config.replace(buffer_size=2) == PipelineConfig(buffer_size=2, timeout_s=3)
    assert config.buffer_size == 16
    with pytest.raises(ConfigError, match="buffer_size"):
        config.replace(buffer_size=0)
    with pytest.raises(ConfigError, match=r"sizes: no such setting; there are buffer_size, "):
        config.replace(sizes=3)
    with pytest.raises(AttributeError):
        config.buffer_size = 3  # type: ignore[misc]


def test_a_builder_takes_settings_and_listeners_of_the_right_kind():
    """Bad input: what is no configuration, and what cannot be called inline."""
    with pytest.raises(ConfigError, match=r"config: a PipelineConfig was expected, got \{'buffer_size': 3\}"):
        PipelineBuilder({"buffer_size": 3})  # type: ignore[arg-type]

    async def waits(event: object) -> None:
        """Never called."""

    for listener in (None, waits):
        with pytest.raises(ConfigError, match="listener: a plain function of one event was expected"):
            PipelineBuilder().on_event(listener)  # type: ignore[arg-type]
