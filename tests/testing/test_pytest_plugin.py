"""The pytest plugin: rules become tests, and whoever does not use it does not notice it."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

SUITE = """
    from streamflow import TextElement
    from streamflow.testing import StageConformance

    def shout(element: TextElement) -> TextElement:
        return TextElement(element.text.upper())

    class TestShout(StageConformance):
        rules = ("SF-01", "SF-02", "SF-08")
        examples = 1

        def make_stage(self):
            return shout

        def make_element(self, index):
            return TextElement(f"text {index}")

        def model(self, items):
            return [one.text.upper() + MARK for one in items]
"""


def run(pytester: pytest.Pytester, text: str) -> pytest.RunResult:
    pytester.makepyfile(text)
    plugin = () if pytester._request.config.pluginmanager.has_plugin("streamflow") else ("streamflow_pytest",)
    options = [one for name in plugin for one in ("-p", name)]
    return pytester.runpytest_inprocess(*options, "-p", "no:cacheprovider", "-v")


@pytest.mark.slow
def test_each_rule_in_each_variant_is_a_test_with_the_rules_id_in_its_name(pytester: pytest.Pytester) -> None:
    """conformance: a failing line points at the rule."""
    result = run(pytester, 'MARK = ""\n' + SUITE.replace("\n    ", "\n"))

    outcome = result.parseoutcomes()
    assert outcome["passed"] == outcome["skipped"] * 2
    result.stdout.fnmatch_lines(["*::TestShout::SF-01[[]asyncio, unfused, capacity 1[]] PASSED*"])


@pytest.mark.slow
def test_a_failing_rule_says_what_the_kit_says(pytester: pytest.Pytester) -> None:
    """conformance: the promise and the shortest input, and no traceback of ours."""
    result = run(pytester, 'MARK = "!"\n' + SUITE.replace("\n    ", "\n"))

    result.stdout.fnmatch_lines(["SF-02 (required, semantics 2.5): *", "  shown by: 1 element: *"])
    result.stdout.no_fnmatch_line("*_check_stage.py*")


def test_virtual_time_is_a_fixture(pytester: pytest.Pytester) -> None:
    """conformance: an hour costs nothing in the tests beside the suite, and other classes are left alone."""
    result = run(
        pytester,
        """
import anyio, pytest
pytestmark = pytest.mark.anyio

@pytest.fixture
def anyio_backend(virtual_anyio_backend):
    return virtual_anyio_backend

async def test_hour():
    await anyio.sleep(3600)
    assert anyio.current_time() == 3600

class TestOther:
    def test_it(self): pass
""",
    )
    result.assert_outcomes(passed=3)
