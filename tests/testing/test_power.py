"""The power of the kit: each of many bugs put into channels and runtime is found, by a rule that is named; nothing else is."""

from __future__ import annotations

import pytest
from mutants import MUTANTS, Change, Mutant

from streamflow.channels import SendEnd
from streamflow.testing import ConformanceError, check_runtime, check_stage, misbehaving
from streamflow.testing._stage_case import STAGE_VARIANTS

EXAMPLES = 60
"""Graphs that a rule tries on each event loop; the first one that shows the bug ends the trial."""


def finding(mutant: Mutant) -> ConformanceError | None:
    """Return what the first rule to find a bug says; None if none does."""
    for rule in mutant.killers:
        for backend in ("asyncio", "trio"):
            try:
                check_runtime(rules=[rule], examples=EXAMPLES, backends=[backend])
            except ConformanceError as error:
                return error
    return None


@pytest.mark.parametrize("mutant", MUTANTS, ids=[one.name for one in MUTANTS])
def test_the_kit_finds_the_bug_by_a_rule_that_it_names(mutant: Mutant) -> None:
    """Issue 5, 4: the rule fails with the bug, and what it says has its id, its promise, and what shows the bug."""
    with mutant.alive():
        error = finding(mutant)
    assert error is not None
    (verdict, *_) = error.report.failed
    assert verdict.rule.id in mutant.killers
    assert verdict.rule.id in str(error)
    assert verdict.rule.promise in str(error)
    assert verdict.shown_by


def test_there_are_bugs_enough_and_each_has_a_name() -> None:
    """Issue 5, 4: at least 20, each told from the others."""
    assert len({one.name for one in MUTANTS}) == len(MUTANTS) >= 20


def test_a_mutant_that_has_lost_its_place_is_an_error() -> None:
    """A fragment that is no longer there would make a bug that is none."""
    with pytest.raises(LookupError, match="0 times"):
        Change(SendEnd, "close", "no such line", "pass").function()


def test_a_bug_goes_with_its_block() -> None:
    """What a mutant has replaced is put back, also where the trial ends with an error."""
    before = [dict(vars(one.changes[0].owner)) for one in MUTANTS]
    for one in MUTANTS:
        with pytest.raises(ZeroDivisionError), one.alive():
            raise ZeroDivisionError
    assert [dict(vars(one.changes[0].owner)) for one in MUTANTS] == before


DEAR = {"polls", "gives_up_waiting_and_waits_again", "closes_its_output_itself"}
"""Those that look around a hundred times a second, or that lose what passes by behind an end that they set themselves."""
UNUSUAL = {one.name: one for one in misbehaving.UNUSUAL if one.name not in DEAR}
"""Correct stages that do it in their own way: they read ahead, end early, say nothing, …"""


def test_there_are_unusual_stages_enough() -> None:
    """Issue 5, 4: ten, each told from the others."""
    assert len(UNUSUAL) >= 12


@pytest.mark.slow
@pytest.mark.parametrize("name", UNUSUAL)
def test_the_kit_finds_no_fault_with_a_stage_that_is_only_unusual(name: str) -> None:
    """Issue 5, 4: a rule that such a stage breaks would be a wrong rule. On one loop each, in turns, at 1 and at 2."""
    backend = ("asyncio", "trio")[list(UNUSUAL).index(name) % 2]
    narrow = [one for one in STAGE_VARIANTS if one.backend == backend and one["fusion"] == "unfused"][:2]
    assert check_stage(UNUSUAL[name], items=["a", "b", "c"], model=UNUSUAL[name].model, variants=narrow).ok
