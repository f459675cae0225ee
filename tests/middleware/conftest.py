"""What the tests of middleware share: worker threads on virtual time."""

from __future__ import annotations

import pytest
import threads


@pytest.fixture(autouse=True)
def _clock_waits_for_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    threads.hold_the_clock(monkeypatch)
