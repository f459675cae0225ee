"""The pytest plugin: each rule in each variant of a `StageConformance` is a test of its own, and a fixture for virtual time.

Above: pytest, which finds it by its entry point; `-p no:streamflow` leaves it out. Below: `streamflow.testing`. A package of its
own, because pytest loads plugins at every start: it imports nothing of streamflow before a test module has done so.
"""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, cast

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamflow.testing import Rule, StageConformance, Variant

__all__ = ["pytest_pycollect_makeitem", "virtual_anyio_backend"]

_KIT = "streamflow.testing._check_stage"


@pytest.fixture(params=["asyncio", "trio"])
def virtual_anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
    """An `anyio_backend` on virtual time, for both event loops: return it from a fixture of that name."""
    from streamflow.testing import virtual_time  # noqa: PLC0415 - see the module

    return request.param, virtual_time(request.param)


def pytest_pycollect_makeitem(
    collector: pytest.Module | pytest.Class, name: str, obj: object
) -> pytest.Collector | None:
    """Collect a `StageConformance` rule by rule; leave everything else to pytest."""
    kit = sys.modules.get(_KIT)
    if kit is None or not inspect.isclass(obj):
        return None
    base = cast("type[StageConformance]", kit.StageConformance)
    if not issubclass(obj, base) or inspect.isabstract(obj) or not collector.classnamefilter(name):
        return None
    made: _Suite = _Suite.from_parent(collector, name=name)  # pyright: ignore[reportUnknownMemberType]
    made.suite = obj
    return made


class _Suite(pytest.Collector):
    """The rules of one subclass of `StageConformance`."""

    suite: type[StageConformance]

    def collect(self) -> Iterator[pytest.Item]:
        from streamflow.testing import rules_of  # noqa: PLC0415 - see the module

        for rule in rules_of("stage", self.suite.rules):
            for variant in self.suite.variants:
                item: _RuleItem = _RuleItem.from_parent(self, name=f"{rule.id}[{variant}]")  # pyright: ignore[reportUnknownMemberType]
                item.trial = self.suite, rule, variant
                yield item


class _RuleItem(pytest.Item):
    """One rule in one variant."""

    trial: tuple[type[StageConformance], Rule, Variant]

    def runtest(self) -> None:
        suite, rule, variant = self.trial
        report = suite().check([rule.id], variants=[variant])
        if report.skipped:
            pytest.skip(report.skipped[0].why)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None) -> str:
        """Return what the kit says, which is all there is to know; of another error, the usual."""
        from streamflow.testing import ConformanceError  # noqa: PLC0415 - see the module

        if isinstance(excinfo.value, ConformanceError):
            return str(excinfo.value)
        return str(super().repr_failure(excinfo))

    def reportinfo(self) -> tuple[str, int | None, str]:
        suite, rule, variant = self.trial
        return str(self.path), None, f"{suite.__name__}: {rule.id}[{variant}]"
