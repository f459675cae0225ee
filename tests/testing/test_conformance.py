"""The framework of the conformance kit: what a check is given, and what its findings become."""

from __future__ import annotations

import pickle

import anyio
import pytest

from streamflow.errors import ConfigError
from streamflow.testing import ConformanceError, Report, Trial, Variant, conform, rule, rules_of, run_checks
from streamflow.testing._conformance import _CHECKS

VARIANTS = [Variant(backend, (("capacity", capacity),)) for backend in ("asyncio", "trio") for capacity in (1, 16)]


@pytest.fixture(autouse=True)
def _rules_of_this_file(monkeypatch):
    """Rules registered by a test are gone after it."""
    for key, value in list(_CHECKS.items()):
        monkeypatch.setitem(_CHECKS, key, value)
    before = set(_CHECKS)
    yield
    for key in set(_CHECKS) - before:
        del _CHECKS[key]


def run(check, **options) -> Report:
    rule("XX-01", "A thing does it.", holds="2.3", subject="graph")(check)
    return run_checks("graph", "thing", VARIANTS, name="thing", rules=["XX-01"], **options)


def test_a_check_runs_once_in_each_variant() -> None:
    """conformance, how it runs: every rule on every event loop, in every circumstance."""
    seen = []

    async def check(trial: Trial[str]) -> None:
        await anyio.sleep(1000)
        seen.append((trial.subject, str(trial.variant), trial.variant["capacity"]))

    report = run(check)

    assert seen == [("thing", str(variant), variant["capacity"]) for variant in VARIANTS]
    assert report.ok
    assert len(report.lines()) == 4
    assert str(report).splitlines() == [
        "thing: 1 of 1 rules kept or not applicable",
        "  XX-01 passed 4: A thing does it.",
    ]


def test_a_failure_names_the_rule_its_promise_the_variant_and_what_shows_it() -> None:
    """conformance, what a failure says: the shortest input of all variants, and where else it fails."""

    async def check(trial: Trial[str]) -> None:
        for length in range(1, 4):
            trial.given(f"{length} elements")
            trial.require(length < 2 or trial.variant["capacity"] != 1, "one was lost")

    report = run(check)
    with pytest.raises(ConformanceError) as caught:
        conform(report)

    assert str(caught.value) == (
        "thing breaks 1 rule\n\n"
        "XX-01 (required, semantics 2.3): A thing does it.\n"
        "  variant:  asyncio, capacity 1 (and trio, capacity 1)\n"
        "  shown by: 2 elements\n"
        "  found:    one was lost"
    )
    assert [one.outcome for one in report.verdicts] == ["failed", "passed", "failed", "passed"]
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_check_that_waits_for_ever_fails_and_says_where_it_waits() -> None:
    """conformance, what a failure says: a deadlock is a finding, not a hang, on both loops; the next check still runs."""

    async def check(trial: Trial[str]) -> None:
        if trial.variant["capacity"] == 1:
            await anyio.sleep_forever()

    report = run(check)

    assert [one.outcome for one in report.verdicts] == ["failed", "passed", "failed", "passed"]
    for one in report.failed:
        assert one.why.startswith("still waits after 3600 seconds\n")
        assert "test_conformance.py" in one.why


def test_what_cannot_even_be_cancelled_is_a_finding_where_the_loop_can_tell() -> None:
    """conformance, what a failure says: asyncio's virtual loop sees that nothing can happen any more."""

    async def check(trial: Trial[str]) -> None:
        if trial.variant.backend == "asyncio":
            with anyio.CancelScope(shield=True):
                await anyio.sleep_forever()

    report = run(check)

    assert [one.outcome for one in report.verdicts] == ["failed", "failed", "passed", "passed"]
    assert "deadlock" in report.failed[0].why


def test_an_unexpected_error_is_a_finding_with_its_causes_and_notes() -> None:
    """conformance, what a failure says: whatever a check raises, with what the schedule added to it."""

    async def check(trial: Trial[str]) -> None:
        error = ValueError("outer")
        error.add_note("at tick 7")
        raise error from KeyError("inner")

    verdict = run(check).failed[0]

    assert verdict.why == "ValueError: outer\nbecause of KeyError: 'inner'"
    assert verdict.shown_by == "at tick 7"


def test_of_several_failures_the_first_is_told_and_not_that_there_were_some() -> None:
    """conformance, what a failure says: the tasks of a check are its own business."""

    async def check(trial: Trial[str]) -> None:
        async def fail() -> None:
            trial.require(False, "one was lost")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fail)

    assert [one.why for one in run(check).failed] == ["one was lost"] * 4


def test_what_does_not_apply_and_what_is_left_out_is_skipped_with_the_reason() -> None:
    """conformance, what is skipped: never in silence."""

    async def check(trial: Trial[str]) -> None:
        trial.skip("the thing generates")

    assert {one.why for one in run(check).skipped} == {"not applicable because the thing generates"}
    left_out = run_checks("graph", "thing", VARIANTS, name="thing", rules=["XX-01"], skip={"XX-01": "known bug 7"})
    assert [(one.outcome, one.why) for one in left_out.verdicts] == [("skipped", "known bug 7")] * 4


def test_unknown_rules_and_impossible_numbers_are_refused_at_once() -> None:
    """conformance, arguments: a misspelt id would let every check pass in silence."""
    with pytest.raises(ConfigError, match="no rule 'SF-999' for a graph"):
        rules_of("graph", ["SF-999"])
    with pytest.raises(ConfigError, match="no rule 'SF-999' for a graph"):
        run_checks("graph", "thing", VARIANTS, name="thing", skip={"SF-999": "none"})
    with pytest.raises(ConfigError, match="effort"):
        run_checks("graph", "thing", VARIANTS, name="thing", effort=0)


def test_one_id_is_one_rule() -> None:
    """conformance, rules: two checks under one id would hide one of them."""

    async def check(trial: Trial[str]) -> None: ...

    rule("XX-01", "A thing does it.", holds="2.3", subject="graph")(check)
    with pytest.raises(ConfigError, match="already"):
        rule("XX-01", "A thing does it too.", holds="2.3", subject="graph")(check)
